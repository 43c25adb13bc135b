"""Embeddings that are compared with a query one by one: exact, in memory or streamed from the cache."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from petrieve.store.cache import Cache
from petrieve.store.chosen import Bits
from petrieve.store.rows import digests, lengths, row_ids, unit_length

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

TAKEN = 8192  # rows at a time: 32 MB of 1,024 numbers in float32
# Up to here an exact search of one photo takes 8 ms at most, and reading the embeddings half a second.
EXACT = 100_000


@dataclass(frozen=True, eq=False)
class Exact:
    """Embeddings of N contents in float16, as precise as the cache's own, by their rows' ids.

    Of 2,459 real ones, cosines are off by 3e-5 at most and 3e-6 as a rule. In float32 a scan takes seven times as long.
    """

    faiss: Any  # IndexScalarQuantizer, inner products
    lengths: "np.ndarray"  # float32 (N,): rounding makes them other than 1
    ids: "np.ndarray"  # int64 (N,)
    order: "np.ndarray"  # int64 (N,): the places of the ids, ascending
    digests: "np.ndarray"  # (N,) of 16 bytes

    def nearest(self, queries: "np.ndarray", wanted: int, among: Bits | None = None) -> "tuple[np.ndarray, np.ndarray]":
        """Cosines and ids, (Q, at most `wanted`) each, of the contents most like unit-length queries (Q, D).

        Of all, or of those `among` which they are to be. Ids are -1 where there are no more.
        """
        import faiss
        import numpy as np

        only, count = None, len(self.ids)
        if among is not None:
            chosen = among.hold(self.ids)
            count = int(np.count_nonzero(chosen))
            options: dict[str, Any] = {"sel": selector(np.packbits(chosen, bitorder="little"))}
            only = faiss.SearchParameters(**options)
        wanted = min(wanted, count)
        if not wanted:
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        products, places = self.faiss.search(queries, wanted, params=only)
        there = places >= 0  # of an embedding that holds no numbers faiss finds none
        similarities = np.where(there, products / self.lengths[places], -np.inf)
        order = np.argsort(-similarities, axis=1, kind="stable")
        ids = np.where(there, self.ids[places], -1)
        return np.take_along_axis(similarities, order, 1), np.take_along_axis(ids, order, 1)

    def of(self, ids: "np.ndarray") -> "np.ndarray | None":
        """The digests of these contents; None if one of them is not held."""
        import numpy as np

        if not len(self.ids):
            return None
        places = self.order[np.searchsorted(self.ids, ids, sorter=self.order).clip(max=len(self.ids) - 1)]
        return self.digests[places] if (self.ids[places] == ids).all() else None


def held(batches: "Iterable[tuple[pa.RecordBatch, np.ndarray]]", dimension: int) -> Exact:
    """These contents' embeddings in memory."""
    import faiss
    import numpy as np

    made = faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    ids, rounded, contents = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)], [np.zeros(0, "S16")]
    for batch, embeddings in batches:
        codes = made.sa_encode(unit_length(embeddings))  # float16, by the processor's own instruction
        made.add_sa_codes(codes)
        rounded.append(lengths(codes.view(np.float16).astype(np.float32)))
        ids.append(row_ids(batch))
        contents.append(digests(batch))
    every = np.concatenate(ids)
    return Exact(made, np.concatenate(rounded), every, np.argsort(every), np.concatenate(contents))


def selector(packed: "np.ndarray") -> Any:
    """FAISS's way to pass over all ids but those whose bits are set."""
    import faiss

    bitmap: Any = faiss.IDSelectorBitmap
    return bitmap(packed)


class Truth:
    """The `wanted` embeddings nearest to each of Q unit-length queries among all that it has been shown."""

    def __init__(self, queries: "np.ndarray", wanted: int) -> None:
        import faiss

        self._queries = queries
        self._wanted = wanted
        self._heap = faiss.ResultHeap(len(queries), wanted, keep_max=True)

    def show(self, unit: "np.ndarray", ids: "np.ndarray") -> None:
        """Compare the queries with some more unit-length embeddings (n, D)."""
        import faiss

        wanted = min(self._wanted, len(unit))
        similarities, places = faiss.knn(self._queries, unit, wanted, metric=faiss.METRIC_INNER_PRODUCT)
        self.add(similarities, ids[places])

    def add(self, similarities: "np.ndarray", ids: "np.ndarray") -> None:
        """Count what is nearest to the queries among some more embeddings: cosines and ids (Q, at most `wanted`)."""
        self._heap.add_result(similarities, ids)

    def found(self) -> "tuple[np.ndarray, np.ndarray]":
        """Cosines and ids (Q, wanted) of the nearest, best first; ids are -1 where there are no more."""
        self._heap.finalize()
        return self._heap.D, self._heap.I


def streamed(
    cache: Cache, queries: "np.ndarray", wanted: int, among: Bits | None = None
) -> "tuple[np.ndarray, np.ndarray]":
    """Cosines and ids (Q, wanted) of the contents most like unit-length queries (Q, D), of all or of some.

    Their embeddings are read once. Ids are -1 where there are no more.
    """
    import numpy as np

    wanted = min(wanted, cache.contents if among is None else among.count)
    if not wanted:
        return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
    truth = Truth(queries, wanted)
    for rows, embeddings in cache.vectors() if among is None else cache.vectors_of(among.ids()):
        if len(rows):
            truth.show(unit_length(embeddings), row_ids(rows))
    return truth.found()
