"""A plan carried out: photos go through an engine into the store, on this machine or on a cluster."""

import os
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from petrieve.extractor.engines.clock import Clock
from petrieve.extractor.engines.cluster import LOCAL, joined
from petrieve.extractor.engines.local import results
from petrieve.extractor.engines.worker import THERE, Job, sight
from petrieve.extractor.find import Found
from petrieve.extractor.plan import Annotate, Plan
from petrieve.extractor.sources.places import container_of
from petrieve.extractor.trunks.kinds import kind
from petrieve.extractor.trunks.trunk import Trunk, batch_of, workers_of
from petrieve.extractor.trunks.weights import read_weights
from petrieve.store.buckets import parted
from petrieve.store.cache import Cache
from petrieve.store.cores import CORES
from petrieve.store.digests import as_array
from petrieve.store.folder import Store
from petrieve.store.key import Key
from petrieve.store.known import Known
from petrieve.store.photo import Photo, is_address
from petrieve.store.rows import Embedded, Unreadable
from petrieve.store.written import Outcome, Written, outcome, together, write_results

Progress = Callable[[int, int, int], None]  # photos done, photos in all, bytes read
Note = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Run:
    """What a run is to do, into which store, and how."""

    found: Sequence[Found]
    to_do: Plan
    annotate: Annotate
    cache: Cache
    there: Known  # what the store knew before
    trunk: Callable[[], Trunk]  # this machine's own
    on: str  # `local`, `ray`, or a cluster's address
    workers: int | None  # of a cluster
    device: str
    precision: str
    keep_damaged: bool
    note: Note  # called with what runs where


@dataclass
class Ran:
    """What a run has done so far."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    views: int = 0  # embeddings that the trunk made
    size: int = 0  # bytes read
    device: str | None = None  # None where the trunk had nothing to do
    precision: str | None = None
    leaves: bool = False  # whether workers may have written pieces that nobody committed
    nodes: dict[str, "Node"] = field(default_factory=dict)  # by host

    def node(self, host: str) -> "Node":
        """What a machine has done."""
        return self.nodes.setdefault(host, Node())


@dataclass
class Node:
    """What one machine of a run has done, and how much of the time its stages were at it."""

    photos: int = 0
    seconds: float = 0.0  # that its workers were at work, summed
    busy: Counter[str] = field(default_factory=Counter)  # seconds of these, by stage

    def add(self, photos: int, seconds: float, stages: Mapping[str, float]) -> None:
        """Count what a worker has done in these seconds."""
        self.photos += photos
        self.seconds += seconds
        for stage, some in stages.items():
            self.busy[stage] += some  # type: ignore[assignment]

    def figures(self, seconds: float) -> dict[str, Any]:
        """Photos, photos a second of a run of these seconds, and the share of the time that each stage was busy."""
        busy = {stage: round(some / self.seconds, 3) for stage, some in sorted(self.busy.items())}
        return {"photos": self.photos, "photos_per_second": round(self.photos / seconds, 2), "busy": busy}


def run(one: Run, *, progress: Progress | None, stop: Callable[[], bool]) -> Ran:
    """What the run has done; `progress` is called after each commit.

    Raises:
        PetrieveError: the store, the device or the cluster cannot be used.
    """
    ran, todo = Ran(), one.to_do.todo
    with closing((_here if one.on == LOCAL else _on_cluster)(one, ran)) as commits:
        for _ in commits if todo else ():
            if progress:
                progress(ran.outcomes.total(), todo, ran.size)
            if stop():
                break
    if one.on != LOCAL and ran.outcomes.total() == todo:
        _count_once(one, ran)
    return ran


def _count_once(one: Run, ran: Ran) -> None:
    """Drop contents that several workers embedded at once: all photos but one are copies, as in a run on one machine.

    It is unknown from which of several sources a content was embedded: the first counts. Such contents that an earlier
    run left go too.
    """
    dropped, views = one.cache.drop_repeated(), 1 + one.cache.made.views
    sources = defaultdict[bytes, list[int]](list)
    for row in one.cache.photos_of(as_array(dropped), ["root", "uri"]).to_pylist() if dropped else ():
        sources[row["digest"]].append(one.to_do.source_of(Photo(row["root"], row["uri"], 0, 0)))
    for digest, numbers in sources.items():
        before = one.there.embeddings.content(digest)
        new = views - (before.views if before else 0)  # that this run has made of it, as often as workers met it
        if new > 0:
            ran.views -= dropped[digest]
            some = [number for number in sorted(numbers, reverse=True) if ran.outcomes[number, "embedded"]]
            for number in some[: dropped[digest] // new]:
                ran.outcomes[number, "embedded"] -= 1
                ran.outcomes[number, "copied"] += 1


def _here(one: Run, ran: Ran) -> Generator[None, None, None]:
    clock, started = Clock(), time.perf_counter()
    workers = workers_of(one.device)
    made = results(
        one.to_do.work(one.annotate),
        trunk=one.trunk,
        there=one.there.embeddings.content,
        batch=batch_of(one.device),
        workers=workers,
        views=one.cache.made.views,
        keep_damaged=one.keep_damaged,
        clock=clock,
    )
    try:
        with closing(made) as ready:
            for some in ready:
                with clock.during("write"):
                    one.cache.commit([one.to_do.lost.annotated(each, one.there) for each in some], one.there)
                ran.outcomes.update((one.to_do.source_of(each.photo), outcome(each)) for each in some)
                ran.views += sum(len(each.views) for each in some if isinstance(each, Embedded))
                ran.size += sum(max(each.photo.size, 0) for each in some)
                yield
    finally:
        stages = clock.shares(embed=workers, decode=CORES)
        ran.node(socket.gethostname()).add(ran.outcomes.total(), time.perf_counter() - started, stages)


def _on_cluster(one: Run, ran: Ran) -> Generator[None, None, None]:
    from petrieve.extractor.engines import ray

    cache, to_do, there = one.cache, one.to_do, one.there
    lost, ran.leaves = False, True  # until the last window
    with joined(one.on):
        job = _job(one)
        weights = read_weights(one.trunk().weights, kind(cache.made.kind))
        windows = ray.results(
            to_do.work(one.annotate),
            there.among,
            to_do.todo,
            job=job,
            weights=weights,
            there=there.embeddings,
            lost=to_do.lost,
            precision=one.precision,
            workers=one.workers,
            merges=cache.merges,
            tell=one.note,
        )
        with closing(windows) as ready:
            for window in ready:
                written = [done.written for done in window.done]
                for unit in window.blamed:
                    bad = [Unreadable(photo, ray.REASON) for photo in unit.photos]
                    written.append(write_results(cache.store, cache.made, bad, job.schema, unit.known, to_do.source_of))
                if written:
                    _commit(cache, together(written), there, ran)
                lost = lost or window.lost
                if window.merged:
                    lost = not cache.commit_merges(window.merged) or lost
                for done in window.done:
                    ran.device, ran.precision = job.device, done.precision
                    ran.node(done.host).add(done.written.outcomes.total(), done.seconds, done.stages)
                yield
        ran.leaves = lost


def _commit(cache: Cache, written: Written, there: Known, ran: Ran) -> None:
    cache.commit_written(written, there)
    ran.outcomes.update(written.outcomes)
    ran.views += written.embeddings
    ran.size += written.size


def _job(one: Run) -> Job:
    """What all workers need; paths on this machine's disks must be in a folder that they share."""
    from petrieve.extractor.engines import crew

    store = one.cache.store
    paths = [os.path.abspath(str(store.card))] if not isinstance(store.path, Key) else []
    paths += [source.name for source in one.found if not is_address(source.name)]
    within_reach = ((place, THERE) for place in _in_buckets(store, one.found))
    return Job(
        store=store.place,
        seen=(*((path, sight(path)) for path in paths), *within_reach),
        sources=one.to_do.sources,
        made=one.cache.made,
        schema=one.cache.photo_schema,
        device=crew.device(one.device, one.workers),
        keep_damaged=one.keep_damaged,
    )


def _in_buckets(store: Store, found: Sequence[Found]) -> list[str]:
    """The store's card and a photo, or the archive that it is in, of each bucket: as shown to be reachable here."""
    photos = {parted(one.name)[0]: one.photos[0].path for one in reversed(found) if is_address(one.name) and one.photos}
    cards = [str(store.card)] if isinstance(store.path, Key) else []
    return cards + [(container_of(path) or (path,))[0] for path in photos.values()]
