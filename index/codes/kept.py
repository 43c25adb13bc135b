"""The index on disk: numbers in safetensors with a card, written whole, and trusted for nothing but speed.

What it says of a photo counts only while the cache holds this very content under this very row id; what it leads to is
compared anew with the cache's own embeddings. FAISS's own files are not read: they hold sizes that it believes.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from petrieve.index.codes.arrays import FileKind, card_of, check_weights, digest_of, read_arrays, reading
from petrieve.index.codes.inverted import Inverted, filled, ivf, numbers
from petrieve.store.cache import Cache
from petrieve.store.chosen import Bits
from petrieve.store.errors import PetrieveError
from petrieve.store.files import remove_abandoned, write_file
from petrieve.store.rows import unit_length, vectors

if TYPE_CHECKING:
    import numpy as np

AT = 10  # recall is that of the ten nearest
TYPES = {"uint64": "U64", "int64": "I64", "float32": "F32", "uint8": "U8"}  # as safetensors files name them
INDEX = FileKind("index", "built", "run `petrieve build-index`")
# What a search among chosen photos costs, in nanoseconds of a processor: an embedding that is read from the cache, a
# code that is passed over. Their ratio alone matters: of a million photos, 50 are few. See benchmarks/RESULTS.md.
EMBEDDING, LOOKED_AT = 200_000, 10


@dataclass(frozen=True)
class Card:
    """What an index is and what it was measured to do."""

    kind: str  # FAISS's factory string
    chosen: bool  # by Petrieve, not by its user
    lists: int  # that a search looks into: FAISS's nprobe
    shortlist: int  # photos that are compared exactly
    target: float
    recall: float  # at 10, on photos that the lists and the shortlist were not chosen by
    recall_built: float  # the same, when it was built; photos that came later are asked with 32 of theirs
    photos: int
    trained_on: int  # photos that there were when it was built
    seconds: float  # that building it took
    memory_mb: float  # of its codes, ids and lists
    fingerprint: str


@dataclass(frozen=True, eq=False)
class Kept:
    """An index and its card."""

    inverted: Inverted
    card: Card

    def nearest(
        self,
        cache: Cache,
        queries: "np.ndarray",
        wanted: int,
        *,
        stale: "np.ndarray | None" = None,
        among: Bits | None = None,
    ) -> "tuple[np.ndarray, np.ndarray]":
        """Cosines and ids (Q, `wanted`), best first, of the photos most like unit-length queries (Q, D).

        The shortlist's embeddings are read from the cache. Ids in `stale` are left out, and those that are not `among`
        these; -1 stands where none was found.
        """
        import numpy as np

        more = max(1.0, wanted / AT)
        shortlist, lists = round(self.card.shortlist * more), round(self.card.lists * more**0.5)
        listed = self.inverted.shortlist(queries, wanted=shortlist, lists=lists, stale=stale, among=among)
        found = np.unique(listed[listed >= 0])
        unit = unit_length(vectors(cache.take(found, ["embedding"])))
        places = np.searchsorted(found, listed)
        similarities = np.full(listed.shape, -np.inf, np.float32)
        for row, (query, some) in enumerate(zip(queries, places, strict=True)):
            there = listed[row] >= 0
            similarities[row, there] = unit[some[there]] @ query
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :wanted]
        return np.take_along_axis(similarities, order, 1), np.take_along_axis(listed, order, 1)

    def is_little(self, among: Bits) -> bool:
        """Whether to read the embeddings of all of these is quicker than to look for them among the codes."""
        return among.count * EMBEDDING < len(self.inverted.ids) * LOOKED_AT


def save(kept: Kept, cache: Cache) -> None:
    """Keep an index in the cache's store, and remove what builders left there that were killed."""
    import numpy as np

    arrays = numbers(kept.inverted.faiss)
    arrays["marks"] = kept.inverted.marks[np.searchsorted(kept.inverted.ids, arrays["ids"])]
    card = json.dumps(asdict(kept.card))
    remove_abandoned(cache.store.path)
    write_file(cache.folder.index, *_parts(arrays, {"card": card, "digest": digest_of(card, arrays)}))


def _parts(arrays: "dict[str, np.ndarray]", metadata: dict[str, str]) -> list[bytes | memoryview]:
    """A safetensors file of these arrays, in parts: as one, gigabytes would be in memory twice more.

    The library's own way of writing a file leaves it readable for nobody else, and its name behind where it is killed.
    """
    arrays = dict(sorted(arrays.items(), key=lambda one: -one[1].itemsize))  # so each is aligned
    ends = list(accumulate((array.nbytes for array in arrays.values()), initial=0))
    tensors = {
        name: {"dtype": TYPES[array.dtype.name], "shape": array.shape, "data_offsets": ends[n : n + 2]}
        for n, (name, array) in enumerate(arrays.items())
    }
    header = json.dumps({"__metadata__": metadata, **tensors}).encode()
    header += b" " * (-len(header) % 8)
    return [len(header).to_bytes(8, "little"), header, *(array.data for array in arrays.values())]


def load(cache: Cache) -> Kept | None:
    """The index in the cache's store; None where there is none.

    Raises:
        Damaged: it cannot be read.
        PetrieveError: it was built from embeddings of another trunk, or nobody here may read it.
    """
    import numpy as np

    kept = None
    with suppress(FileNotFoundError), reading(cache.folder.index, INDEX) as here:
        card, arrays = read_arrays(here, Card)
        _check_effort(card)
        order = np.argsort(arrays["ids"])
        ids, marks = arrays["ids"][order], arrays["marks"][order]
        if marks.dtype != np.uint64 or len(ids) != card.photos or (ids[1:] == ids[:-1]).any():
            raise ValueError("an id for each photo is wanted")
        codes = filled(card.kind, arrays, cache.dimension)
        ivf(codes).parallel_mode = 1  # the lists of one query are shared out among the cores
        kept = Kept(Inverted(codes, ids, marks), card)
    if kept is not None:
        check_weights(kept.card.fingerprint, cache, INDEX)
    return kept


def card(cache: Cache) -> Card | None:
    """The card of the index in the cache's store, as it says; None where there is none.

    Raises:
        Damaged: it cannot be read.
        PetrieveError: nobody here may read it.
    """
    from safetensors import safe_open

    with suppress(FileNotFoundError), reading(cache.folder.index, INDEX) as here, safe_open(here, "numpy") as opened:
        return _card(opened.metadata() or {})
    return None


def glance(cache: Cache) -> "tuple[np.ndarray, np.ndarray] | None":
    """Ids and marks of the photos in the index in the cache's store, unchecked; None where it is not of this cache."""
    from safetensors import safe_open

    with suppress(FileNotFoundError, PetrieveError), reading(cache.folder.index, INDEX) as here:
        with safe_open(here, "numpy") as opened:
            card, ids, marks = _card(opened.metadata() or {}), opened.get_tensor("ids"), opened.get_tensor("marks")
        if card.fingerprint == cache.fingerprint and ids.shape == marks.shape == (card.photos,):
            return ids, marks
    return None


def _card(metadata: dict[str, Any]) -> Card:
    card = card_of(metadata, Card)
    _check_effort(card)
    return card


def _check_effort(card: Card) -> None:
    if not 1 <= card.lists <= 1 << 24 or not 1 <= card.shortlist <= 1 << 16:
        raise ValueError("a search cannot look at that much")
