"""The trunk's weights: from torchvision, from the repository or from a file of one's own; and their fingerprint."""

import hashlib
import os
import re
import time
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import TYPE_CHECKING, Any

from petrieve.extractor.trunks.kinds import FIRST, KINDS, Kind
from petrieve.store.errors import PetrieveError
from petrieve.store.files import write_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from http.client import HTTPResponse

    import numpy as np
    from torch import Tensor

BUNDLED = Path(__file__).parent / "bundled" / "densenet121.safetensors"
BUNDLED_SHA256 = "dff835fbbb61b7b128698fa393f9fb64839bb3e6103860b3a402aec47300f82c"
# Seconds that a new store waits for ImageNet's weights, 32 MB: for an answer, and in all, at 15 Mbit/s.
ANSWER, IN_ALL = 4.0, 20.0
CHUNK = 1 << 18
LARGEST = 1 << 26  # bytes, twice that file: a server that never ends must not fill the memory meanwhile
AGENT = {"User-Agent": "torch.hub"}  # as torch asks for the same file: some servers turn Python away
# torchvision's DenseNet before 0.4 had dots where attribute names now have none.
_OLD_NAME = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)")


def read_weights(weights: str, kind: Kind = FIRST) -> dict[str, "Tensor"]:
    """A trunk's tensors by torchvision's names (`features.…`), float32: `imagenet`, `bundled` or a file.

    A file of another family gives that one's: whoever compares shapes can say whose they are.

    Raises:
        PetrieveError: they cannot be had or read, or their digest is wrong.
    """
    if weights == "bundled":
        if not _is_bundled(kind):
            raise PetrieveError(f"no {kind.title} is bundled", 'give `weights="imagenet"` or `weights="FILE.pth"`')
        state = _load_file(BUNDLED, kind, BUNDLED_SHA256)
    elif weights == "imagenet":
        state = _load_file(_imagenet_file(kind), kind, sha256_of(kind))
    else:
        state = _load_file(Path(weights), kind)
    return {name: tensor.float() for name, tensor in _plain_names(state, weights, kind).items()}


def fingerprint(tensors: "Mapping[str, Tensor | np.ndarray]", recipe: str) -> str:
    """64 hexadecimal digits that change with any number in the trunk and with the recipe of the views."""
    import numpy as np

    digest = hashlib.sha256(recipe.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(np.ascontiguousarray(tensor).data)
    return digest.hexdigest()


def plain(tensors: "Mapping[str, Tensor]") -> dict[str, "Tensor"]:
    """The tensors by their names within `features`."""
    return {name.removeprefix("features."): tensor for name, tensor in tensors.items()}


def at_hand(kind: Kind, *, answer: float = ANSWER, in_all: float = IN_ALL) -> str:
    """The weights of a new store that names none: `imagenet` if on disk or to be had within seconds, else `bundled`.

    At most `answer` seconds pass until a server answers, and `in_all` until the file is here. A file that is late or
    wrong leaves nothing behind. For a kind that is not bundled it is `imagenet`, and reading those may fail.
    """
    file = imagenet_file(kind)
    if file.exists() or not _is_bundled(kind):
        return "imagenet"
    data = _fetched(kind.url, answer, in_all)
    if not hashlib.sha256(data).hexdigest().startswith(sha256_of(kind)):
        return "bundled"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_file(file, data)
    except OSError:  # no room, or a home that is not to be written to
        return "bundled"
    return "imagenet"


def _fetched(url: str, answer: float, in_all: float) -> bytes:
    """What a server gives within these seconds; cut short if that is not all."""
    from http.client import HTTPException

    until = time.monotonic() + in_all
    data = bytearray()
    opened = _opened(url, answer)
    if opened is None:
        return b""
    with opened, suppress(OSError, HTTPException):
        while time.monotonic() < until and len(data) < LARGEST and (some := opened.read1(CHUNK)):
            data += some
    return bytes(data)


def _opened(url: str, seconds: float) -> "HTTPResponse | None":
    """A server's answer, to be read; None where none comes in time."""
    from http.client import HTTPException
    from urllib.request import Request, urlopen

    answers: Queue[HTTPResponse | None] = Queue()

    def ask() -> None:
        try:
            answers.put(urlopen(Request(url, headers=AGENT), timeout=seconds))
        except (OSError, ValueError, HTTPException):
            answers.put(None)

    # No timeout of a connection ends the wait for a name server, or for headers that come byte by byte.
    Thread(target=ask, daemon=True).start()
    with suppress(Empty):
        return answers.get(timeout=seconds)
    return None


def resolve(weights: str) -> str:
    """The weights' name, with a file as an absolute path."""
    return weights if weights in ("imagenet", "bundled") else os.path.abspath(weights)


def imagenet_file(kind: Kind) -> Path:
    """Where torchvision's weights lie, or will lie: in the torch hub's folder."""
    import torch

    return Path(torch.hub.get_dir(), "checkpoints", kind.imagenet)


def sha256_of(kind: Kind) -> str:
    """How the SHA-256 of torchvision's file begins."""
    return kind.imagenet.rsplit("-", 1)[1].removesuffix(".pth")


def _imagenet_file(kind: Kind) -> Path:
    """Torchvision's file, downloaded when missing."""
    from http.client import HTTPException

    import torch

    file = imagenet_file(kind)
    if not file.exists():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(kind.url, str(file), hash_prefix=sha256_of(kind))
        except (OSError, RuntimeError, HTTPException) as error:
            raise PetrieveError(
                f"cannot download the ImageNet weights from {kind.url}: {error}",
                f"put the file at {file}, or {_other_ways(kind)}",
            ) from error
    return file


def _is_bundled(kind: Kind) -> bool:
    return kind.name == FIRST.name


def _other_ways(kind: Kind) -> str:
    bundled = '`weights="bundled"` (a DenseNet-121 that knows cats and dogs) or ' if _is_bundled(kind) else ""
    return f'give {bundled}`weights="FILE.pth"`'


def _load_file(file: Path, kind: Kind, sha256: str = "") -> dict[str, Any]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        data = file.read_bytes()
    except OSError as error:
        raise PetrieveError(f"cannot read weights from {file}: {error.strerror}", _other_ways(kind)) from error
    found = hashlib.sha256(data).hexdigest() if sha256 else ""
    if not found.startswith(sha256):
        raise PetrieveError(
            f"{file} is damaged: its SHA-256 begins {found[:8]}, not {sha256[:8]}", "remove it and fetch it again"
        )
    try:
        if file.suffix == ".safetensors":
            return dict(load(data))
        loaded = torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise _unreadable(file, "damaged or cut short") from error
    except Exception as error:  # torch's refusal is an UnpicklingError, which only pickle defines
        raise _unreadable(file, "holds more than plain tensors") from error
    if not isinstance(loaded, dict):
        raise _unreadable(file, f"holds a {type(loaded).__name__}, not a state dict")
    return loaded


def _unreadable(file: Path, why: str) -> PetrieveError:
    return PetrieveError(
        f"weights file {file}: {why}", "fetch it again, or save a state dict with `torch.save(model.state_dict(), …)`"
    )


def _plain_names(state: dict[str, Any], weights: str, kind: Kind) -> dict[str, "Tensor"]:
    """The trunk's own tensors, whatever the file wraps them in; where there are none, another family's."""
    for wrapper in ("state_dict", "model"):
        if isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    tensors = dict(_as_today(state))
    # Where the file holds another family's trunk, that: its shapes tell which.
    for starts in (kind.starts, *(other.starts for other in KINDS.values())):
        if named := {name: tensor for name, tensor in tensors.items() if name.startswith(starts)}:
            return named
    raise PetrieveError(
        f"weights file {weights} holds no tensor named `{kind.starts[0]}…`",
        f"save them with torchvision's names, as `torchvision.models.{kind.name}().state_dict()` does",
    )


def _as_today(state: dict[str, Any]) -> "Iterator[tuple[str, Tensor]]":
    """The tensors of a state dict that a trunk has, by the names that torchvision gives them today."""
    import torch

    for name, tensor in state.items():
        if isinstance(tensor, torch.Tensor) and not str(name).endswith("num_batches_tracked"):
            name = str(name).removeprefix("module.")
            old = _OLD_NAME.fullmatch(name)
            yield (old[1] + old[2] if old else name), tensor
