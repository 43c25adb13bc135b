"""What is to do, through an engine into the store: on this machine, or on a cluster."""

import os
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from extractor.engines.clock import Clock
from extractor.engines.cluster import LOCAL, joined
from extractor.engines.local import CORES, results
from extractor.engines.units import Piece
from extractor.engines.worker import Job, sight
from extractor.plan import Plan
from extractor.trunks.kinds import kind
from extractor.trunks.trunk import Trunk, batch_of, workers_of
from extractor.trunks.weights import read_weights
from store.cache import Cache
from store.digests import as_array
from store.key import Key
from store.known import Known
from store.photo import is_address, path_of
from store.rows import Embedded, Unreadable, said_of, told
from store.written import Result, Written, outcome, together, write_results

Progress = Callable[[int, int, int], None]  # photos done, photos in all, bytes read
Tell = Callable[[str], None]


@dataclass(frozen=True)
class How:
    """How a run embeds."""

    on: str  # `local`, `ray`, or a cluster's address
    workers: int | None  # of a cluster
    device: str
    precision: str
    keep_damaged: bool
    sources: Sequence[str]


@dataclass
class Ran:
    """What a run has done so far."""

    outcomes: dict[str, str] = field(default_factory=dict)  # `embedded`, `copied` or `unreadable`, by path
    views: int = 0  # embeddings that the trunk made
    size: int = 0  # bytes read
    device: str | None = None  # None where the trunk had nothing to do
    precision: str | None = None
    nodes: dict[str, "Node"] = field(default_factory=dict)  # by host

    def node(self, host: str) -> "Node":
        """What a machine has done."""
        return self.nodes.setdefault(host, Node())


@dataclass
class Node:
    """What one machine of a run has done, and how much of the time its stages were at it."""

    photos: int = 0
    seconds: float = 0.0  # that its workers had something to do, summed
    busy: Counter[str] = field(default_factory=Counter)  # seconds of these, by stage

    def add(self, photos: int, seconds: float, stages: Mapping[str, float]) -> None:
        """Count what a worker has done in so many seconds."""
        self.photos += photos
        self.seconds += seconds
        for stage, some in stages.items():
            self.busy[stage] += some  # type: ignore[assignment]

    def figures(self, seconds: float) -> dict[str, Any]:
        """Photos, photos a second of a run that took so long, and the share of the time that each stage was busy."""
        busy = {stage: round(some / self.seconds, 3) for stage, some in sorted(self.busy.items())}
        return {"photos": self.photos, "photos_per_second": round(self.photos / seconds, 2), "busy": busy}


def run(
    pieces: Sequence[Piece],
    to_do: Plan,
    cache: Cache,
    there: Known,
    trunk: Callable[[], Trunk],
    how: How,
    *,
    progress: Progress | None,
    tell: Tell,
    stop: Callable[[], bool],
) -> Ran:
    """What came of the photos that are to do; each commit is followed by `progress`, and the last one by `stop`.

    Raises:
        PetrieveError: the store, the device or the cluster cannot be used.
    """
    ran = Ran()
    engine = _here if how.on == LOCAL else _on_cluster
    commits = engine(pieces, to_do, cache, there, trunk, how, ran, tell)
    with closing(commits):
        for _ in commits if to_do.todo else ():
            if progress:
                progress(len(ran.outcomes), len(to_do.todo), ran.size)
            if stop():
                break
    if how.on != LOCAL and len(ran.outcomes) == len(to_do.todo):
        _count_once(cache, to_do, ran)
    return ran


def _count_once(cache: Cache, to_do: Plan, ran: Ran) -> None:
    """Drop what several workers have embedded at once: all photos but the first are copies, as in a run on one machine.

    What an earlier run has left so goes too.
    """
    dropped = cache.drop_repeated()
    of = defaultdict[bytes, list[str]](list)
    for row in cache.photos_of(as_array(dropped), ["root", "uri"]).to_pylist() if dropped else ():
        if ran.outcomes.get(path := path_of(row["root"], row["uri"])) == "embedded":
            of[row["digest"]].append(path)
    places = {path: place for place, path in enumerate(to_do.todo)} if of else {}
    for digest, paths in of.items():
        ran.outcomes.update(dict.fromkeys(sorted(paths, key=places.__getitem__)[1:], "copied"))
        ran.views -= dropped[digest]


def _here(
    pieces: Sequence[Piece],
    to_do: Plan,
    cache: Cache,
    there: Known,
    trunk: Callable[[], Trunk],
    how: How,
    ran: Ran,
    tell: Tell,  # noqa: ARG001
) -> Generator[None, None, None]:
    clock, started = Clock(), time.perf_counter()
    workers = workers_of(how.device)
    made = results(
        pieces,
        trunk=trunk,
        there=there.content,
        batch=batch_of(how.device),
        workers=workers,
        views=cache.made.views,
        keep_damaged=how.keep_damaged,
        clock=clock,
    )
    try:
        with closing(made) as ready:
            for some in ready:
                with clock.during("write"):
                    cache.commit([_told(one, to_do, there) for one in some], there)
                ran.outcomes.update((one.photo.path, outcome(one)) for one in some)
                ran.views += sum(len(one.views) for one in some if isinstance(one, Embedded))
                ran.size += sum(max(one.photo.size, 0) for one in some)
                yield
    finally:
        stages = clock.shares(embed=workers, decode=CORES)
        ran.node(socket.gethostname()).add(len(ran.outcomes), time.perf_counter() - started, stages)


def _on_cluster(
    pieces: Sequence[Piece],
    to_do: Plan,
    cache: Cache,
    there: Known,
    trunk: Callable[[], Trunk],
    how: How,
    ran: Ran,
    tell: Tell,
) -> Generator[None, None, None]:
    from extractor.engines import ray

    with joined(how.on):
        job = _job(cache, how)
        weights = read_weights(trunk().weights, kind(cache.made.kind))
        windows = ray.results(
            ((part, [to_do.todo[photo.path] for photo in photos]) for part, photos in pieces),
            there,
            len(to_do.todo),
            job=job,
            weights=weights,
            there=there.embeddings,
            lost=to_do.lost,
            precision=how.precision,
            workers=how.workers,
            tell=tell,
        )
        with closing(windows) as ready:
            for window in ready:
                written = [one.written for one in window.done]
                for unit in window.blamed:
                    bad = [Unreadable(photo, ray.REASON) for photo in unit.photos]
                    written.append(write_results(cache.store, cache.made, bad, job.schema, unit.known))
                if written:
                    _commit(cache, together(written), there, ran)
                for done in window.done:
                    ran.device, ran.precision = job.device, done.precision
                    ran.node(done.host).add(len(done.written.outcomes), done.seconds, done.stages)
                yield


def _commit(cache: Cache, written: Written, there: Known, ran: Ran) -> None:
    cache.commit_written(written, there)
    ran.outcomes.update(written.outcomes)
    ran.views += written.embeddings
    ran.size += written.size


def _job(cache: Cache, how: How) -> Job:
    """What all workers are told; paths on this machine's disks are those of a folder that they must share."""
    from extractor.engines import crew

    store = cache.store
    place = str(store.path) if isinstance(store.path, Key) else os.path.abspath(store.path)
    seen = [*how.sources, *([] if isinstance(store.path, Key) else [os.path.abspath(str(store.card))])]
    return Job(
        store=place,
        seen=tuple((path, sight(path)) for path in seen if not is_address(path)),
        made=cache.made,
        schema=cache.photo_schema,
        device=crew.device(how.device),
        keep_damaged=how.keep_damaged,
    )


def _told(one: Result, to_do: Plan, there: Known) -> Result:
    """A result with what the CSV, its name and its folders say of the photo, and what was said of it before it went."""
    photo = told(one.photo, said_of(to_do.todo[one.photo.path]))
    if photo.path not in there:
        photo = to_do.lost.told(photo, one.digest if isinstance(one, Embedded) else None)
    return replace(one, photo=photo)
