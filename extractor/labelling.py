"""What a run's photos are labelled by, folders or names and which folders; and what is doubtful about that."""

import os
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from extractor.plan import Found
from extractor.sources.folder import is_folder
from extractor.sources.said.labels import Labels
from extractor.sources.said.names import (
    PARENT,
    SPLITS,
    Folder,
    Naming,
    first_level,
    kaggle,
    labels_at,
    mixed,
    tree_of,
    ways_of,
)
from extractor.sources.said.words import Words, together
from store.cache import Cache
from store.columns import plain
from store.errors import PetrieveError
from store.known import Known
from store.photo import Photo, as_text
from store.rows import BY_HAND, by_hand, told

SAMPLE = 1000  # photos of the store, whose labels tell by what it is labelled
AGREE = 0.1  # of their labels at least; those of a CSV may be some folder's name by chance
BY = {None: "their names", PARENT: "the folder that they lie in", 0: "their source"}


@dataclass(frozen=True)
class Named:
    """A run's photos by path; what is said of those that are new, or were found from another root, is with them."""

    photos: dict[str, Photo]
    naming: Naming | None = None  # None where there was nothing to ask

    def counts(
        self, photos: Mapping[str, Photo], known: Known, words: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, dict[str, int]] | None:
        """How many new photos have which label, by what gave it; None if none is new.

        That is `folders`, `names`, `source` (what its `words` say, by path) or `csv`. `photos` are the same ones, with
        what the CSV says of them.
        """
        if self.naming is None:
            return None
        new = {path: photo for path, photo in photos.items() if path not in known and not is_folder(path)}
        if not new:
            return None
        counts: dict[str, dict[str, int]] = {}
        for path, photo in new.items():
            if photo.label is not None:
                of = counts.setdefault(self._by(photo, words.get(path, {}).get("label")), {})
                of[photo.label] = of.get(photo.label, 0) + 1
        return {by: dict(sorted(of.items())) for by, of in counts.items()}

    def _by(self, photo: Photo, word: str | None) -> str:
        """What gave a photo its label, where its source says this `word` of it."""
        assert self.naming is not None
        if photo.label == word:
            return "source"
        said = self.naming.of(photo)
        return said.by if said.by and said.label == photo.label else "csv"

    def again(self, known: Known, cache: Cache) -> dict[str, dict[str, Any]]:
        """Label and split anew of the photos that are known, by path, but for what a CSV has said.

        Where an earlier release did not mark that, it is what no folder or name of the photo's says.
        """
        assert self.naming is not None
        photos = {path: photo for path, photo in self.photos.items() if path in known and not is_folder(path)}
        found = dict[str, dict[str, Any]]()
        for path, now in cache.by_hand_of(list(photos), known).items():
            said = self.naming.of(photos[path])
            folders = photos[path].path.split("/")
            labels = {*(plain(as_text(folder)) for folder in folders), kaggle(folders[-1]), None}
            splits = {SPLITS.get(folder.lower()) for folder in folders} | {None}
            for name, ours in (("label", labels), ("split", splits)):
                if not now[BY_HAND[name]] and (now[BY_HAND[name]] is False or now[name] in ours):
                    found.setdefault(path, {}).update({name: getattr(said, name), BY_HAND[name]: False})
        return found


def named(
    photos: dict[str, Photo], sources: Sequence[str], known: Known, cache: Cache | None, *, level: int | None
) -> Named:
    """The photos of these sources (absolute paths), named by the folders at a `level`, or by what fits best.

    What fits is what the store's labels show, else the first folders that branch. What is doubtful is warned of.

    Raises:
        PetrieveError: there is no folder at this level.
    """
    asked = {path: photo for path, photo in photos.items() if path not in known.places}
    asked |= known.from_above(photos)
    asked = {path: photo for path, photo in asked.items() if not is_folder(path)}
    if not asked and level is None:
        return Named(photos)
    folders = {(photo.root, photo.uri.rpartition("/")[0]) for path, photo in photos.items() if not is_folder(path)}
    beside = {root for root, _ in folders}.intersection(map(as_text, sources))
    beside = beside if len(beside) > 1 else set()
    tree = tree_of(folders)
    naming = Naming(ways_of(tree, beside), level)
    if level is None:
        fitting = _branching(naming, photos.values(), beside)
        naming, doubts = _as_in_store(fitting, photos, known, cache) if cache else (fitting, [])
        new = [photo for path, photo in asked.items() if path not in known]
        if naming.level == fitting.level:
            doubts += _doubts(naming, folders, tree, beside, new)
        for words in doubts if new else ():
            warnings.warn(words, stacklevel=2)
    elif not labels_at(level, naming.ways.values()):
        raise PetrieveError(f"no photo has a folder at level {level}", "give a smaller `--label-level`, or none")
    return Named({**photos, **{path: _told(photo, naming) for path, photo in asked.items()}}, naming)


def _told(photo: Photo, naming: Naming) -> Photo:
    said = naming.of(photo)
    return told(photo, {"label": said.label, "split": said.split})


def _branching(naming: Naming, photos: Iterable[Photo], beside: Collection[str]) -> Naming:
    """By the first folders that branch; by Kaggle's names, where these tell cats from dogs and no folder does."""
    ways = naming.ways.values()
    siblings = beside and all(naming.ways[root, ""].source for root in beside)
    level = first_level(ways, first=0 if siblings else 1)
    if len(labels_at(level, ways)) > 1 or len({kaggle(os.path.basename(one.uri)) for one in photos} - {None}) < 2:
        return replace(naming, level=level)
    return replace(naming, level=None)


def _as_in_store(naming: Naming, photos: Mapping[str, Photo], known: Known, cache: Cache) -> tuple[Naming, list[str]]:
    """By what agrees best with the labels that photos of these sources have in the store; and that in words."""
    there = [path for path in photos if path in known and not is_folder(path)]
    some = {path: photos[path] for path in there[:: 1 + len(there) // SAMPLE]}
    labels = {path: now["label"] for path, now in cache.told_of(list(some), known).items()}
    same = [photo for path, photo in some.items() if known.root(path) == photo.root]
    ours = {label for photo in same if (label := naming.of(photo).label)}
    level = "" if naming.level is None or not ours else f"`--label-level {naming.level}` gives all {_quoted(ours)}"
    if level and not any(labels.values()):
        return naming, [f"photos that the store had before have no label; {level}"]

    def agreeing(one: Naming) -> int:
        return sum(labels[path] is not None and one.of(photo).label == labels[path] for path, photo in some.items())

    levels = (None, PARENT, *range(1 + max(len(way.below) for way in naming.ways.values())))
    best = max([naming, *(replace(naming, level=one) for one in levels)], key=agreeing)
    if best.level == naming.level or agreeing(best) < AGREE * sum(label is not None for label in labels.values()):
        return naming, []
    by = BY.get(best.level, f"their folder at level {best.level}")
    words = f"new photos are labelled as those that the store has, by {by}"
    return best, [f"{words}; {level}" if level else words]


def _doubts(
    naming: Naming,
    folders: Collection[Folder],
    tree: Mapping[Folder, set[str]],
    beside: Collection[str],
    new: Iterable[Photo],
) -> Iterator[str]:
    """What else folders and names could have meant, in words."""
    if naming.level is not None:
        depths = [len(naming.ways[folder].below) - naming.level for folder in folders]
        if sum(depth > 0 for depth in depths) > sum(depth == 0 for depth in depths):
            labels, inner = (_quoted(labels_at(naming.level + more, naming.ways.values())) for more in (0, 1))
            yield f"folders {inner} inside {labels} are no labels; `--label-level {naming.level + 1}` takes them"
    for splits, others, taken in islice(mixed(tree, beside), 1):
        what, which = "split" if taken else "label", f"{_quoted(splits)} beside {_quoted(others)}"
        yield f"{which} are taken for {what}s" if len(splits) > 1 else f"{which} is taken for a {what}"
    odd = [photo for photo in new if _is_other_kind(naming.of(photo).label, os.path.basename(photo.uri))]
    if odd:
        yield f"{len(odd)} photo(s) have the label of their folder, and another in their name, first {odd[0].uri!r}"


def _is_other_kind(label: str | None, name: str) -> bool:
    kind = kaggle(name)
    return kind is not None and (label or "").lower().rstrip("s") in {"cat", "dog"} - {kind}


def _quoted(names: Iterable[str]) -> str:
    some = sorted(names)
    return ", ".join(map(repr, some[:3])) + (f" and {len(some) - 3} more" if len(some) > 3 else "")


def said_by(found: Iterable[Found], there: Known, cache: Cache | None, csv: Labels | None) -> Words:
    """What sources say of photos that are new, in columns as the store has them, marked as said by hand."""
    new = (one for one in found if not one.photos.keys() <= there.places.keys())
    words = together(words for one in new if (words := one.words()))
    words = words.beside([*(cache.columns() if cache else ()), *(csv.columns.names if csv else ())])
    words = words.into(cache.room_for(words.columns)) if cache is not None else words
    return replace(words, rows={path: by_hand(row) for path, row in words.rows.items() if path not in there})


def with_words(photos: dict[str, Photo], rows: Mapping[str, dict[str, Any]]) -> dict[str, Photo]:
    """The photos by path, with what rows say of some of them."""
    return {**photos, **{path: told(photos[path], row) for path, row in rows.items() if path in photos}}
