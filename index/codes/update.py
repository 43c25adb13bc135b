"""The index in a store's file: built, brought up to date, built anew when it finds too little."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from petrieve.index.codes import encode, exact, tune
from petrieve.index.codes import inverted as lists
from petrieve.index.codes import kept as files
from petrieve.index.codes.arrays import differences
from petrieve.index.codes.encode import Encode
from petrieve.index.codes.exact import TAKEN
from petrieve.index.codes.inverted import Inverted
from petrieve.index.codes.kept import Card, Kept
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError
from petrieve.store.rows import unit_length, vectors
from petrieve.store.slices import slices

if TYPE_CHECKING:
    import numpy as np

RECALL = 0.99
LEAST = 0.5  # that a search may be asked to find: below, it tells nothing
FITTED_TO = 40  # photos for each list: FAISS asks for 39
LONG = ", which takes minutes"
# Of fewer new photos than the first nobody can tell whether they are found; the second is how many are asked with.
ENOUGH, ASKED = 100, 32
BESIDE = 10_000  # photos that are not worth writing a file of hundreds of MB for
SUFFERED = 0.02  # below what it was when the index was built: it is built anew


@dataclass(frozen=True)
class Anew:
    """That an index is to be built: of which kind (None: of the first that is good enough), how good, and why."""

    kind: str | None
    target: float
    why: list[str]


def update(
    cache: Cache,
    *,
    kind: str | None = None,
    recall: float | None = None,
    patient: bool = False,
    tell: Callable[[str], object] | None = None,
    encoded: Encode = encode.encoded,
) -> Card | None:
    """The card of the index kept in the cache's store, which holds what the cache holds afterwards; None if none is.

    One is built where there are too many photos to compare each, a kind is given, or the one there is damaged, of
    other weights or finds too little; else it takes in what is new and lets go of what is gone. A `patient` one waits
    until that is worth writing the file: a search compares up to one photo in a hundred, 10,000 at most, beside the
    index in less than a millisecond. `tell` is told what is built; `encoded` makes the codes of a whole index. Whoever
    is killed here, or builds at the same time, leaves a whole index, this one or the other's.

    Raises:
        PetrieveError: there is no such kind, or there are too few photos for it.
    """
    if recall is not None and not LEAST <= recall <= 1:
        raise PetrieveError(
            f"a search cannot find {recall:g} of the ten nearest", "give `recall=…` a share such as 0.99"
        )
    if kind is not None:
        lists.untrained(kind, cache.dimension)
    if patient and (there := files.glance(cache)) and _is_little(*there, *cache.marks()):
        return files.card(cache)
    old = None
    with suppress(PetrieveError):
        old = files.load(cache)
    wanted = _decided(cache, old, kind, recall)
    if wanted is None:
        cache.folder.index.unlink(missing_ok=True)
        return None
    if isinstance(wanted, Anew):
        if tell:
            for line in wanted.why:
                tell(line)
        wanted = build_anew(cache, kind=wanted.kind, target=wanted.target, encoded=encoded)
    if wanted is not old:
        files.save(wanted, cache)
    return wanted.card


def _decided(cache: Cache, old: Kept | None, kind: str | None, recall: float | None) -> Kept | Anew | None:
    """Which index the store is to have: its own, brought up to date; one built anew; or none."""
    if old is None and kind is None and cache.contents <= exact.EXACT:
        return None
    why = [f"an index of {cache.contents:,} photos is built{LONG * (cache.contents > exact.EXACT)}"]
    if old and kind in (None, old.card.kind) and recall in (None, old.card.target):
        now = _grown(old, cache)
        if not _has_suffered(now.card):
            return now
        why.insert(0, f"the index finds {now.card.recall:.1%} of the ten nearest: it is built anew")
    own = kind or (old.card.kind if old and not old.card.chosen else None)
    return Anew(own, recall or (old.card.target if old else RECALL), why)


def build_anew(
    cache: Cache, *, kind: str | None = None, target: float = RECALL, encoded: Encode = encode.encoded
) -> Kept:
    """An index of all photos in the cache, of a kind or of the first that reaches the recall that is wanted.

    It is fitted once, to photos that are drawn; `encoded` makes the codes of all.
    """
    import numpy as np

    started, drawn = time.perf_counter(), np.random.default_rng(0)
    ids, marks = cache.marks()
    if not len(ids):
        raise PetrieveError(f"there are no embeddings in {cache.store.path}", "run `petrieve embed FOLDER` first")
    for one in [kind] if kind is not None else tune.kinds_for(len(ids)):
        fitted_to = max(FITTED_TO * lists.lists_of(one), lists.LEARNED)
        codes = lists.train(one, _unit(cache, _drawn(ids, fitted_to, drawn)))
        asked = _drawn(ids, min(tune.QUERIES, len(ids)), drawn)
        trial = tune.Trial(asked, _unit(cache, asked))
        job = encode.Job(one, lists.numbers(codes), ids, trial.unit, tune.NEAREST)
        for part in encoded(job, slices(cache, encode.ROWS)):
            lists.take_in(codes, part.sizes, part.ids, part.codes)
            trial.add(part.similarities, part.nearest)
        made = Inverted(codes, ids, marks)
        effort = tune.tuned(made, trial, target)
        if effort.recall >= target - SUFFERED / 2:
            break
    return Kept(
        made,
        Card(
            kind=one,
            chosen=kind is None,
            **asdict(effort),
            recall_built=effort.recall,
            target=target,
            photos=len(ids),
            trained_on=len(ids),
            seconds=round(time.perf_counter() - started, 1),
            memory_mb=made.memory_mb,
            fingerprint=cache.fingerprint,
        ),
    )


def _is_little(coded: "np.ndarray", coded_marks: "np.ndarray", ids: "np.ndarray", marks: "np.ndarray") -> bool:
    fresh, stale = differences(coded, coded_marks, ids, marks)
    return len(fresh) + len(stale) <= min(BESIDE, len(ids) // 100)


def _grown(old: Kept, cache: Cache) -> Kept:
    """The index with what is new in the cache, and without what is gone; the old one itself if nothing is."""
    import faiss
    import numpy as np

    ids, marks = cache.marks()
    fresh, stale = differences(old.inverted.ids, old.inverted.marks, ids, marks)
    if not len(fresh) and not len(stale):
        return old
    codes = old.inverted.faiss
    if len(stale):
        codes.remove_ids(faiss.IDSelectorBatch(stale))
    for start in range(0, len(fresh), TAKEN):
        some = fresh[start : start + TAKEN]
        codes.add_with_ids(_unit(cache, some), some)
    now = Inverted(codes, ids, marks)
    recall = old.card.recall
    if len(fresh) >= ENOUGH:
        few = _drawn(fresh, ASKED, np.random.default_rng(0))
        share = len(fresh) / len(ids)
        recall = round((1 - share) * recall + share * _recall_of(Kept(now, old.card), cache, few), 4)
    return Kept(now, replace(old.card, photos=len(ids), recall=recall, memory_mb=now.memory_mb))


def _recall_of(kept: Kept, cache: Cache, asked: "np.ndarray") -> float:
    """The share of these photos' nearest that a search finds, of those that one eight times as thorough finds."""
    import numpy as np

    card = replace(kept.card, lists=8 * kept.card.lists, shortlist=2 * kept.card.shortlist)
    queries = _unit(cache, asked)
    _, found = kept.nearest(cache, queries, files.AT)
    _, there = Kept(kept.inverted, card).nearest(cache, queries, files.AT)
    return float(np.mean([np.isin(one, other).mean() for one, other in zip(there, found, strict=True)]))


def _has_suffered(card: Card) -> bool:
    return card.recall < card.recall_built - SUFFERED or card.photos > 2 * card.trained_on


def _drawn(ids: "np.ndarray", count: int, drawn: "np.random.Generator") -> "np.ndarray":
    """`count` of these ids, or all, in a random order."""
    return drawn.choice(ids, min(count, len(ids)), replace=False)


def _unit(cache: Cache, ids: "np.ndarray") -> "np.ndarray":
    """The unit-length embeddings (n, D) of these rows, in their order."""
    import numpy as np

    unit = np.empty((len(ids), cache.dimension), np.float32)
    for start in range(0, len(ids), TAKEN):
        rows = cache.take(ids[start : start + TAKEN], ["embedding"])
        unit[start : start + TAKEN] = unit_length(vectors(rows))
    return unit
