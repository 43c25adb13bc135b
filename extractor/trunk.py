"""The frozen DenseNet-121: a batch of views → embeddings."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from extractor.errors import PetrieveError
from extractor.weights import fingerprint, read_weights, resolve

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MEAN = (0.485, 0.456, 0.406)  # of ImageNet's training photos, as torchvision gives them
STD = (0.229, 0.224, 0.225)
# Measured on 2 cores: 16 keeps the activations in the cache; 64 is a quarter slower. GPUs want more.
BATCH = {"cpu": 16, "cuda": 256}
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, eq=False)
class Trunk:
    """The network and where it runs."""

    features: "torch.nn.Module"
    mean: "Tensor"  # (1, 3, 1, 1), of pixels 0…255
    std: "Tensor"
    device: "torch.device"
    precision: "torch.dtype"
    weights: str
    fingerprint: str

    @property
    def batch(self) -> int:
        """How many views at a time serve the device best."""
        return BATCH.get(self.device.type, BATCH["cuda"])

    @property
    def precision_name(self) -> str:
        """`float32`, `bfloat16` or `float16`."""
        return str(self.precision).removeprefix("torch.")

    def __call__(self, views: "Tensor") -> "Tensor":
        """The embeddings (N, 1024), float32 on the CPU, of views (N, 3, 224, 224), uint8 RGB.

        Raises:
            PetrieveError: numbers overflowed in this precision.
        """
        import torch

        half = self.precision != torch.float32
        with torch.inference_mode(), torch.autocast(self.device.type, self.precision, enabled=half):
            moved = views.to(self.device, non_blocking=True)
            pixels = ((moved - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
            maps = self.features(pixels)  # (N, 1024, 7, 7)
            embeddings: Tensor = maps.float().relu().mean((2, 3)).cpu()  # (N, 1024)
        # What is cached is float16: what does not fit there must not become infinity.
        if not bool(embeddings.half().isfinite().all()):
            raise PetrieveError(
                f"the trunk's numbers overflow in {self.precision_name}",
                "use `--precision float32`, or other weights if it is that already",
            )
        return embeddings


@lru_cache(maxsize=1)
def load_trunk(weights: str, device: str = "auto", precision: str = "auto") -> Trunk:
    """The trunk on its device: `weights` as for `read_weights`; `auto` is a GPU where there is one.

    Raises:
        PetrieveError: no such device, a precision it lacks, or weights that are not a DenseNet-121's.
    """
    import torch

    from extractor.densenet import densenet121_features

    place = _device(device)
    tensors = read_weights(weights)
    with torch.device("meta"):  # no memory and no time for random weights
        features = densenet121_features()
    _check_shapes(tensors, features, weights)
    features.load_state_dict(
        {name.removeprefix("features."): tensor for name, tensor in tensors.items()}, strict=False, assign=True
    )
    for name, buffer in features.named_buffers():
        if buffer.is_meta:  # num_batches_tracked: for training alone
            owner, _, attribute = name.rpartition(".")
            setattr(features.get_submodule(owner), attribute, None)
    shape = (1, 3, 1, 1)
    return Trunk(
        features=features.eval().requires_grad_(False).to(place).to(memory_format=torch.channels_last),
        mean=torch.tensor(MEAN, device=place).mul(255).view(shape),
        std=torch.tensor(STD, device=place).mul(255).view(shape),
        device=place,
        precision=_precision(precision, place),
        weights=resolve(weights),
        fingerprint=fingerprint(tensors),
    )


def _device(name: str) -> "torch.device":
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(name)
        torch.empty(0, device=place)
        if not torch.amp.is_autocast_available(place.type):
            raise NotImplementedError(place.type)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise PetrieveError(
            f"there is no device {name!r} here", "use `--device cpu`, or `--device auto` for the best one"
        ) from error
    return place


def _precision(name: str, device: "torch.device") -> "torch.dtype":
    import torch

    if name not in PRECISIONS:
        raise PetrieveError(f"there is no precision {name!r}", f"use one of {', '.join(PRECISIONS)}")
    if name != "auto":
        return torch.float32 if name == "float32" else getattr(torch, name)
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere: the first with bfloat16
    else:
        native = device.type == "cpu" and _cpu_has_bfloat16()
    return torch.bfloat16 if native else torch.float32


def _cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; elsewhere it is slower than float32."""
    import torch

    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _check_shapes(tensors: dict[str, "Tensor"], features: "torch.nn.Module", weights: str) -> None:
    wanted = {
        f"features.{name}": tuple(tensor.shape)
        for name, tensor in features.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    for name in (*wanted, *tensors):
        found = tuple(tensors[name].shape) if name in tensors else "missing"
        expected = wanted.get(name, "no such tensor")
        if found != expected:
            raise PetrieveError(
                f"weights {weights} are not a DenseNet-121's: {name} is {found}, expected {expected}",
                "give a state dict of torchvision's densenet121",
            )
