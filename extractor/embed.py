"""The run: what is new goes through the stream into the cache; and `query`, for photos that stay outside it."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache as once
from functools import partial
from pathlib import Path

from extractor.cache import Cache
from extractor.calibration import quantised
from extractor.errors import PetrieveError
from extractor.labels import read_labels
from extractor.photos import FORMATS, Photo
from extractor.plan import find_all, plan, settle
from extractor.rows import Embedded, Known, Unreadable
from extractor.store import Store, read_card, writing
from extractor.stream import digest_of, load, read, results
from extractor.trunk import Trunk, load_trunk
from extractor.upgrade import upgrade
from extractor.upright import Undecodable
from extractor.views import MOST
from extractor.weights import resolve

Source = str | os.PathLike[str]
Progress = Callable[[int, int], None]  # photos done, photos in all
# Of photos that are looked up; a single one need not wait for a full batch.
QUERY_BATCH = 8


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
    _check_views(views)
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
        elif to_do.todo or _asks(cache, weights, device, precision):
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


def query(
    sources: Source | Sequence[Source],
    cache: Cache,
    *,
    weights: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    views: int = 0,
) -> Iterator[Embedded | Unreadable]:
    """The embeddings of photos that need not be in the cache, in the order that `embed` would take them in.

    Each comes with those of so many augmented `views`. What the cache holds is taken from there, without torch unless
    weights, device or precision are given: those are checked. Nothing is written.

    Raises:
        PetrieveError: a source, the weights or the device cannot be used, or the weights are not the cache's.
    """
    _check_views(views)
    wanted = paths_of(sources)
    photos = find_all(wanted)
    known = cache.known() if len(photos) > QUERY_BATCH else cache.known_of({one.path: _digest(one) for one in photos})
    rows = _by_digest(known)
    trunk = once(partial(fitting_trunk, cache, cache.store, weights or cache.weights, device, precision))
    if _asks(cache, weights, device, precision):
        trunk()
    elif not all(photo.path in known and len(known[photo.path].augmented) >= views for photo in photos):
        import torch  # noqa: F401  before the threads begin, which are to compute with one each
    batch = min(QUERY_BATCH, len(photos))
    with closing(results(photos, trunk=trunk, cache=cache, rows=rows, batch=batch, views=views)) as ready:
        for some in ready:
            yield from some


def query_one(source: Source, cache: Cache, **settings: str | None) -> Embedded:
    """The embedding of one photo, as by `query`.

    Raises:
        PetrieveError: also if the photo cannot be read, or `source` is a folder.
    """
    if os.path.isdir(source):
        raise PetrieveError(f"{source} is a folder", "name one photo")
    (result,) = query(source, cache, **settings)  # type: ignore[arg-type]
    if isinstance(result, Unreadable):
        raise PetrieveError(f"cannot embed {source}: {result.reason}", "name another photo")
    return result


def same_photo(photo: Embedded, known: Mapping[str, Known]) -> list[str]:
    """The paths under which the cache holds this very photo: its own; else those with the same bytes."""
    if photo.photo.path in known:
        return [photo.photo.path]
    return sorted(path for path, row in known.items() if row.digest == photo.digest)


def fitting_trunk(
    cache: Cache | None, store: Store, weights: str, device: str, precision: str, photos: Sequence[Photo] = ()
) -> Trunk:
    """The trunk, which made what `cache` holds; for int8 with the store's ranges, measured on `photos` if it has none.

    Raises:
        PetrieveError: it cannot be had, is another than the cache's, or lacks ranges.
    """
    trunk = load_trunk(weights, device, "float32" if precision == "int8" else precision)
    if cache is not None:
        cache.check(trunk.fingerprint, trunk.weights)
    return quantised(trunk, store, photos) if precision == "int8" else trunk


def paths_of(sources: Source | Sequence[Source]) -> list[str]:
    """One source or several, as absolute paths."""
    listed = [sources] if isinstance(sources, str | os.PathLike) else sources
    return [os.path.abspath(source) for source in listed]


def _new(
    place: Store, todo: Sequence[Photo], photos: Sequence[Photo], weights: str, device: str, precision: str
) -> tuple[Cache, Trunk]:
    """The empty cache of a new store, and its trunk."""
    _check_one_is_readable(todo)
    trunk = fitting_trunk(None, place, weights, device, precision, photos)
    return Cache.create(place, fingerprint=trunk.fingerprint, weights=trunk.weights), trunk


def _check_views(number: int) -> None:
    if not 0 <= number <= MOST:
        raise PetrieveError(f"there cannot be {number} augmented views", f"name a number from 0 to {MOST}")


def _digest(photo: Photo) -> bytes | None:
    """What a photo's bytes are known by; None where they cannot be read, which is said later."""
    try:
        return digest_of(read(photo.path)[0])
    except (OSError, Undecodable, MemoryError):
        return None


def _by_digest(known: Mapping[str, Known]) -> dict[bytes, tuple[int, ...]]:
    """The rows that hold the embeddings of these bytes; of several photos, those of the one with the most views."""
    rows: dict[bytes, tuple[int, ...]] = {}
    for one in known.values():
        if len(one.rows) > len(rows.get(one.digest, ())):
            rows[one.digest] = one.rows
    return rows


def _asks(cache: Cache, weights: str | None, device: str, precision: str) -> bool:
    """Whether somebody asks for what must be checked even when there is nothing to embed."""
    other = weights is not None and resolve(weights) != cache.weights
    return other or (device, precision) != ("auto", "auto")


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
    rows = _by_digest(known)
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
