"""How fast each step of embedding is on this machine, with the user's own photos, and which one is the bottleneck."""

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from petrieve.extractor.engines.local import pool
from petrieve.extractor.find import chosen, find_parts, photos_of
from petrieve.extractor.pixels.decode import decode_small
from petrieve.extractor.pixels.view import canonical_view
from petrieve.extractor.sources.buckets.fetching import fetching
from petrieve.extractor.sources.formats import FORMATS
from petrieve.extractor.sources.places import Place, paths_of
from petrieve.extractor.sources.source import Part
from petrieve.extractor.trunks.choice import Compute, made_by, new_trunk
from petrieve.extractor.trunks.ranges import quantised
from petrieve.extractor.trunks.trunk import Trunk
from petrieve.store.cache import Cache
from petrieve.store.cores import CORES
from petrieve.store.errors import PetrieveError, Undecodable
from petrieve.store.folder import Store, read_card
from petrieve.store.known import nothing
from petrieve.store.photo import Photo, is_address
from petrieve.store.rows import Embedded, Unreadable

if TYPE_CHECKING:
    from torch import Tensor

# Enough for rates within a tenth, in about ten seconds on two cores.
PHOTOS = 64
SMALLER = "give it more cores, or smaller photos: a shorter edge of 512 pixels shows the trunk all that it sees"
ADVICE = {
    "read": "copy the photos to a disk of this machine, or to a faster one",
    "network": "bring this machine nearer to the bucket, or pack the photos: one request then brings many",
    "decode": SMALLER,
    "resize": SMALLER,
    "copy": "see whether something else uses the bus to this device",
    "commit": "put the store on a disk of this machine, or on a faster one",
}
OF_THE_TRUNK = {
    "cpu": 'use a GPU (`device="cuda"`) or more cores; the steps before it are not in its way',
    "cuda": "nothing here: the GPU is as busy as it can be",
}

Item = TypeVar("Item")
Out = TypeVar("Out")


@dataclass(frozen=True)
class Diagnosis:
    """`stages`: photos per second of each step alone, on all workers. `expected`: of all together.

    `network`: requests and bytes per second; None where no photo is in a bucket.
    """

    photos: int
    unreadable: int
    cores: int
    workers: int
    device: str
    precision: str
    weights: str
    batch: int
    stages: dict[str, float]
    network: dict[str, float] | None
    expected: float
    slowest: str
    advice: str


def diagnose(
    sources: Place | Sequence[Place],
    compute: Compute,
    *,
    store: Place = ".petrieve",
) -> Diagnosis:
    """The bottleneck of a run over `sources`, measured on some of their photos. Nothing is written.

    The weights are by default those of `store`, if there is one, else those that a new one would get.

    Raises:
        PetrieveError: a source, the weights or the device cannot be used, or no photo be read.
    """
    parts = find_parts(paths_of(sources))
    photos = list(photos_of(parts).values())
    some = photos[:: max(1, len(photos) // PHOTOS)][:PHOTOS]
    trunk = _trunk(Store.at(store), compute)
    stages, network, unreadable = _stages(parts, some, trunk)
    # Beside a GPU the other steps run in parallel; on a CPU they share its cores, except reads from a network.
    shared = 1 / sum(1 / rate for stage, rate in stages.items() if stage != "network")
    slowest = min(stages, key=lambda name: stages[name])
    return Diagnosis(
        photos=len(some),
        unreadable=unreadable,
        cores=os.cpu_count() or 1,
        workers=CORES,
        device=str(trunk.device),
        precision=trunk.precision_name,
        weights=trunk.weights,
        batch=trunk.batch,
        stages={name: round(rate, 1) for name, rate in stages.items()},
        network=network,
        expected=round(min(shared, stages[slowest]) if trunk.device.type == "cpu" else stages[slowest], 1),
        slowest=slowest,
        advice=ADVICE.get(slowest) or OF_THE_TRUNK.get(trunk.device.type, OF_THE_TRUNK["cuda"]),
    )


def _trunk(store: Store, compute: Compute) -> Trunk:
    """The trunk that a run would use."""
    made = card.trunks[0] if (card := read_card(store)) else None
    weights = compute.weights or (made.weights if made else None)
    trunk = new_trunk(made.kind if made else None, replace(compute, weights=weights))
    return quantised(trunk, store.folder(made_by(trunk)).ranges) if compute.precision == "int8" else trunk


def _stages(
    parts: Sequence[Part], photos: Sequence[Photo], trunk: Trunk
) -> tuple[dict[str, float], dict[str, float] | None, int]:
    """Photos per second of each step, what the network did, and how many photos could not be read."""
    import torch

    rates: dict[str, float] = {}
    with pool(CORES, "decode") as decoders:
        files, network = _all_read(rates, parts, photos)
        decoded = _timed(rates, "decode", lambda: _kept(decoders.map(_or_none(decode_small), files)))
        if not decoded:
            raise PetrieveError(f"none of {len(photos)} photos can be read", f"name {FORMATS} files")
        small = [one.pixels for one in decoded]
        canonical_view(small[0])  # the first call sets things up
        views = torch.stack(_timed(rates, "resize", lambda: list(decoders.map(canonical_view, small))))
    batches = torch.split(views, trunk.batch)
    trunk(batches[0])
    if trunk.device.type != "cpu":
        _timed(rates, "copy", lambda: _copied(views, trunk))
    with pool(trunk.workers, "embed") as embedders:
        embeddings = _timed(rates, "trunk", lambda: [one for some in embedders.map(trunk, batches) for one in some])
    photo = photos[0]
    rows = [Embedded(photo, number.to_bytes(16), 1, 1, one.numpy()[None]) for number, one in enumerate(embeddings)]
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache.create(Store(Path(folder)), made_by(trunk), dimension=trunk.dimension)
        _timed(rates, "commit", lambda: _committed(rows, cache, trunk.batch))
    return rates, network, len(photos) - len(decoded)


def _all_read(
    rates: dict[str, float], parts: Sequence[Part], photos: Sequence[Photo]
) -> tuple[list[bytes], dict[str, float] | None]:
    """The bytes of the readable photos, from disks and buckets; and requests and bytes a second of the buckets."""
    near, far = ([photo for photo in photos if is_address(photo.root) is there] for there in (False, True))
    files = _timed(rates, "read", partial(_read, parts, near)) if near else []
    if not far:
        return files, None
    answered, started = fetching().answered_so_far(), time.perf_counter()
    files += _timed(rates, "network", partial(_read, parts, far))
    return files, fetching().rates(answered, time.perf_counter() - started)


def _read(parts: Sequence[Part], photos: Sequence[Photo]) -> list[bytes]:
    """The bytes of the readable photos."""
    wanted = chosen(parts, [photo.path for photo in photos])
    every = (one for part, some in wanted for one in part.read({photo.uri for photo in some}))
    return [one[1] for one in every if not isinstance(one, Unreadable)]


def _timed(rates: dict[str, float], stage: str, work: Callable[[], list[Out]]) -> list[Out]:
    started = time.perf_counter()
    made = work()
    rates[stage] = len(made) / (time.perf_counter() - started)
    return made


def _or_none(make: Callable[[Item], Out]) -> Callable[[Item], Out | None]:
    def tried(item: Item) -> Out | None:
        try:
            return make(item)
        except (OSError, Undecodable, MemoryError):
            return None

    return tried


def _kept(made: Iterable[Out | None]) -> list[Out]:
    return [one for one in made if one is not None]


def _committed(rows: list[Embedded], cache: Cache, batch: int) -> list[Embedded]:
    for start in range(0, len(rows), batch):
        cache.commit(rows[start : start + batch], nothing())
    return rows


def _copied(views: "Tensor", trunk: Trunk) -> "list[Tensor]":
    moved = views.to(trunk.device)
    _ = moved[-1, 0, 0, 0].item()  # waits for the copy
    return list(moved)
