"""The end of a run: label changes of photos that it did not embed, which of them are gone or back, and tidying."""

from typing import TYPE_CHECKING, Any

from petrieve.extractor.labelling import Annotator, relabelled
from petrieve.extractor.manifest import Slice
from petrieve.extractor.plan import ABOVE, BACK, CLOSED, KNOWN, UNREADABLE, Plan
from petrieve.extractor.sources.annotations.names import Naming
from petrieve.store.cache import Cache
from petrieve.store.columns import plain
from petrieve.store.inherited import hand_down
from petrieve.store.known import Known
from petrieve.store.rows import BY_HAND, said_of

if TYPE_CHECKING:
    import numpy as np

LABELLED = "label IS NOT NULL"


def settle(cache: Cache, made: Plan, known: Known, annotate: Annotator, *, naming: Naming | None, prune: bool) -> None:
    """Write what has changed of photos that the run did not embed; with a `naming`, known ones are labelled anew."""
    for some, states in made.slices(KNOWN if naming else ABOVE | BACK):
        cache.change(_changes(some, states, cache, known, annotate, naming), known)
    cache.change({path: row for path, row in annotate.csv.items() if path in known}, known)
    cache.drop_rows(made.reopened, known)
    went = [path for path in made.missing if not known.is_gone(path)]
    digests = {known.digest(path) for path in went}
    words = {digest: words for digest, words in made.lost.by_content.items() if digest in digests}
    hand_down(cache, words, frozenset(made.missing), known)
    if prune:
        cache.forget(made.missing, known)
    else:
        cache.mark_gone(went, known)
    cache.tidy()
    cache.change_rows(_old_labels(cache))


def _changes(
    some: Slice, states: "np.ndarray", cache: Cache, known: Known, annotate: Annotator, naming: Naming | None
) -> dict[str, dict[str, Any]]:
    """Label changes to write into the rows of these known photos, and that photos are back, by path."""
    photos = {photo.path: (photo, state) for photo, state in zip(some.photos(), states.tolist(), strict=True)}
    asked = [path for path, (_, state) in photos.items() if state & ABOVE or (naming and not state & CLOSED)]
    changes = dict[str, dict[str, Any]]()
    for path, now in cache.by_hand_of(asked, known).items():
        photo, state = photos[path]
        if state & ABOVE:  # labels and splits that a folder higher up gives to photos that had none
            words = said_of(annotate(photo, state))
            empty = [name for name, mark in BY_HAND.items() if now[name] is None and not now[mark]]
            changes[path] = {name: words[name] for name in empty}
        if naming and not state & CLOSED:
            changes.setdefault(path, {}).update(relabelled(photo, now, naming))
    for path, (_, state) in photos.items():
        if state & BACK:  # it is there, and can be reached unless it is said to be unreadable
            back = {"gone": None} if state & UNREADABLE else {"gone": None, "reason": None}
            changes.setdefault(path, {}).update(back)
    return changes


def _old_labels(cache: Cache) -> dict[int, dict[str, Any]]:
    """Label changes for labels that an earlier release kept as they were written, by row id."""
    labels = {label for batch in cache.photos(["label"], LABELLED) for label in batch["label"].unique().to_pylist()}
    if all(label == plain(label) for label in labels):  # true in all runs but one: rows are not read for it
        return {}
    return {
        row["_rowid"]: {"label": plain(row["label"]) or None}
        for batch in cache.photos(["label"], LABELLED)
        for row in batch.to_pylist()
        if row["label"] != plain(row["label"])
    }
