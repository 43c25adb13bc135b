"""The trunk's weights: from torchvision, from the repository or from a file of one's own; and their fingerprint."""

import hashlib
import os
import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extractor.pixels.view import RECIPE
from store.errors import PetrieveError

if TYPE_CHECKING:
    from torch import Tensor

# torchvision's DenseNet121_Weights.IMAGENET1K_V1; the name ends in how the SHA-256 begins.
IMAGENET_URL = "https://download.pytorch.org/models/densenet121-a639ec97.pth"
BUNDLED = Path(__file__).parent / "bundled" / "densenet121.safetensors"
BUNDLED_SHA256 = "c6c2439deb1390966cdc5347cd52b1f9cb762d3aee3915cdc9cda2cdae9a081f"
OTHER_WAYS = "give `--weights bundled` (a small trunk for trying things) or `--weights FILE.pth`"
# torchvision's DenseNet before 0.4 had dots where attribute names now have none.
_OLD_NAME = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)")


def read_weights(weights: str) -> dict[str, "Tensor"]:
    """The trunk's tensors by torchvision's names (`features.…`), float32: `imagenet`, `bundled` or a file.

    Raises:
        PetrieveError: they cannot be had or read, or their digest is wrong.
    """
    if weights == "bundled":
        state = _load_file(BUNDLED, BUNDLED_SHA256)
    elif weights == "imagenet":
        state = _load_file(*_imagenet_file())
    else:
        state = _load_file(Path(weights))
    return {name: tensor.float() for name, tensor in _plain_names(state, weights).items()}


def fingerprint(tensors: dict[str, "Tensor"]) -> str:
    """64 hexadecimal digits that change with any number in the trunk and with the recipe of the views."""
    digest = hashlib.sha256(RECIPE.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def resolve(weights: str) -> str:
    """The same weights in words that mean the same from every folder."""
    return weights if weights in ("imagenet", "bundled") else os.path.abspath(weights)


def _imagenet_file() -> tuple[Path, str]:
    """Torchvision's file in the torch hub's folder, downloaded when missing; and how its SHA-256 begins."""
    import torch

    name = IMAGENET_URL.rsplit("/", 1)[1]
    digest = name.rsplit("-", 1)[1].removesuffix(".pth")
    file = Path(torch.hub.get_dir(), "checkpoints", name)
    if not file.exists():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(IMAGENET_URL, str(file), hash_prefix=digest)
        except (OSError, RuntimeError) as error:
            raise PetrieveError(
                f"cannot download the ImageNet weights from {IMAGENET_URL}: {error}",
                f"put the file at {file}, or {OTHER_WAYS}",
            ) from error
    return file, digest


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
