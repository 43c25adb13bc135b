"""The run: what is new goes through the stream into the cache; and `query`, for photos that stay outside it."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from extractor.cache import Cache
from extractor.errors import PetrieveError
from extractor.labels import Labels, read_labels
from extractor.photos import Photo, find
from extractor.rows import Embedded, Known, Unreadable
from extractor.store import Store, read_card, writing
from extractor.stream import results
from extractor.trunk import Trunk, load_trunk
from extractor.weights import resolve

Source = str | os.PathLike[str]
Progress = Callable[[int, int], None]  # photos done, photos in all
# Photos that are looked up one by one need no full batch.
QUERY_BATCH = 16
# Why a photo could not be read: such trouble may pass, so it is tried again; damage inside a file stays.
PASSING = "cannot be read"


@dataclass(frozen=True)
class Summary:
    """What a run did: counts of photos; `device` and `precision` are None when the trunk had nothing to do."""

    found: int
    embedded: int
    cached: int
    copied: int
    unreadable: int
    missing: int
    seconds: float
    photos_per_second: float
    device: str | None
    precision: str | None
    weights: str


@dataclass(frozen=True)
class Plan:
    """What is found, held against what is known: each photo is in one of the first three lists."""

    todo: list[Photo]
    cached: list[Photo]
    unreadable: list[Photo]
    missing: list[str]  # paths that the cache or its list of unreadable photos holds and the sources no longer do


def embed(
    sources: Source | Sequence[Source],
    *,
    store: Source = ".petrieve",
    labels: Source | None = None,
    weights: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    prune: bool = False,
    progress: Progress | None = None,
) -> tuple[Summary, Cache]:
    """The figures of a run that brings a store up to date with its sources, and the cache as it is then.

    Photos that the cache holds are not opened again; those whose bytes it holds under another name are not
    embedded again. `labels` is a CSV; `weights` is `imagenet`, `bundled` or a file, by default what the store
    was made with, else `imagenet`. `prune` forgets the photos that are gone. `progress` follows each commit.

    Raises:
        PetrieveError: a source, the labels, the weights, the device or the store cannot be used.
    """
    started = time.perf_counter()
    wanted = _paths(sources)
    place = Store(Path(store))
    csv = read_labels(labels) if labels is not None else None
    with writing(place):
        cache = Cache.open(store) if read_card(place) else None
        known = cache.known() if cache else {}
        bad = cache.unreadable() if cache else {}
        photos = _find(wanted, {*known, *bad}, prune=prune)
        photos = csv.apply(photos) if csv else photos
        plan = _plan(photos, wanted, known, bad)
        trunk = None
        if cache is None or plan.todo or _is_other(weights, cache):
            trunk = load_trunk(weights or (cache.weights if cache else "imagenet"), device, precision)
            cache = Cache.create(place, fingerprint=trunk.fingerprint, weights=trunk.weights)
        if csv:
            cache.add_columns(csv.columns)
        counts = _run(plan.todo, cache, known, trunk, progress) if trunk else Counter()
        _settle(cache, plan, known, csv, prune=prune)
    seconds = time.perf_counter() - started
    return Summary(
        found=len(photos),
        embedded=counts["embedded"],
        cached=len(plan.cached),
        copied=counts["copied"],
        unreadable=counts["unreadable"] + len(plan.unreadable),
        missing=len(plan.missing),
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
) -> Iterator[Embedded | Unreadable]:
    """The embeddings of photos that need not be in the cache, in the order that `embed` would take them in.

    What the cache holds is taken from there, without torch. Nothing is written.

    Raises:
        PetrieveError: a source, the weights or the device cannot be used, or the weights are not the cache's.
    """
    wanted = _paths(sources)
    photos = _find(wanted, (), prune=False)
    rows = {known.digest: known.row for known in cache.known().values()}
    trunk = partial(_fitting_trunk, cache, weights, device, precision)
    for batch in results(photos, trunk=trunk, cache=cache, rows=rows, batch=QUERY_BATCH):
        yield from batch


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


def same_photo(photo: Embedded, cache: Cache) -> list[str]:
    """The paths under which the cache holds this very photo: its own; else those with the same bytes."""
    known = cache.known()
    if photo.photo.path in known:
        return [photo.photo.path]
    return sorted(path for path, row in known.items() if row.digest == photo.digest)


def _paths(sources: Source | Sequence[Source]) -> list[str]:
    listed = [sources] if isinstance(sources, str | os.PathLike) else sources
    return [os.path.abspath(source) for source in listed]


def _fitting_trunk(cache: Cache, weights: str | None, device: str, precision: str) -> Trunk:
    trunk = load_trunk(weights or cache.weights, device, precision)
    cache.check(trunk.fingerprint, trunk.weights)
    return trunk


def _find(sources: Sequence[str], before: Sequence[str] | set[str], *, prune: bool) -> list[Photo]:
    """The photos of all sources, each path once."""
    photos: dict[str, Photo] = {}
    for source in sources:
        gone = not os.path.lexists(source) and any(_is_under(path, source) for path in before)
        if gone and not prune:
            raise PetrieveError(
                f"{source} is gone, and the store holds photos of it",
                "bring it back, or add `--prune` to forget them",
            )
        for photo in () if gone else find(source):
            photos.setdefault(photo.path, photo)
    if not photos and not any(_is_under(path, source) for path in before for source in sources):
        raise PetrieveError(
            f"there is no photo in {', '.join(sources)}",
            "name a folder with JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC files",
        )
    return list(photos.values())


def _is_under(path: str, source: str) -> bool:
    return path == source or path.startswith(os.path.join(source, ""))


def _is_other(weights: str | None, cache: Cache) -> bool:
    return weights is not None and resolve(weights) != cache.weights


def _plan(
    photos: Sequence[Photo], sources: Sequence[str], known: Mapping[str, Known], bad: Mapping[str, Unreadable]
) -> Plan:
    todo, cached, unreadable = [], [], []
    for photo in photos:
        row, failure = known.get(photo.path), bad.get(photo.path)
        if row and (row.size, row.modified) == (photo.size, photo.modified):
            cached.append(photo)
        elif failure and _is_same_failure(photo, failure):
            unreadable.append(photo)
        else:  # a changed photo keeps the row it has, also when it was found from another root
            earlier = row or (failure.photo if failure else photo)
            todo.append(replace(photo, root=earlier.root, uri=earlier.uri))
    here = {photo.path for photo in photos}
    gone = {path for path in {*known, *bad} - here if any(_is_under(path, source) for source in sources)}
    return Plan(todo, cached, unreadable, sorted(gone))


def _is_same_failure(photo: Photo, failure: Unreadable) -> bool:
    then = failure.photo
    return (then.size, then.modified) == (photo.size, photo.modified) and not failure.reason.startswith(PASSING)


def _run(
    todo: Sequence[Photo], cache: Cache, known: Mapping[str, Known], trunk: Trunk, progress: Progress | None
) -> Counter[str]:
    """How many were embedded, copied and unreadable."""
    counts: Counter[str] = Counter()
    rows = {row.digest: row.row for row in known.values()}
    # Copies come from the cache as it was: a row that this run overwrites may be another photo's original.
    before = Cache.open(cache.store.path)
    for batch in results(todo, trunk=lambda: trunk, cache=before, rows=rows, batch=trunk.batch):
        cache.commit(batch, known)
        for result in batch:
            counts[_outcome(result, rows)] += 1
        if progress:
            progress(counts.total(), len(todo))
    return counts


def _outcome(result: Embedded | Unreadable, rows: Mapping[bytes, int]) -> str:
    if isinstance(result, Unreadable):
        return "unreadable"
    return "copied" if result.digest in rows else "embedded"


def _settle(cache: Cache, plan: Plan, known: Mapping[str, Known], csv: Labels | None, *, prune: bool) -> None:
    """What a run owes to photos that it did not embed."""
    if csv:
        cache.relabel({photo.path: csv.of(photo) for photo in plan.cached if csv.of(photo)}, known)
    if prune:
        cache.forget(plan.missing, known)
    cache.tidy()
