"""A cache → an index of the kind that its size asks for, which follows the cache.

Few photos are held in memory and compared one by one: nothing is kept of that. Of many, codes are kept in a file; a
shortlist by these is compared with the cache's own embeddings. What the file lacks is compared one by one beside it.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from petrieve.index.codes import exact
from petrieve.index.codes import kept as files
from petrieve.index.codes.arrays import Damaged, differences
from petrieve.index.codes.exact import Exact, held
from petrieve.index.codes.kept import Kept
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError, warn

if TYPE_CHECKING:
    import numpy as np

FLAT = "flat"  # every embedding is compared: exact


@dataclass(frozen=True, eq=False)
class Index:
    """What answers for a cache as it was when opened: codes with a card, and what they lack, in memory.

    `held` is None where there are many photos and no codes: then the cache is read for each search.
    """

    cache: Cache
    held: Exact | None
    kept: Kept | None
    stale: "np.ndarray"  # int64: ids in the codes whose photos are gone or have changed
    questions: Iterator[int] = field(default_factory=count)  # counts what this index has been asked


def build(cache: Cache) -> Index:
    """The index of a cache as it is now: the one kept in its store, brought up to date, or all embeddings in memory.

    A damaged one is passed over, with a warning: only `update` builds one, which may take minutes.

    Raises:
        PetrieveError: the index in the store was built from embeddings of another trunk.
    """
    cache = Cache.open(cache.store.path, cache.made.name)  # the index's own, which no other's writes move on
    try:
        kept = files.load(cache)
    except Damaged as error:
        warn(f"{error.what}: each photo is compared instead; {error.remedy} mends it")
        kept = None
    return _assembled(cache, kept)


def follow(index: Index) -> Index:
    """The index of the cache as it is now: the same one where nothing was written since it was opened.

    Codes that were kept meanwhile take the place of its own.

    Raises:
        PetrieveError: the store is gone, or now holds embeddings of another trunk.
    """
    cache = Cache.open(index.cache.store.path, index.cache.made.name)
    kept = _newest(cache, index.kept)
    if cache.version == index.cache.version and kept is index.kept:
        return index
    cache.check(index.cache.fingerprint, index.cache.weights)
    return _assembled(cache, kept)


def describe(cache: Cache) -> dict[str, Any]:
    """Kind and size of the index that `build` gives, whether it `fits`, and the card of one that is kept."""
    try:
        card = files.card(cache)
    except Damaged as error:
        return {"kind": None, "photos": 0, "fits": False, "why": str(error)}
    if card is None:
        return {"kind": FLAT, "photos": cache.contents, "fits": True}
    fits = card.fingerprint == cache.fingerprint
    told = {name: value for name, value in asdict(card).items() if name not in ("kind", "photos", "fingerprint")}
    return {"kind": card.kind, "photos": card.photos, "fits": fits, **told}


def check(cache: Cache) -> list[dict[str, str]]:
    """What is wrong with the index in the cache's store (`what`), and what mends it (`remedy`)."""
    try:
        files.load(cache)
    except PetrieveError as error:
        return [{"what": error.what, "remedy": error.remedy}]
    return []


def _newest(cache: Cache, kept: Kept | None) -> Kept | None:
    """The index in the cache's store, if it is another than this one and can be read; else this one."""
    with suppress(PetrieveError):
        card = files.card(cache)
        if card is not None and (kept is None or card != kept.card):
            return files.load(cache) or kept
    return kept


def _assembled(cache: Cache, kept: Kept | None) -> Index:
    import numpy as np

    none = np.zeros(0, np.int64)
    if kept is None:
        return Index(
            cache, held(cache.vectors(), cache.dimension) if cache.contents <= exact.EXACT else None, None, none
        )
    fresh, stale = differences(kept.inverted.ids, kept.inverted.marks, *cache.marks())
    return Index(cache, held(cache.vectors_of(fresh), cache.dimension), kept, stale)
