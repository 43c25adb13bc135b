"""The run: what is new goes through the stream into the cache; and `query`, for photos that stay outside it."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from extractor.engines.local import load, results
from extractor.pixels.augment import check_views
from extractor.plan import find_all, plan, settle
from extractor.sources.folder import Source, paths_of
from extractor.sources.formats import FORMATS
from extractor.sources.labels import read_labels
from extractor.trunks.fitting import asks, fitting_trunk
from extractor.trunks.trunk import Trunk
from store.cache import Cache
from store.errors import PetrieveError
from store.folder import Store, read_card
from store.lock import writing
from store.photo import Photo
from store.rows import Embedded, Known, Unreadable, by_digest
from store.upgrade import upgrade

Progress = Callable[[int, int], None]  # photos done, photos in all


@dataclass(frozen=True)
class Summary:
    """What a run did: counts of photos; `device` and `precision` are None when the trunk had nothing to do."""

    found: int
    embedded: int
    cached: int
    copied: int
    unreadable: int
    missing: int
    views: int  # embeddings that the trunk made: one for each photo, and those of its augmented views
    left: int  # not looked at, because the run was asked to stop
    seconds: float
    photos_per_second: float
    device: str | None
    precision: str | None
    weights: str


def embed(
    sources: Source | Sequence[Source],
    *,
    store: Source = ".petrieve",
    labels: Source | None = None,
    weights: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    views: int = 0,
    prune: bool = False,
    retry: bool = False,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Summary, Cache]:
    """The figures of a run that brings a store up to date with its sources, and the cache as it is then.

    Photos that the cache holds are not opened again; those whose bytes it holds under another name are not
    embedded again. `labels` is a CSV; `weights` is `imagenet`, `bundled` or a file, by default what the store
    was made with, else `imagenet`. Beside its canonical view each photo gets so many augmented `views`; the store
    remembers their number, which never falls. `prune` forgets the photos that are gone, `retry` opens unreadable
    ones again though they have not changed. `progress` follows each commit; when `stop` then says so, the run ends
    there.

    Raises:
        PetrieveError: a source, the labels, the weights, the device or the store cannot be used; or no photo be read.
    """
    started = time.perf_counter()
    check_views(views)
    wanted = paths_of(sources)
    place = Store(Path(store))
    csv = read_labels(labels) if labels is not None else None
    with writing(place):
        upgrade(place)
        cache = Cache.open(store) if read_card(place) else None
        known = cache.known() if cache is not None else {}
        bad = cache.unreadable() if cache is not None else {}
        photos = find_all(wanted, {*known, *bad}, prune=prune)
        photos = csv.apply(photos) if csv else photos
        views = max(views, cache.views if cache is not None else 0)
        to_do = plan(photos, wanted, known, bad, csv, views=views, retry=retry)
        trunk = None
        if cache is None:
            cache, trunk = _new(place, to_do.todo, photos, weights or "imagenet", device, precision)
        elif to_do.todo or asks(cache, weights, device, precision):
            trunk = fitting_trunk(cache, place, weights or cache.weights, device, precision, photos)
        if csv:
            cache.add_columns(csv.columns)
        cache.keep_views(views)
        counts, made = _run(to_do.todo, cache, known, trunk, progress, stop) if trunk else (Counter(), 0)
        left = len(to_do.todo) - counts.total()
        if not left:
            settle(cache, to_do, known, prune=prune)
        cache.sign()
    unreadable = counts["unreadable"] + len(to_do.unreadable)
    if photos and unreadable == len(photos):
        raise PetrieveError(f"none of {len(photos)} photos can be read", "`cli.py info --unreadable` lists the reasons")
    seconds = time.perf_counter() - started
    return Summary(
        found=len(photos),
        embedded=counts["embedded"],
        cached=len(to_do.cached),
        copied=counts["copied"],
        unreadable=unreadable,
        missing=len(to_do.missing),
        views=made,
        left=left,
        seconds=round(seconds, 3),
        photos_per_second=round(counts["embedded"] / seconds, 2),
        device=str(trunk.device) if trunk else None,
        precision=trunk.precision_name if trunk else None,
        weights=cache.weights,
    ), cache


def _new(
    place: Store, todo: Sequence[Photo], photos: Sequence[Photo], weights: str, device: str, precision: str
) -> tuple[Cache, Trunk]:
    """The empty cache of a new store, and its trunk."""
    _check_one_is_readable(todo)
    trunk = fitting_trunk(None, place, weights, device, precision, photos)
    return Cache.create(place, fingerprint=trunk.fingerprint, weights=trunk.weights), trunk


def _check_one_is_readable(photos: Sequence[Photo]) -> None:
    """A new store is made for the first photo that can be read, and not for files that only look like photos."""
    failures = []
    for photo in photos:
        loaded = load(photo, {})
        if not isinstance(loaded, Unreadable):
            return
        failures.append(loaded)
    raise PetrieveError(
        f"none of {len(failures)} photos can be read, first {failures[0].photo.path}: {failures[0].reason}",
        f"name {FORMATS} files",
    )


def _run(
    todo: Sequence[Photo],
    cache: Cache,
    known: Mapping[str, Known],
    trunk: Trunk,
    progress: Progress | None,
    stop: Callable[[], bool],
) -> tuple[Counter[str], int]:
    """How many were embedded, copied and unreadable; and how many embeddings the trunk made."""
    counts: Counter[str] = Counter()
    views = 0
    rows = by_digest(known)
    # Copies come from the cache as it was: a row that this run overwrites may be another photo's original.
    before = cache.as_now()
    made = results(
        todo,
        trunk=lambda: trunk,
        cache=before,
        rows=rows,
        batch=trunk.batch,
        workers=trunk.workers,
        views=cache.views,
    )
    with closing(made) as ready:
        for some in ready:
            cache.commit(some, known)
            new = [_made(result, rows) for result in some]
            counts.update(map(_outcome, some, new))
            views += sum(new)
            if progress:
                progress(counts.total(), len(todo))
            if stop():
                break
    return counts, views


def _made(result: Embedded | Unreadable, rows: Mapping[bytes, tuple[int, ...]]) -> int:
    """How many of a photo's embeddings the trunk has made."""
    if isinstance(result, Unreadable):
        return 0
    return max(0, len(result.views) - len(rows.get(result.digest, ())))


def _outcome(result: Embedded | Unreadable, made: int) -> str:
    if isinstance(result, Unreadable):
        return "unreadable"
    return "embedded" if made else "copied"
