"""The frozen trunk: a batch of views → embeddings."""

import ctypes
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from queue import Queue
from typing import TYPE_CHECKING

from petrieve.extractor.trunks.arrays import check_fits
from petrieve.extractor.trunks.device import named
from petrieve.extractor.trunks.kinds import FIRST, KINDS, Kind
from petrieve.extractor.trunks.kinds import kind as named_kind
from petrieve.extractor.trunks.networks import family
from petrieve.extractor.trunks.saved_weights import keep_weights
from petrieve.extractor.trunks.weights import fingerprint, read_weights, resolve
from petrieve.store.errors import PetrieveError, warn
from petrieve.store.folder import Made

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch
    from torch import Tensor

# For each core: from 4 to 32 the rate is the same, and less is lost by a kill. GPUs want more.
BATCH = {"cpu": 8, "cuda": 256}
# Batches of a GPU at a time: one is computed, one copied, and one fetched from the threads that decode.
LANES = 3
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(eq=False)
class Trunk:
    """The network and where it runs."""

    network: "Callable[[Tensor], Tensor]"  # uint8 (N, 3, 224, 224) → float32 (N, D), on the device
    device: "torch.device"
    precision: "torch.dtype"
    kind: str
    dimension: int  # D
    weights: str
    fingerprint: str
    batch: int  # how many views at a time serve the device best; fewer once its memory has run out
    lanes: "Queue[torch.cuda.Stream] | None" = None  # of a GPU

    @property
    def workers(self) -> int:
        """How many batches at a time serve the device best: one for each core that torch would use."""
        return workers_of(str(self.device))

    @property
    def precision_name(self) -> str:
        """`float32`, `bfloat16`, `float16` or `int8`."""
        return str(self.precision).removeprefix("torch.")

    def __call__(self, views: "Tensor") -> "Tensor":
        """The embeddings (N, D), float32 on the CPU, of views (N, 3, 224, 224), uint8 RGB.

        A batch that does not fit into the device's memory is halved, with a warning, and so are those after it.

        Raises:
            PetrieveError: numbers overflowed in this precision, or there is no memory for a single view.
        """
        import torch

        done: list[Tensor] = []
        while (start := sum(map(len, done))) < len(views):
            part = views[start : start + self.batch]
            try:
                done.append(self._through(part))
            except torch.OutOfMemoryError as error:
                self._halve(len(part), error)
        embeddings = torch.cat(done)
        check_fits(embeddings.numpy(), self.precision_name)
        return embeddings

    def maps(self, views: "Tensor") -> "Tensor":
        """The maps (N, D, 7, 7), float32 on the CPU, whose averages are the embeddings of a few views."""
        return self._through(views, self.network.maps)  # type: ignore[attr-defined]

    def _through(self, views: "Tensor", network: "Callable[[Tensor], Tensor] | None" = None) -> "Tensor":
        import torch

        if self.lanes:
            views = views.pin_memory()
        with torch.inference_mode(), self._lane():
            return (network or self.network)(views.to(self.device, non_blocking=True)).cpu()

    @contextmanager
    def _lane(self) -> "Iterator[None]":
        """A CUDA stream for this batch alone: while one batch is computed, the next one is copied."""
        import torch

        if not self.lanes:
            yield
            return
        stream = self.lanes.get()
        try:
            with torch.cuda.stream(stream):
                yield
        finally:
            self.lanes.put(stream)

    def _halve(self, tried: int, error: Exception) -> None:
        import torch

        if tried == 1:
            raise PetrieveError(
                f"{self.device} has no memory for one photo", 'free some, or use `device="cpu"`'
            ) from error
        self.batch = tried // 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        warn(f"{self.device} ran out of memory: batches of {self.batch} from now on")


def batch_of(device: str) -> int:
    """How many views at a time serve a device best.

    Raises:
        PetrieveError: there is no such device here.
    """
    return BATCH.get(named(device).type, BATCH["cuda"])


def workers_of(device: str) -> int:
    """How many batches at a time serve a device best: one for each core that torch would use.

    Raises:
        PetrieveError: there is no such device here.
    """
    import torch

    return torch.get_num_threads() if named(device).type == "cpu" else LANES


@contextmanager
def _alone() -> "Iterator[None]":
    """Let torch compute on this thread alone.

    A trunk is folded in thousands of small steps. On two cores that are busy otherwise threads took seven times as long
    for it as one does, because they wait for each other; on idle ones as long.
    """
    import torch  # noqa: F401  # its threads are found once it is there
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "openmp"):
        yield


@lru_cache(maxsize=1)
@_alone()
def load_trunk(weights: str, device: str = "auto", precision: str = "auto", kind: str = FIRST.name) -> Trunk:
    """The trunk of this kind on its device: `weights` as for `read_weights`; `auto` is a GPU where there is one.

    Raises:
        PetrieveError: no such kind or device, a precision it lacks, or weights of another network.
    """
    own = named_kind(kind)
    tensors = read_weights(weights, own)
    trunk = made_of(tensors, resolve(weights), device, precision, own)
    keep_weights(tensors, Made(trunk.kind, trunk.fingerprint, trunk.weights))
    return trunk


@_alone()
def made_of(tensors: "dict[str, Tensor]", weights: str, device: str, precision: str, own: Kind) -> Trunk:
    """The trunk of this kind that has these tensors, which are called `weights`; the rest is as for `load_trunk`.

    Raises:
        PetrieveError: no such device, a precision it lacks, or weights of another network.
    """
    place = named(device)
    dtype = _precision(precision, place)
    _check_shapes(tensors, weights, own)
    if place.type == "cpu":
        _keep_freed_memory()
    return Trunk(
        network=family(own).network(own, tensors, place, dtype),
        device=place,
        precision=dtype,
        kind=own.name,
        dimension=own.dimension,
        weights=weights,
        fingerprint=fingerprint(tensors, own.recipe),
        batch=batch_of(device),
        lanes=_lanes(place) if place.type == "cuda" else None,
    )


def _lanes(device: "torch.device") -> "Queue[torch.cuda.Stream]":
    import torch

    torch.cuda.synchronize(device)  # the weights have arrived before another stream reads them
    lanes: Queue[torch.cuda.Stream] = Queue()
    for _ in range(LANES):
        lanes.put(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]
    return lanes


def _keep_freed_memory() -> None:
    """Have freed memory reused: the system would clear the pages of layers' maps every time.

    Measured with batches of 32 in float32: 28 photos/s without it, 40 with it. Only glibc has these switches.
    """
    with suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def _precision(name: str, device: "torch.device") -> "torch.dtype":
    import torch

    if name not in PRECISIONS:
        raise PetrieveError(f"there is no precision {name!r}", f"use one of {', '.join(PRECISIONS)}, int8")
    if name != "auto":
        return torch.float32 if name == "float32" else getattr(torch, name)
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere: the first with bfloat16
    else:
        native = device.type == "cpu" and _cpu_is_faster_in_bfloat16()
    return torch.bfloat16 if native else torch.float32


def own_precision(device: str) -> str:
    """What `auto` stands for on a device.

    Raises:
        PetrieveError: there is no such device here.
    """
    return str(_precision("auto", named(device))).removeprefix("torch.")


def lacks(device: str, precision: str) -> str | None:
    """Why a device should not compute in a precision: an older GPU has no bfloat16 of its own; None if it may."""
    import torch

    place = named(device)
    if precision == "bfloat16" and place.type == "cuda" and _precision("auto", place) != torch.bfloat16:
        return f"{torch.cuda.get_device_name(place)} has no bfloat16"
    return None


def _cpu_is_faster_in_bfloat16() -> bool:
    """By what the processor is, not by a stopwatch: every run on a machine must choose the same.

    Intel's AVX512-BF16 without AMX multiplies at half the rate of float32, AMD's at twice: benchmarks/RESULTS.md.
    """
    import torch

    found = torch.cpu.get_capabilities()
    if found.get("amx_bf16", False):
        return True
    intel = "intel" in str(found.get("cpu_name", "")).lower()
    return not intel and any(found.get(name, False) for name in ("avx512_bf16", "bf16"))


def _check_shapes(tensors: dict[str, "Tensor"], weights: str, own: Kind) -> None:
    wrong = _misfit(tensors, own)
    if wrong is None:
        return
    other = next((kind.name for kind in KINDS.values() if _misfit(tensors, kind) is None), None)
    raise PetrieveError(
        f"weights {weights} are not a {own.title}'s: {wrong}",
        f'add `trunk="{other}"`, whose they are' if other else f"give a state dict of torchvision's {own.name}",
    )


def _misfit(tensors: dict[str, "Tensor"], own: Kind) -> str | None:
    """The first tensor that is missing, has another shape or does not belong to a network of this kind."""
    wanted = family(own).shapes(own)
    for name in (*wanted, *tensors):
        found = tuple(tensors[name].shape) if name in tensors else "missing"
        expected = wanted.get(name, "no such tensor")
        if found != expected:
            return f"{name} is {found}, expected {expected}"
    return None
