"""What a run has to do: the photos of its sources, held against what is known of them."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from extractor.sources.folder import find
from extractor.sources.formats import FORMATS
from extractor.sources.labels import Labels
from store.cache import Cache
from store.errors import PetrieveError
from store.photo import Photo
from store.rows import Known, Unreadable


@dataclass(frozen=True)
class Plan:
    """Each photo that is found is in one of the first three lists; paths tell the rest."""

    todo: list[Photo]
    cached: list[Photo]
    unreadable: list[Photo]
    missing: list[str]  # what the store holds and the sources no longer do
    again: list[Photo]  # what is known, as it was found this time, changed or not
    said: dict[str, dict[str, Any]]  # what the rows of photos that are known have yet to be told


def find_all(sources: Sequence[str], before: Collection[str] = (), *, prune: bool = False) -> list[Photo]:
    """The photos of all sources (absolute paths), each path once; `before` are the paths that the store holds.

    Raises:
        PetrieveError: a source is not there, unless it is to be pruned; or there is no photo and was none.
    """
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
            f"name a folder with {FORMATS} files",
        )
    return list(photos.values())


def plan(
    photos: Sequence[Photo],
    sources: Sequence[str],
    known: Mapping[str, Known],
    bad: Mapping[str, Unreadable],
    csv: Labels | None,
    *,
    views: int,
    retry: bool,
) -> Plan:
    """What is new, has changed, is known, has failed before, or is gone; with `retry`, what failed is to do again.

    A photo is known when it has so many augmented `views`.
    """
    todo, cached, unreadable = [], [], []
    said = {}
    for photo in photos:
        row, failure = known.get(photo.path), bad.get(photo.path)
        if row and csv and csv.of(photo):
            said[photo.path] = csv.of(photo)
        if row and len(row.augmented) >= views and _is_as_then(photo, row):
            cached.append(photo)
        elif failure and not retry and not failure.may_pass and _is_as_then(photo, failure.photo):
            unreadable.append(photo)
        else:  # a changed photo keeps the row it has, also when it was found from another root
            earlier = row or (failure.photo if failure else photo)
            todo.append(replace(photo, root=earlier.root, uri=earlier.uri))
    here = {photo.path for photo in photos}
    gone = {path for path in {*known, *bad} - here if any(_is_under(path, source) for source in sources)}
    again = [photo for photo in photos if photo.path in known]
    return Plan(todo, cached, unreadable, sorted(gone), again, said)


def settle(cache: Cache, made: Plan, known: Mapping[str, Known], *, prune: bool) -> None:
    """What a run owes to photos that it did not embed."""
    cache.relabel({**_labels_from_another_root(cache, made, known), **made.said})
    bad = cache.unreadable()
    cache.forgive([bad[photo.path].photo for photo in made.cached if photo.path in bad])
    if prune:
        cache.forget(made.missing, known)
    cache.tidy()


def _labels_from_another_root(cache: Cache, made: Plan, known: Mapping[str, Known]) -> dict[str, dict[str, Any]]:
    """Labels and splits that a folder higher up gives to photos that had none, seen from their own folder."""
    others = [photo for photo in made.again if photo.root != known[photo.path].root]
    now = cache.labelled() if others else {}
    found = {}
    for photo in others:
        if photo.path in now:
            told = {"label": photo.label, "split": photo.split}
            found[photo.path] = {name: value for name, value in told.items() if now[photo.path][name] is None}
    return found


def _is_under(path: str, source: str) -> bool:
    return path == source or path.startswith(os.path.join(source, ""))


def _is_as_then(photo: Photo, then: Photo | Known) -> bool:
    return (photo.size, photo.modified) == (then.size, then.modified)
