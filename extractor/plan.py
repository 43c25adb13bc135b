"""What a run has to do: the photos of its sources, held against what the store knows of them."""

import gc
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from extractor.sources.as_before import Listings
from extractor.sources.folder import is_folder
from extractor.sources.formats import FORMATS
from extractor.sources.inside import ARCHIVES, LITTER, ending_of
from extractor.sources.places import exists, source_at
from extractor.sources.said.words import Words
from extractor.sources.source import Part, Source
from store.cache import Cache
from store.columns import plain
from store.errors import PetrieveError, first_line, listed
from store.forgotten import Lost
from store.known import Known
from store.photo import Photo, is_address, path_of
from store.rows import BY_HAND, is_damage, may_pass, said_of

Listing = Callable[[int], None]  # told how many photos have been found so far
NAMED, KINDS = 10, 10  # of sources without photos, and of what they hold, so many are named
LABELLED = "label IS NOT NULL"


@dataclass(frozen=True)
class Plan:
    """Each photo that is found is in one of the first three; paths tell the rest."""

    todo: dict[str, Photo]  # by path, with what is said of it
    cached: list[str]  # paths, as are these
    unreadable: list[str]
    missing: list[str]  # what the store holds and the sources no longer do
    reopened: list[str]  # folders that could not be listed before
    from_above: dict[str, Photo]  # what is known, and was found from a folder above this time, by path
    said: dict[str, dict[str, Any]]  # what the rows of photos that are known have yet to be told
    lost: Lost = field(default_factory=Lost)  # what was said of photos that are no longer where they were


@dataclass(frozen=True)
class Found:
    """What a source holds: its photos in parts, what is passed over, and how to ask what it says of the photos."""

    name: str
    parts: list[Part]
    photos: dict[str, Photo]  # by path, without those that an earlier source has
    passed: Counter[str]
    words: Callable[[], Words | None] = lambda: None


def find_all(
    sources: Sequence[str],
    before: Iterable[str] = (),
    *,
    listings: Listings | None = None,
    listing: Listing | None = None,
    prune: bool = False,
) -> list[Found]:
    """What all sources (addresses and absolute paths) hold; `before` are the paths that the store holds.

    Archives that are as `listings` say they were are not opened.

    Raises:
        PetrieveError: a source is not there, unless it is to be pruned; or there is no photo and was none.
    """
    found: list[Found] = []
    taken: set[str] = set()
    litter = [source for source in sources if os.path.basename(source).casefold() in LITTER]
    litter = litter if len(litter) < len(sources) else []  # among others, a pattern has named it: `p/*`
    for name in (one for one in sources if one not in litter):
        gone = not exists(name) and any(_is_under(path, name) for path in before)
        if gone and not prune:
            raise PetrieveError(
                f"{name} is gone, and the store holds photos of it",
                "bring it back, or add `--prune` to forget them",
            )
        if gone:
            continue
        source = source_at(name, listings)
        parts = _listed(source, name, sum(len(one.photos) for one in found), listing)
        photos = photos_of(parts)
        for path in taken.intersection(photos):
            del photos[path]
        if len(sources) > 1:
            taken.update(photos)
        found.append(Found(name, parts, photos, source.passed, source.words))
    found += [Found(name, [], {}, Counter({os.path.basename(name): 1})) for name in litter]
    _check_some(found, sources, before)
    return found


def _listed(source: Source, name: str, before: int, listing: Listing | None) -> list[Part]:
    """The parts of a source; `listing` is told how many photos they hold so far, beside those `before`."""
    parts: list[Part] = []
    collects = gc.isenabled()
    gc.disable()  # nothing that is listed is garbage: looking for some takes a fifth of the time
    try:
        for part in source.parts():
            parts.append(part)
            before += len(part.photos)
            if listing:
                listing(before)
    except OSError as error:
        why = error.strerror or first_line(error)
        raise PetrieveError(f"cannot list {name}: {why}", "bring it back, or leave it out") from error
    finally:
        if collects:
            gc.enable()
    return parts


def find_parts(sources: Sequence[str]) -> list[Part]:
    """The photos of all sources, as by `find_all`."""
    return parts_in(find_all(sources))


def parts_in(found: Iterable[Found]) -> list[Part]:
    """The parts of several sources."""
    return [part for one in found for part in one.parts]


def _check_some(found: Sequence[Found], sources: Sequence[str], before: Iterable[str]) -> None:
    """Refuse sources in which no photo lies, and of which the store has none."""
    held = list(before)
    empty = [one for one in found if not one.parts and not any(_is_under(path, one.name) for path in held)]
    if empty and (len(empty) == len(found) or any(not os.path.isdir(one.name) for one in empty)):
        there = [f"{one.name} holds {counted(one.passed)}" for one in empty if one.passed or os.path.isfile(one.name)]
        raise PetrieveError(
            f"there is no photo in {listed([one.name for one in empty], NAMED)}"
            + (f": {'; '.join(there[:NAMED])}" if there else ""),
            _remedy(sources[0], empty),
        )


def _remedy(place: str, empty: Iterable[Found]) -> str:
    """What somebody can do who has named sources in which no photo lies, this one first."""
    if is_address(place) and any(".lance" in one.passed for one in empty):
        return "copy a table of Lance to a disk, and name it there: in a bucket it is not read"
    if is_address(place) and "*" in place:
        return "name what is before the `*`, which in a bucket means itself, or write `{00..11}`"
    some = f"name a {'prefix' if is_address(place) else 'folder'} or an archive with {FORMATS} files"
    nested = [
        one for one in empty if any(ending_of(kind) in ARCHIVES for kind in one.passed) and not os.path.isdir(one.name)
    ]
    some += f", or unpack {nested[0].name}: archives in archives are not read" if nested else ""
    return some if not os.path.isdir(place) else f"{some}, or let `cli.py sample {place}` draw some pets"


def counted(passed: Mapping[str, int]) -> str:
    """What was passed over, in words: the most frequent first."""
    kinds = [f"{count} {name}" for name, count in sorted(passed.items(), key=lambda one: (-one[1], one[0]))]
    return listed(kinds, KINDS) or "nothing"


def photos_of(parts: Iterable[Part]) -> dict[str, Photo]:
    """The photos of all parts by path, each path once."""
    photos: dict[str, Photo] = {}
    for part in parts:
        for photo in part.photos:
            photos.setdefault(photo.path, photo)
    return photos


def chosen(parts: Iterable[Part], paths: Iterable[str]) -> list[tuple[Part, list[Photo]]]:
    """Of each part the photos that have one of these paths, each path once."""
    left = set(paths)
    found = []
    for part in parts:
        if not left:
            break
        some = [photo for photo in part.photos if photo.path in left]
        left -= {photo.path for photo in some}
        if some:
            found.append((part, some))
    return found


def plan(
    photos: Mapping[str, Photo],
    sources: Sequence[str],
    known: Known,
    csv: Mapping[str, dict[str, Any]],
    *,
    again: Mapping[str, dict[str, Any]],
    views: int,
    retry: bool,
    keep_damaged: bool,
) -> Plan:
    """What is new, has changed, is known, has failed before, or is gone; with `retry`, what failed is to do again, and
    with `keep_damaged`, what did so because it is damaged.

    A photo is known when it has so many augmented `views`. `csv` is what one says, by path, and goes before what is
    said of known photos `again`.
    """
    todo = dict[str, Photo]()
    cached, unreadable = list[str](), list[str]()
    reasons = known.reasons()
    as_then = zip(*(each.tolist() for each in known.as_then(photos, views)), strict=True)
    for (path, photo), (same, whole) in zip(photos.items(), as_then, strict=True):
        reason = reasons.get(path)
        if whole and (reason is None or may_pass(reason)):
            cached.append(path)
        elif same and reason and not may_pass(reason) and not (retry or (keep_damaged and is_damage(reason))):
            unreadable.append(path)
        else:
            todo[path] = photo
    unseen = [path for path in known if path not in photos and any(_is_under(path, one) for one in sources)]
    closed = [path for path in photos if is_folder(path)]
    missing = sorted(path for path in unseen if not is_folder(path) and not any(map(path.startswith, closed)))
    reopened = [path for path in unseen if is_folder(path) and not any(map(path.startswith, closed))]
    told = {path: {**again.get(path, {}), **csv.get(path, {})} for path in again.keys() | csv.keys()} if again else csv
    said = {path: row for path, row in told.items() if path in known}
    return Plan(todo, cached, unreadable, missing, reopened, known.from_above(photos), said)


def check_loss(made: Plan, sources: Sequence[str], known: Known, forget: int | None) -> None:
    """Refuse to forget most of a source, or a folder that is empty now: a disk may not be there.

    `forget` is the number of photos to forget that somebody has typed.

    Raises:
        PetrieveError: so much is missing, and the number was not typed, or is another.
    """
    if forget is not None and forget != len(made.missing):
        raise PetrieveError(f"{len(made.missing)} photos are gone, not {forget}", "look which, and run it again")
    lost = _lost(made.missing, sources, known)
    if lost and forget is None:
        raise PetrieveError(
            f"{lost}: its disk may not be there",
            f"bring it back, or add `--forget {len(made.missing)}` to `--prune` if so many are to be forgotten",
        )


def _lost(missing: Sequence[str], sources: Sequence[str], known: Known) -> str | None:
    """What makes it likely that photos are missing because a disk is."""
    for source in sources:
        if source in known:  # one photo, which has been named
            continue
        held, gone = (sum(_is_under(path, source) for path in paths) for paths in (known, missing))
        if 2 * gone > held:
            return f"{source} lacks {gone} of {held} photos that the store has of it"
    for folder in sorted({os.path.dirname(path) for path in missing}):
        if os.path.isdir(folder) and not os.listdir(folder):
            return f"{folder} is empty, and the store has photos of it"
    return None


def settle(cache: Cache, made: Plan, known: Known, *, prune: bool) -> None:
    """What a run owes to photos that it did not embed."""
    gone, reasons = known.gone(), known.reasons()
    told = _labels_from_above(cache, made, known)
    told.update((path, {**told.get(path, {}), **words}) for path, words in made.said.items())
    for path in (gone | reasons.keys()).intersection(made.cached):  # it is there, and can be reached
        told[path] = {**told.get(path, {}), "gone": None, "reason": None}
    for path in gone.intersection(made.unreadable):
        told[path] = {**told.get(path, {}), "gone": None}
    cache.change(told, known)
    cache.drop_rows(made.reopened, known)
    cache.change(_said_of_what_went(cache, made, known), known)
    if prune:
        cache.forget(made.missing, known)
    else:
        cache.mark_gone([path for path in made.missing if path not in gone], known)
    cache.tidy()
    cache.change(_old_labels(cache, known), known)


def _labels_from_above(cache: Cache, made: Plan, known: Known) -> dict[str, dict[str, Any]]:
    """Labels and splits that a folder higher up gives to photos that had none, seen from their own folder."""
    now = cache.by_hand_of(list(made.from_above), known)
    found = {}
    for path, photo in made.from_above.items():
        told = said_of(photo)
        empty = [name for name, mark in BY_HAND.items() if now[path][name] is None and not now[path][mark]]
        found[path] = {name: told[name] for name in empty}
    return found


def _old_labels(cache: Cache, known: Known) -> dict[str, dict[str, Any]]:
    """Labels that an earlier release kept as they were written, as they are today, by path."""
    found = dict[str, dict[str, Any]]()
    labels = {label for batch in cache.photos(["label"], LABELLED) for label in batch["label"].unique().to_pylist()}
    if all(label == plain(label) for label in labels):  # as it is but once: paths are not read for it
        return found
    for batch in cache.photos(["root", "uri", "label"], LABELLED):
        for row in batch.to_pylist():
            path = path_of(row["root"], row["uri"])
            if path in known and row["label"] != plain(row["label"]):
                found[path] = {"label": plain(row["label"]) or None}
    return found


def _said_of_what_went(cache: Cache, made: Plan, known: Known) -> dict[str, dict[str, Any]]:
    """What a CSV said of photos that have gone now, for those that have their contents elsewhere, by path."""
    gone = known.gone()
    went = {known.digest(path) for path in made.missing if path not in gone}
    words = {digest: words for digest, words in made.lost.by_content.items() if digest in went}
    return {path: row for path, row in cache.unsaid(words, known).items() if path not in {*gone, *made.missing}}


def _is_under(path: str, source: str) -> bool:
    return path == source or path.startswith(os.path.join(source, ""))
