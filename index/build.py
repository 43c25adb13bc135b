"""A cache → a FAISS index, in memory.

Nothing of it is kept: reading 25,000 embeddings from the cache and building the index takes 0.2 s, reading the index
from a file and checking its digest took 0.3 s. What is not there cannot be stale, damaged or somebody else's.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from extractor.cache import Cache
from extractor.rows import DIMENSION

if TYPE_CHECKING:
    import numpy as np

KIND = "flat"  # every embedding is compared: exact


@dataclass(frozen=True, eq=False)
class Index:
    """Unit-length embeddings by their rows' ids in the cache; searched by inner product, which is then the cosine."""

    faiss: Any  # IndexIDMap2 of IndexFlatIP
    cache: Cache


def build(cache: Cache) -> Index:
    """An exact index of all embeddings in the cache, as it was when it was opened."""
    import faiss

    made = faiss.IndexIDMap2(faiss.IndexFlatIP(DIMENSION))
    for photos, embeddings in cache.embeddings():
        made.add_with_ids(unit_length(embeddings), photos["_rowid"].cast("int64").to_numpy())
    return Index(made, cache)


def describe(cache: Cache) -> dict[str, Any]:
    """Kind and size of the index that `build` makes."""
    return {"kind": KIND, "photos": len(cache), "fits": True}


def unit_length(embeddings: "np.ndarray") -> "np.ndarray":
    """Embeddings (N, 1024) scaled to length 1, float32."""
    import numpy as np

    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.ascontiguousarray(embeddings / np.maximum(lengths, 1e-12), dtype=np.float32)
