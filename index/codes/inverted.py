"""Embeddings as codes of a few hundred bytes in inverted lists: a shortlist of what may be nearest, in a few ms.

FAISS's IVF (Jégou et al., "Product Quantization for Nearest Neighbor Search", 2011) on unit-length embeddings: by their
squared distances, which a projection about the mean keeps best; between unit lengths they rank as cosines do.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from petrieve.index.codes.exact import selector
from petrieve.store.chosen import Bits
from petrieve.store.errors import PetrieveError, first_line

if TYPE_CHECKING:
    import numpy as np

# Of FAISS's kinds those that can take in and let go of photos, and whose file is numbers alone: nothing in it is run,
# and none of these numbers leads a search out of memory.
KIND = re.compile(
    r"(?:(?:PCAR?|RR|OPQ[1-9]\d{0,2}_)[1-9]\d{0,3},)?IVF([1-9]\d{0,6}),"
    r"(?:Flat|SQ4|SQ6|SQ8|SQfp16|PQ[1-9]\d{0,3}(?:x(?:[1-9]|1[0-6]))?)"
)
KINDS = "an optional PCA256, RR256 or OPQ64_256, then IVF4096, then SQ8, SQ4, SQfp16, PQ64 or Flat"
# The transform needs fewer embeddings than the lists: 64 for each of its numbers.
LEARNED = 65_536


@dataclass(frozen=True, eq=False)
class Inverted:
    """The codes of N contents, by their rows' ids; `marks` tell what each row held when it was taken in."""

    faiss: Any  # IndexIVF, as it is or behind a transform
    ids: "np.ndarray"  # int64 (N,), ascending
    marks: "np.ndarray"  # uint64 (N,), as the cache has them

    def shortlist(
        self,
        queries: "np.ndarray",
        *,
        wanted: int,
        lists: int,
        stale: "np.ndarray | None" = None,
        among: Bits | None = None,
    ) -> "np.ndarray":
        """Ids (Q, `wanted`), the likeliest first, of photos in the lists nearest to unit-length queries (Q, D).

        Those in `stale` are left out, and those that are not `among` these: for these, all lists are looked into, since
        what a condition leaves may lie in any. Where the lists hold fewer, the rest is -1.
        """
        import faiss

        options: dict[str, Any] = {"nprobe": lists if among is None else self.lists}
        if among is not None:
            options["sel"] = selector(among.packed)
        if stale is not None and len(stale):
            others = faiss.IDSelectorNot(faiss.IDSelectorBatch(stale))
            options["sel"] = faiss.IDSelectorAnd(options["sel"], others) if among is not None else others
        asked: Any = faiss.SearchParametersIVF(**options)
        if transform(self.faiss) is not None:
            behind: Any = faiss.SearchParametersPreTransform
            asked = behind(index_params=asked)
        return self.faiss.search(queries, wanted, params=asked)[1]  # type: ignore[no-any-return]

    @property
    def lists(self) -> int:
        """How many lists there are."""
        return int(ivf(self.faiss).nlist)

    @property
    def memory_mb(self) -> float:
        """What codes, ids, marks and lists take."""
        numbers = len(self.ids) * (self.code_bytes + 24) + self.lists * ivf(self.faiss).d * 4
        return float(round(numbers / 1e6, 1))

    @property
    def code_bytes(self) -> int:
        """What a photo's code takes."""
        return int(ivf(self.faiss).code_size)


def lists_of(kind: str) -> int:
    """How many lists an index of this kind has; 0 if there is no such kind."""
    found = KIND.fullmatch(kind)
    return int(found[1]) if found else 0


def untrained(kind: str, dimension: int) -> Any:
    """A FAISS index of embeddings of `dimension` numbers, without any photos.

    Raises:
        PetrieveError: it is not of a kind that can be kept.
    """
    import faiss

    try:
        if not KIND.fullmatch(kind):
            raise RuntimeError("it cannot be read from a file safely, or cannot let go of photos")
        made = faiss.index_factory(dimension, kind, faiss.METRIC_L2)
    except RuntimeError as error:
        why = first_line(error).rpartition("Error: ")[2]
        raise PetrieveError(f"an index cannot be of the kind {kind!r}: {why}", f"give `kind=…` {KINDS}") from error
    return made


def train(kind: str, sample: "np.ndarray") -> Any:
    """A FAISS index of this kind whose lists and codes are fitted to unit-length embeddings (n, D), without photos.

    Raises:
        PetrieveError: it is not of a kind that can be kept, or there are too few embeddings for it.
    """
    import faiss

    made = untrained(kind, sample.shape[1])
    inner, before = ivf(made), transform(made)
    inner.cp.seed, inner.cp.niter = 1234, 10
    inner.cp.min_points_per_centroid = 1  # what is too little shows in the recall, not in warnings
    if isinstance(inner, faiss.IndexIVFPQ):
        inner.pq.cp.min_points_per_centroid = 1
    try:
        if before is not None:
            before.train(sample[:LEARNED])
            made.is_trained = False
            sample = before.apply(sample)
        inner.train(sample)
        made.is_trained = True
    except RuntimeError as error:
        raise PetrieveError(
            f"{len(sample)} photos are too few for an index of the kind {kind!r}",
            "leave `kind=…` away, or ask for less",
        ) from error
    return made


def ivf(index: Any) -> Any:
    """The inverted lists of a FAISS index."""
    import faiss

    return faiss.downcast_index(faiss.extract_index_ivf(index))


def transform(index: Any) -> Any:
    """The linear transform before them, or None."""
    import faiss

    if not isinstance(index, faiss.IndexPreTransform):
        return None
    chain: Any = index.chain
    return faiss.downcast_VectorTransform(chain.at(0))


def numbers(index: Any) -> "dict[str, np.ndarray]":
    """All that such an index holds, as arrays: what `filled` makes one of."""
    import faiss
    import numpy as np

    inner, before = ivf(index), transform(index)
    sizes = np.array([inner.invlists.list_size(n) for n in range(inner.nlist)], np.int64)
    ids, codes = np.empty(sizes.sum(), np.int64), np.empty((sizes.sum(), inner.code_size), np.uint8)
    for n, end in enumerate(np.cumsum(sizes).tolist()):
        if size := int(sizes[n]):
            ids[end - size : end] = faiss.rev_swig_ptr(inner.invlists.get_ids(n), size)
            codes[end - size : end].reshape(-1)[:] = faiss.rev_swig_ptr(
                inner.invlists.get_codes(n), size * inner.code_size
            )
    found = {"sizes": sizes, "ids": ids, "codes": codes, "fitted": faiss.vector_to_array(_codec(inner)[0])}
    found["centroids"] = inner.quantizer.reconstruct_n(0, inner.nlist)
    if before is not None:
        found |= {"matrix": faiss.vector_to_array(before.A), "offset": faiss.vector_to_array(before.b)}
    return found


def filled(kind: str, given: "dict[str, np.ndarray]", dimension: int) -> Any:
    """The FAISS index of these numbers.

    Raises:
        ValueError, KeyError, PetrieveError: they do not fit together.
    """
    import faiss
    import numpy as np

    wanted = KIND.fullmatch(kind)
    if wanted is None or int(wanted[1]) != len(given["sizes"]):  # before FAISS makes room for as many lists
        raise ValueError(f"{len(given['sizes'])} lists for the kind {kind!r}")
    made = untrained(kind, dimension)
    inner, before = ivf(made), transform(made)
    sizes, ids, codes = given["sizes"], given["ids"], given["codes"]
    _check_array(given["centroids"], np.float32, (inner.nlist, inner.d))
    _check_array(sizes, np.int64, (inner.nlist,))
    _check_array(ids, np.int64, (len(ids),))
    _check_array(codes, np.uint8, (len(ids), inner.code_size))
    if (sizes < 0).any() or sizes.sum() != len(ids) or sizes.max() > len(ids):
        raise ValueError("the lists' sizes are not those of the codes")
    _copy(given["fitted"], *_codec(inner))
    if before is not None:
        _copy(given["matrix"], before.A, before.d_out * before.d_in)
        _copy(given["offset"], before.b, before.d_out if before.have_bias else 0)
        before.is_trained = True
    inner.quantizer.add(given["centroids"])
    inner.is_trained = made.is_trained = True
    if isinstance(inner, faiss.IndexIVFPQ):
        inner.precompute_table()
    take_in(made, sizes, ids, codes)
    return made


def take_in(index: Any, sizes: "np.ndarray", ids: "np.ndarray", codes: "np.ndarray") -> None:
    """Put n photos into a FAISS index's lists: ids (n,) and codes (n, B) list by list, of the lists' `sizes`."""
    import faiss
    import numpy as np

    inner = ivf(index)
    for n, end in enumerate(np.cumsum(sizes).tolist()):
        if size := int(sizes[n]):
            start = end - size
            inner.invlists.add_entries(n, size, faiss.swig_ptr(ids[start:end]), faiss.swig_ptr(codes[start:end]))
    inner.ntotal += len(ids)
    index.ntotal = inner.ntotal


def _codec(inner: Any) -> tuple[Any, int]:
    """What the codes of inverted lists are fitted with: FAISS's vector of float32 numbers, and how many it has to have.

    A product quantiser has centroids for each part of an embedding; a scalar one a least and a most for each direction,
    but for halves, which need neither. `Flat` lists hold embeddings as they are.
    """
    import faiss

    if isinstance(inner, faiss.IndexIVFPQ):
        return inner.pq.centroids, int(inner.pq.M * inner.pq.ksub * inner.pq.dsub)
    if isinstance(inner, faiss.IndexIVFScalarQuantizer):
        return inner.sq.trained, 0 if inner.sq.qtype == faiss.ScalarQuantizer.QT_fp16 else 2 * inner.d
    return faiss.Float32Vector(), 0


def _check_array(array: "np.ndarray", kind: type, shape: tuple[int, ...]) -> None:
    import numpy as np

    if array.dtype != kind or array.shape != shape:
        raise ValueError(f"{array.dtype} {array.shape} in place of {np.dtype(kind)} {shape}")
    if array.dtype == np.float32 and not np.isfinite(array).all():
        raise ValueError("what should be numbers are not")


def _copy(array: "np.ndarray", into: Any, size: int) -> None:
    import faiss
    import numpy as np

    _check_array(array, np.float32, (size,))
    if size:
        faiss.copy_array_to_vector(array, into)
