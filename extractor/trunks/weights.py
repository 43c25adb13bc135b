"""The trunk's weights: from torchvision, from the repository or from a file of one's own; and their fingerprint."""

import hashlib
import os
import re
import time
from contextlib import suppress
from http.client import HTTPException
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from extractor.trunks.kinds import FIRST, Kind
from store.errors import PetrieveError
from store.files import write_file

if TYPE_CHECKING:
    from torch import Tensor

BUNDLED = Path(__file__).parent / "bundled" / "densenet121.safetensors"
BUNDLED_SHA256 = "dff835fbbb61b7b128698fa393f9fb64839bb3e6103860b3a402aec47300f82c"
OTHER_WAYS = "give `--weights bundled` (a DenseNet-121 that knows cats and dogs) or `--weights FILE.pth`"
# What a new store waits for ImageNet's weights, 32 MB: for an answer, and in all, at 15 Mbit/s.
ANSWER, IN_ALL = 4.0, 20.0
CHUNK = 1 << 18
# torchvision's DenseNet before 0.4 had dots where attribute names now have none.
_OLD_NAME = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)")


def read_weights(weights: str, kind: Kind = FIRST) -> dict[str, "Tensor"]:
    """The trunk's tensors by torchvision's names (`features.…`), float32: `imagenet`, `bundled` or a file.

    Raises:
        PetrieveError: they cannot be had or read, or their digest is wrong.
    """
    if weights == "bundled":
        if kind != FIRST:
            raise PetrieveError(f"no {kind.title} is bundled", "give `--weights imagenet` or `--weights FILE.pth`")
        state = _load_file(BUNDLED, BUNDLED_SHA256)
    elif weights == "imagenet":
        state = _load_file(_imagenet_file(kind), sha256_of(kind))
    else:
        state = _load_file(Path(weights))
    return {name: tensor.float() for name, tensor in _plain_names(state, weights).items()}


def fingerprint(tensors: dict[str, "Tensor"], recipe: str) -> str:
    """64 hexadecimal digits that change with any number in the trunk and with the recipe of the views."""
    digest = hashlib.sha256(recipe.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def plain(tensors: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
    """The tensors by their names within `features`."""
    return {name.removeprefix("features."): tensor for name, tensor in tensors.items()}


def at_hand(kind: Kind) -> str:
    """The weights of a new store that names none: `imagenet` if on disk or to be had within seconds, else `bundled`."""
    file = imagenet_file(kind)
    if kind != FIRST or file.exists():  # of the others none is bundled
        return "imagenet"
    # A name server that does not answer is waited for by no timeout of a connection.
    fetching = Thread(target=_fetch_quickly, args=(kind.url, file, sha256_of(kind)), daemon=True)
    fetching.start()
    fetching.join(IN_ALL)
    return "imagenet" if file.exists() else "bundled"


def _fetch_quickly(url: str, file: Path, sha256: str) -> None:
    """Fetch a file that can be had at once; what comes too slowly, or is another, leaves nothing behind."""
    until = time.monotonic() + IN_ALL
    data = bytearray()
    with suppress(OSError, ValueError, HTTPException), urlopen(url, timeout=ANSWER) as answer:
        while some := answer.read(CHUNK):
            data += some
            if time.monotonic() > until:
                return
        if hashlib.sha256(data).hexdigest().startswith(sha256):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_file(file, bytes(data))


def resolve(weights: str) -> str:
    """The same weights in words that mean the same from every folder."""
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
    import torch

    file = imagenet_file(kind)
    if not file.exists():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(kind.url, str(file), hash_prefix=sha256_of(kind))
        except (OSError, RuntimeError) as error:
            raise PetrieveError(
                f"cannot download the ImageNet weights from {kind.url}: {error}",
                f"put the file at {file}, or {OTHER_WAYS}",
            ) from error
    return file


def _load_file(file: Path, sha256: str = "") -> dict[str, Any]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        data = file.read_bytes()
    except OSError as error:
        raise PetrieveError(f"cannot read weights from {file}: {error.strerror}", OTHER_WAYS) from error
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


def _plain_names(state: dict[str, Any], weights: str) -> dict[str, "Tensor"]:
    """The trunk's own tensors, whatever the file wraps them in."""
    import torch

    for wrapper in ("state_dict", "model"):
        if isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    named = {}
    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            continue
        name = str(name).removeprefix("module.")
        old = _OLD_NAME.fullmatch(name)
        name = old[1] + old[2] if old else name
        if name.startswith("features.") and not name.endswith("num_batches_tracked"):
            named[name] = tensor
    if not named:
        raise PetrieveError(
            f"weights file {weights} holds no tensor named `features.…`",
            "save them with torchvision's names, as `torchvision.models.densenet121().state_dict()` does",
        )
    return named
