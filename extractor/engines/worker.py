"""What runs on each worker of a cluster: units of photos → embeddings that are written and await their commit."""

import hashlib
import os
import platform
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from threading import Semaphore
from typing import TYPE_CHECKING, TypeVar

from petrieve.extractor.engines.clock import Clock
from petrieve.extractor.engines.cluster import PACKAGES
from petrieve.extractor.engines.local import results
from petrieve.extractor.engines.units import Unit
from petrieve.extractor.pixels.view import CROP
from petrieve.extractor.sources.ahead import batched
from petrieve.extractor.sources.buckets.objects import trouble_at
from petrieve.extractor.sources.places import exists
from petrieve.extractor.sources.source import number_of
from petrieve.extractor.trunks.kinds import kind
from petrieve.extractor.trunks.ranges import quantised
from petrieve.extractor.trunks.trunk import Trunk, lacks, made_of, own_precision
from petrieve.store.errors import PetrieveError
from petrieve.store.folder import Made, Store
from petrieve.store.forgotten import Lost
from petrieve.store.key import Key
from petrieve.store.known import Embeddings
from petrieve.store.photo import is_address
from petrieve.store.pieces import merged
from petrieve.store.tables import address
from petrieve.store.written import Result, Written, together, write_results

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

Item = TypeVar("Item")
Answer = TypeVar("Answer")
# Photos whose embeddings are written at a time: 32 MB of 1,024 numbers.
PHOTOS_A_WRITE = 16_384
MAX_COMPARED = 1 << 20  # bytes of a file that is compared whole
THERE = "there"
COMPARED = ("torch", "pylance", "pyarrow", "pillow", "simplejpeg", "torchcodec")


@dataclass(frozen=True, eq=False)
class Job:
    """What all units of a run share, beside the trunk's weights and the contents of the store."""

    store: str  # its path or address
    seen: tuple[tuple[str, str], ...]  # paths and addresses, and what each worker must see there
    sources: Mapping[str, int]  # their numbers, as `number_of` takes them
    made: Made
    schema: "pa.Schema"  # of the table of photos
    device: str  # `cpu` or `cuda`
    keep_damaged: bool


@dataclass(frozen=True)
class Facts:
    """What a worker reports before it gets work."""

    node: str  # Ray's name of it
    host: str
    hardware: str  # the GPU's name, or how many cores
    precision: str  # that it would choose by itself
    versions: Mapping[str, str]
    unseen: tuple[tuple[str, str], ...]  # where it sees something other than it must, and what it sees


@dataclass(frozen=True, eq=False)
class Done:
    """A unit's results, and the time that they took."""

    written: Written
    host: str
    precision: str
    seconds: float
    stages: Mapping[str, float]  # seconds that each was busy, divided by its threads


class Worker:
    """One trunk on one GPU or on some cores, with the threads that read and decode for it. Its methods run at once."""

    def __init__(self, job: Job, weights: "dict[str, Tensor]", there: Embeddings, lost: Lost) -> None:
        self._job, self._weights, self._there, self._lost = job, weights, there, lost
        self._store = Store.at(job.store)
        if isinstance(self._store.path, Key):
            self._store.path.bucket.renew = _held  # the driver renews the lease
        self._trunk: Trunk | None = None
        self._workers = 0  # batches that the trunk computes at a time, of all units
        self._cores = _cores()

    def facts(self) -> Facts:
        """Its hardware, and whether it sees what it is to read."""
        import ray

        return Facts(
            ray.get_runtime_context().get_node_id(),
            socket.gethostname(),
            _hardware(self._job.device, self._cores),
            own_precision(self._job.device),
            versions(),
            tuple((path, seen) for path, there in self._job.seen if (seen := sight(path)) != there),
        )

    def load(self, precision: str) -> None:
        """Load the trunk in this precision.

        Raises:
            PetrieveError: the device cannot compute in it, or the weights are not those of the run.
        """
        import torch

        job = self._job
        if why := lacks(job.device, precision):
            raise PetrieveError(why, "name another `precision=…`")
        plain = "float32" if precision == "int8" else precision
        trunk = made_of(self._weights, job.made.weights, job.device, plain, kind(job.made.kind))
        if trunk.fingerprint != job.made.fingerprint:
            raise PetrieveError(f"{socket.gethostname()} was given other weights than the run's", "run it again")
        if precision == "int8":
            trunk = quantised(trunk, self._store.folder(job.made).ranges, tensors=self._weights)
        # A worker that cannot hold a batch ends before it has photos.
        trunk(torch.zeros(trunk.batch, 3, CROP, CROP, dtype=torch.uint8))
        # Torch's number of threads is that of the thread that asks, and a unit under way changes it for those after it.
        self._workers = trunk.workers
        self._trunk = replace(trunk, network=_so_many(trunk.network, self._workers))

    def embed(self, unit: Unit) -> Done:
        """The results of a unit, with its embeddings written.

        Raises:
            PetrieveError: the store cannot be written to, or the trunk's numbers overflow.
        """
        started, clock, trunk = time.perf_counter(), Clock(), self._trunk
        assert trunk, "it is loaded before it is given work"
        pieces = unit.pieces
        made = results(
            pieces,
            trunk=lambda: trunk,
            there=self._there.content,
            batch=trunk.batch,
            workers=self._workers,
            decoders=self._cores,
            views=self._job.made.views,
            keep_damaged=self._job.keep_damaged,
            clock=clock,
        )
        left = {photo.path for _, photos in pieces for photo in photos}
        told = (self._told(one, unit, left) for some in made for one in some)
        write = clock.timed("write", partial(write_results, self._store, self._job.made))
        source = partial(number_of, self._job.sources)
        written = together(
            [write(some, self._job.schema, unit.known, source) for some in batched(told, PHOTOS_A_WRITE)]
        )
        if left:
            raise PetrieveError(f"of {len(unit)} photos {len(left)} did not come back", "report this")
        stages = clock.shares(embed=self._workers, decode=self._cores)
        return Done(written, socket.gethostname(), trunk.precision_name, time.perf_counter() - started, stages)

    def merge(self, task: str) -> str:
        """The result of a task of `store.pieces.merges` on the table of embeddings."""
        return merged(address(self._store.folder(self._job.made).vectors), task)

    def _told(self, one: Result, unit: Unit, left: set[str]) -> Result:
        """A result with the annotations that the photo had before it was forgotten, unless the store knows its path."""
        left.remove(one.photo.path)  # a KeyError where it comes twice
        return self._lost.annotated(one, unit.known)


def _so_many(make: Callable[[Item], Answer], at_once: int) -> Callable[[Item], Answer]:
    """The same function, called by N threads at a time: the units of a worker share its cores."""
    turns = Semaphore(at_once)

    def made(item: Item) -> Answer:
        with turns:
            return make(item)

    return made


def mismatch(facts: Facts) -> str | None:
    """Why a worker cannot serve this run: it sees other files, or would compute other numbers; None if it can."""
    for path, seen in facts.unseen:
        if is_address(path):
            return f"{seen}; see to its network and to its own credentials"
        return f"it does not see {path} as this machine does; name a folder that both share, or a bucket"
    other = [(name, there, here) for name, here in versions().items() if (there := facts.versions.get(name)) != here]
    return (
        f"it has {other[0][0]} {other[0][1]}, and this machine {other[0][2]}; install the same there" if other else None
    )


@cache
def versions() -> Mapping[str, str]:
    """What must be the same on all nodes, so that the same photo gives the same numbers there."""
    found = {name: version(name) for name in COMPARED}
    return {"Python": platform.python_version(), **found, "code": _code()}


def _code() -> str:
    """A digest of our packages as imported here: another checkout may come before the run's copy."""
    digest = hashlib.blake2b(digest_size=4)
    home = Path(__file__).parents[2]
    for file in sorted(file for name in PACKAGES for file in (home / name).rglob("*.py")):
        digest.update(file.relative_to(home).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def sight(path: str) -> str:
    """What this machine sees at a path, to compare with what a worker sees: of a file, its content.

    At an address it is THERE if the bucket answers, else why it does not.
    """
    if is_address(path):
        return trouble_at(path) or THERE
    if os.path.isfile(path) and os.path.getsize(path) < MAX_COMPARED:
        return hashlib.blake2b(Path(path).read_bytes(), digest_size=8).hexdigest()
    return THERE if exists(path) else "nothing"


def _held() -> None:
    """Do nothing: the driver holds the lease, and what a worker writes counts only once the driver commits it."""


def _cores() -> int:
    """The cores that a worker may use: those that Ray gave it, and with a GPU its share of the node's."""
    import ray

    given = ray.get_runtime_context().get_assigned_resources()  # type: ignore[no-untyped-call]
    return max(1, int(given.get("CPU", 0)) or (os.cpu_count() or 1))


def _hardware(device: str, cores: int) -> str:
    if device == "cpu":
        return f"{cores} cores"
    import torch

    return torch.cuda.get_device_name()
