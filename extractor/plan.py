"""What a run has to do: the photos of its sources, held against what the store knows of them."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from extractor.sources.folder import Folder
from extractor.sources.formats import FORMATS
from extractor.sources.labels import Labels
from extractor.sources.source import Part
from store.cache import Cache
from store.errors import PetrieveError
from store.known import Known, may_pass
from store.photo import Photo
from store.rows import said_of


@dataclass(frozen=True)
class Plan:
    """Each photo that is found is in one of the first three; paths tell the rest."""

    todo: dict[str, Photo]  # by path, with what is said of it
    cached: list[Photo]
    unreadable: list[Photo]
    missing: list[str]  # what the store holds and the sources no longer do
    again: list[Photo]  # what is known, as it was found this time, changed or not
    said: dict[str, dict[str, Any]]  # what the rows of photos that are known have yet to be told


def find_parts(sources: Sequence[str], before: Iterable[str] = (), *, prune: bool = False) -> list[Part]:
    """The photos of all sources (absolute paths), in parts; `before` are the paths that the store holds.

    Raises:
        PetrieveError: a source is not there, unless it is to be pruned; or there is no photo and was none.
    """
    parts: list[Part] = []
    for source in sources:
        gone = not os.path.lexists(source) and any(_is_under(path, source) for path in before)
        if gone and not prune:
            raise PetrieveError(
                f"{source} is gone, and the store holds photos of it",
                "bring it back, or add `--prune` to forget them",
            )
        parts += () if gone else Folder(source).parts()
    if not parts and not any(_is_under(path, source) for path in before for source in sources):
        raise PetrieveError(
            f"there is no photo in {', '.join(sources)}",
            f"name a folder with {FORMATS} files, or let `cli.py sample {sources[0]}` draw some pets",
        )
    return parts


def photos_of(parts: Iterable[Part]) -> list[Photo]:
    """The photos of all parts, each path once."""
    photos: dict[str, Photo] = {}
    for part in parts:
        for photo in part.photos:
            photos.setdefault(photo.path, photo)
    return list(photos.values())


def chosen(parts: Iterable[Part], paths: Iterable[str]) -> list[tuple[Part, list[Photo]]]:
    """Of each part the photos that have one of these paths, each path once."""
    left = set(paths)
    found = []
    for part in parts:
        some = [photo for photo in part.photos if photo.path in left]
        left -= {photo.path for photo in some}
        if some:
            found.append((part, some))
    return found


def plan(
    photos: Sequence[Photo],
    sources: Sequence[str],
    known: Known,
    csv: Labels | None,
    *,
    views: int,
    retry: bool,
) -> Plan:
    """What is new, has changed, is known, has failed before, or is gone; with `retry`, what failed is to do again.

    A photo is known when it has so many augmented `views`.
    """
    todo, cached, unreadable = dict[str, Photo](), list[Photo](), list[Photo]()
    said = {}
    reasons = known.reasons()
    for photo in photos:
        path = photo.path
        there = path in known
        if there and csv and csv.of(photo):
            said[path] = csv.of(photo)
        same = there and known.is_as_then(photo)
        reason = reasons.get(path)
        if same and (reason is None or may_pass(reason)) and known.views_of(path) > views:
            cached.append(photo)
        elif same and reason and not retry and not may_pass(reason):
            unreadable.append(photo)
        else:
            todo[path] = photo
    here = {photo.path for photo in photos}
    missing = sorted(path for path in known if path not in here and any(_is_under(path, one) for one in sources))
    again = [photo for photo in photos if photo.path in known]
    return Plan(todo, cached, unreadable, missing, again, said)


def settle(cache: Cache, made: Plan, known: Known, *, prune: bool) -> None:
    """What a run owes to photos that it did not embed."""
    gone, reasons = known.gone(), known.reasons()
    told = {**_labels_from_another_root(cache, made, known), **made.said}
    for photo in made.cached:  # it is there, and can be reached
        if photo.path in gone or photo.path in reasons:
            told[photo.path] = {**told.get(photo.path, {}), "gone": None, "reason": None}
    for photo in made.unreadable:
        if photo.path in gone:
            told[photo.path] = {**told.get(photo.path, {}), "gone": None}
    cache.change(told, known)
    if prune:
        cache.forget(made.missing, known)
    else:
        cache.mark_gone([path for path in made.missing if path not in gone], known)
    cache.tidy()


def _labels_from_another_root(cache: Cache, made: Plan, known: Known) -> Mapping[str, dict[str, Any]]:
    """Labels and splits that a folder higher up gives to photos that had none, seen from their own folder."""
    roots = known.roots()
    others = [photo for photo in made.again if photo.root != roots[photo.path]]
    now = cache.told_of([photo.path for photo in others], known)
    found = {}
    for photo in others:
        told = {name: value for name, value in said_of(photo).items() if name in ("label", "split")}
        found[photo.path] = {name: value for name, value in told.items() if now[photo.path][name] is None}
    return found


def _is_under(path: str, source: str) -> bool:
    return path == source or path.startswith(os.path.join(source, ""))
