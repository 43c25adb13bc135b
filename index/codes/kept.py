"""The index on disk: numbers in safetensors with a card, written whole, and trusted for nothing but speed.

What it says of a photo counts only while the cache holds this very content under this very row id; what it leads to is
compared anew with the cache's own embeddings. FAISS's own files are not read: they hold sizes that it believes.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from petrieve.index.codes.inverted import Inverted, filled, ivf, numbers
from petrieve.store.cache import Cache
from petrieve.store.chosen import Bits
from petrieve.store.errors import PetrieveError, first_line
from petrieve.store.files import remove_abandoned, write_file
from petrieve.store.near import local
from petrieve.store.rows import unit_length, vectors

if TYPE_CHECKING:
    import numpy as np

AT = 10  # recall is that of so many neighbours
TYPES = {"uint64": "U64", "int64": "I64", "float32": "F32", "uint8": "U8"}  # as safetensors files name them
REMEDY = "run `petrieve build-index`"
# What a search among chosen photos costs, in nanoseconds of a processor: an embedding that is read from the cache, a
# code that is passed over. Their ratio alone matters: of a million photos, 50 are few. See benchmarks/RESULTS.md.
EMBEDDING, LOOKED_AT = 200_000, 10


class Damaged(PetrieveError):
    """The index cannot be read, and building it anew mends that."""


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

    held = numbers(kept.inverted.faiss)
    held["marks"] = kept.inverted.marks[np.searchsorted(kept.inverted.ids, held["ids"])]
    card = json.dumps(asdict(kept.card))
    remove_abandoned(cache.store.path)
    write_file(cache.folder.index, *_parts(held, {"card": card, "digest": digest_of(card, held)}))


def _parts(held: "dict[str, np.ndarray]", metadata: dict[str, str]) -> list[bytes | memoryview]:
    """A safetensors file of these arrays, in parts: as one, gigabytes would be in memory twice more.

    The library's own way of writing a file leaves it readable for nobody else, and its name behind where it is killed.
    """
    held = dict(sorted(held.items(), key=lambda one: -one[1].itemsize))  # so each is aligned
    ends = list(accumulate((array.nbytes for array in held.values()), initial=0))
    tensors = {
        name: {"dtype": TYPES[array.dtype.name], "shape": array.shape, "data_offsets": ends[n : n + 2]}
        for n, (name, array) in enumerate(held.items())
    }
    header = json.dumps({"__metadata__": metadata, **tensors}).encode()
    header += b" " * (-len(header) % 8)
    return [len(header).to_bytes(8, "little"), header, *(array.data for array in held.values())]


def load(cache: Cache) -> Kept | None:
    """The index in the cache's store; None where there is none.

    Raises:
        Damaged: it cannot be read.
        PetrieveError: it was built from embeddings of another trunk, or nobody here may read it.
    """
    import numpy as np
    from safetensors import safe_open

    kept = None
    with suppress(FileNotFoundError), _whole(cache):
        with safe_open(str(local(cache.folder.index)), "numpy") as opened:
            metadata = opened.metadata() or {}
            held = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        if metadata["digest"] != digest_of(metadata["card"], held):
            raise ValueError("its digest is another's")
        card = _card(metadata)
        order = np.argsort(held["ids"])
        ids, marks = held["ids"][order], held["marks"][order]
        if marks.dtype != np.uint64 or len(ids) != card.photos or (ids[1:] == ids[:-1]).any():
            raise ValueError("an id for each photo is wanted")
        codes = filled(card.kind, held, cache.dimension)
        ivf(codes).parallel_mode = 1  # the lists of one query are shared out among the cores
        kept = Kept(Inverted(codes, ids, marks), card)
    if kept is not None and kept.card.fingerprint != cache.fingerprint:
        raise PetrieveError(
            f"the index was built from embeddings of other weights ({kept.card.fingerprint[:8]}) "
            f"than the store's ({cache.fingerprint[:8]})",
            REMEDY,
        )
    return kept


@contextmanager
def _whole(cache: Cache) -> Iterator[None]:
    """Trouble with reading the index in the cache's store, said as ours; that there is none stays FileNotFoundError."""
    from safetensors import SafetensorError

    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        what = f"cannot read the index {cache.folder.index}: {first_line(error)}"
        raise PetrieveError(what, "make it readable, or remove it") from error
    except (SafetensorError, KeyError, ValueError, TypeError, IndexError, PetrieveError) as error:
        raise Damaged(f"the index {cache.folder.index} is damaged, or of another release", REMEDY) from error


def card(cache: Cache) -> Card | None:
    """The card of the index in the cache's store, as it says; None where there is none.

    Raises:
        Damaged: it cannot be read.
        PetrieveError: nobody here may read it.
    """
    from safetensors import safe_open

    with suppress(FileNotFoundError), _whole(cache), safe_open(str(local(cache.folder.index)), "numpy") as opened:
        return _card(opened.metadata() or {})
    return None


def glance(cache: Cache) -> "tuple[np.ndarray, np.ndarray] | None":
    """Ids and marks of the photos in the index in the cache's store, unchecked; None where it is none of this cache."""
    from safetensors import safe_open

    with suppress(FileNotFoundError, PetrieveError), _whole(cache):
        with safe_open(str(local(cache.folder.index)), "numpy") as opened:
            found = _card(opened.metadata() or {})
            ids, marks = opened.get_tensor("ids"), opened.get_tensor("marks")
        if found.fingerprint == cache.fingerprint and ids.shape == marks.shape == (found.photos,):
            return ids, marks
    return None


def _card(metadata: dict[str, Any]) -> Card:
    made = Card(**json.loads(metadata["card"]))
    for name, type_ in Card.__annotations__.items():
        if not isinstance(getattr(made, name), type_):
            raise TypeError(f"{name} is no {type_}")
    if not 1 <= made.lists <= 1 << 24 or not 1 <= made.shortlist <= 1 << 16:
        raise ValueError("no search looks at so much")
    return made


def digest_of(card: str, held: "dict[str, np.ndarray]") -> str:
    """Changes with every bit of a card and its numbers: it tells damage, not forgery."""
    digest = hashlib.blake2b(card.encode(), digest_size=16)
    for name in sorted(held):
        digest.update(f"{name} {held[name].dtype} {held[name].shape}\n".encode())
        digest.update(held[name].data)
    return digest.hexdigest()


def differences(
    coded: "np.ndarray", coded_marks: "np.ndarray", ids: "np.ndarray", marks: "np.ndarray"
) -> "tuple[np.ndarray, np.ndarray]":
    """Ids in the cache that have no code, and coded ids that the cache lacks: or holds with other content."""
    import numpy as np

    if not len(ids):
        return ids, coded
    places = np.minimum(np.searchsorted(ids, coded), len(ids) - 1)
    same = (ids[places] == coded) & (marks[places] == coded_marks)
    lacking = np.ones(len(ids), bool)
    lacking[places[same]] = False
    return ids[lacking], coded[~same]
