"""How a run's photos are labelled: by names, or by the folders at one level; and warnings where that is doubtful."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from petrieve.extractor.find import Found
from petrieve.extractor.plan import ABOVE, CLOSED, EVERY, NEW, Plan, Rows
from petrieve.extractor.sources.annotations.annotations import Annotations, together
from petrieve.extractor.sources.annotations.labels import Labels
from petrieve.extractor.sources.annotations.names import (
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
from petrieve.store.cache import Cache
from petrieve.store.columns import plain
from petrieve.store.errors import PetrieveError, warn
from petrieve.store.known import Known
from petrieve.store.photo import Photo, as_text
from petrieve.store.rows import BY_HAND, annotated, by_hand

SAMPLE = 1000  # photos of the store, whose labels show how it was labelled
AGREE = 0.1  # the least share of labels that agree; a CSV's label may be a folder's name by chance
BY = {None: "their names", PARENT: "the folder that they lie in", 0: "their source"}


@dataclass(frozen=True)
class Annotator:
    """Annotates photos: by folders and names those that are new or were found from another root; then all by sources.

    `annotations` are those of sources, `csv` those of the user's CSV, both by path; the later goes before the earlier.
    """

    naming: Naming | None = None  # None where there was nothing to ask
    annotations: Rows = field(default_factory=dict)
    csv: Rows = field(default_factory=dict)

    def __call__(self, photo: Photo, state: int) -> Photo:
        """A photo in this state of a plan, annotated."""
        if self.naming and state & (NEW | ABOVE) and not state & CLOSED:
            from_path = self.naming.of(photo)
            photo = annotated(photo, {"label": from_path.label, "split": from_path.split})
        for rows in (self.annotations, self.csv):
            if rows and (row := rows.get(photo.path)):
                photo = annotated(photo, row)
        return photo

    def counts(self, made: Plan) -> dict[str, dict[str, int]] | None:
        """How many new photos have which label, by what gave it; None if none is new.

        That is `folders`, `names`, `source` (its annotations) or `csv`.
        """
        counts: dict[str, Counter[str]] = {}
        new = 0
        for photo, state in made.photos(NEW) if self.naming else ():
            new += not state & CLOSED
            label = self(photo, state).label
            if label is not None and not state & CLOSED:
                counts.setdefault(self._by(photo, label), Counter())[label] += 1
        return {by: dict(sorted(of.items())) for by, of in counts.items()} if new else None

    def _by(self, photo: Photo, label: str) -> str:
        """What gave a photo its label."""
        assert self.naming is not None
        if self.annotations.get(photo.path, {}).get("label") == label:
            return "source"
        said = self.naming.of(photo)
        return said.by if said.by and said.label == label else "csv"


def relabelled(photo: Photo, now: Mapping[str, Any], naming: Naming) -> dict[str, Any]:
    """Label and split of a known photo by a new naming; what a CSV has said stays.

    `now` is its row. Where an earlier release did not mark what a CSV has said, that is a label that no folder or name
    of the photo gives.
    """
    said, folders = naming.of(photo), photo.path.split("/")
    labels = {*(plain(as_text(folder)) for folder in folders), kaggle(folders[-1]), None}
    splits = {SPLITS.get(folder.lower()) for folder in folders} | {None}
    found = dict[str, Any]()
    for name, ours in (("label", labels), ("split", splits)):
        if not now[BY_HAND[name]] and (now[BY_HAND[name]] is False or now[name] in ours):
            found |= {name: getattr(said, name), BY_HAND[name]: False}
    return found


def naming_of(
    made: Plan, sources: Sequence[str], known: Known, cache: Cache | None, *, level: int | None
) -> Naming | None:
    """How photos of these sources (absolute paths) are labelled: by the folders at a `level`, or by what fits best.

    What fits best is what agrees with the store's labels, else the first folders that branch; doubts are warned of.
    None if no photo needs a label.

    Raises:
        PetrieveError: there is no folder at this level.
    """
    if level is None and not made.has(NEW | ABOVE):
        return None
    folders = {folder for some, states in made.slices() for folder in some.only(states & CLOSED == 0).folders()}
    beside = {root for root, _ in folders}.intersection(map(as_text, sources))
    beside = beside if len(beside) > 1 else set()
    tree = tree_of(folders)
    naming = Naming(ways_of(tree, beside), level)
    if level is None:
        fitting = _branching(naming, made, beside)
        naming, doubts = _as_in_store(fitting, made, known, cache) if cache else (fitting, [])
        new = made.has(NEW)
        if new and naming.level == fitting.level:
            doubts += _doubts(naming, folders, tree, beside, made)
        for doubt in doubts if new else ():
            warn(doubt)
    elif not labels_at(level, naming.ways.values()):
        raise PetrieveError(f"no photo has a folder at level {level}", "give a smaller `label_level=…`, or none")
    return naming


def _branching(naming: Naming, made: Plan, beside: Collection[str]) -> Naming:
    """By the first folders that branch; by Kaggle's names, where these tell cats from dogs and no folder does."""
    ways = naming.ways.values()
    siblings = beside and all(naming.ways[root, ""].source for root in beside)
    level = first_level(ways, first=0 if siblings else 1)
    if len(labels_at(level, ways)) > 1 or not _both_kinds(made):
        return replace(naming, level=level)
    return replace(naming, level=None)


def _kaggles(made: Plan, wanted: int) -> Iterator[Photo]:
    """Photos with one of these bits that are named like Kaggle's."""
    import pyarrow.compute as pc

    for some, _ in made.slices(wanted):
        chosen = pc.match_substring_regex(some.rows["uri"], "(?i)(^|/)(cat|dog)[.]").to_numpy(zero_copy_only=False)
        yield from (photo for photo in some.only(chosen).photos() if kaggle(os.path.basename(photo.uri)))


def _both_kinds(made: Plan) -> bool:
    """Whether names tell cats from dogs."""
    kinds = set[str | None]()
    for photo in _kaggles(made, EVERY):
        kinds.add(kaggle(os.path.basename(photo.uri)))
        if len(kinds) > 1:
            return True
    return False


def _as_in_store(naming: Naming, made: Plan, known: Known, cache: Cache) -> tuple[Naming, list[str]]:
    """The naming that agrees best with the store's labels of these sources' photos; and messages about it."""
    some = {photo.path: photo for photo in made.sample(SAMPLE)}
    labels = {path: now["label"] for path, now in cache.told_of(list(some), known).items()}
    same = [photo for path, photo in some.items() if known.root(path) == photo.root]
    ours = {label for photo in same if (label := naming.of(photo).label)}
    level = "" if naming.level is None or not ours else f"`label_level={naming.level}` gives all {_quoted(ours)}"
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
    made: Plan,
) -> Iterator[str]:
    """Warnings: what else folders and names could mean."""
    if naming.level is not None:
        depths = [len(naming.ways[folder].below) - naming.level for folder in folders]
        if sum(depth > 0 for depth in depths) > sum(depth == 0 for depth in depths):
            labels, inner = (_quoted(labels_at(naming.level + more, naming.ways.values())) for more in (0, 1))
            yield f"folders {inner} inside {labels} are no labels; `label_level={naming.level + 1}` takes them"
    for splits, others, taken in islice(mixed(tree, beside), 1):
        what, which = "split" if taken else "label", f"{_quoted(splits)} beside {_quoted(others)}"
        yield f"{which} are taken for {what}s" if len(splits) > 1 else f"{which} is taken for a {what}"
    odd = [
        photo for photo in _kaggles(made, NEW) if _is_other_kind(naming.of(photo).label, os.path.basename(photo.uri))
    ]
    if odd:
        yield f"{len(odd)} photo(s) have the label of their folder, and another in their name, first {odd[0].uri!r}"


def _is_other_kind(label: str | None, name: str) -> bool:
    kind = kaggle(name)
    return kind is not None and (label or "").lower().rstrip("s") in {"cat", "dog"} - {kind}


def _quoted(names: Iterable[str]) -> str:
    some = sorted(names)
    return ", ".join(map(repr, some[:3])) + (f" and {len(some) - 3} more" if len(some) > 3 else "")


def source_annotations(
    found: Iterable[Found], made: Plan, there: Known, cache: Cache | None, csv: Labels | None
) -> Annotations:
    """The sources' annotations of new photos, in columns as the store has them, marked as made by hand."""
    new = (one for one, count in zip(found, made.counts[:, 3].tolist(), strict=True) if count)
    annotations = together(annotations for one in new if (annotations := one.annotations()))
    annotations = annotations.beside([*(cache.columns() if cache else ()), *(csv.columns.names if csv else ())])
    annotations = annotations.into(cache.room_for(annotations.columns)) if cache is not None else annotations
    return replace(
        annotations, rows={path: by_hand(row) for path, row in annotations.rows.items() if path not in there}
    )
