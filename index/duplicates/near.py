"""The nearest photos of every photo: who could be a near-copy of whom, without comparing all with all."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from petrieve.store.cache import Cache
from petrieve.store.rows import digests, row_ids, unit_length

if TYPE_CHECKING:
    import numpy as np

# Directions that are kept, and the photos that they are learned from.
DIRECTIONS, LEARNED_FROM = 128, 8192
# Up to this many photos are compared with all others; more are sorted into lists, and each photo looks into PROBED.
COMPARED_EACH = 30_000
PROBED = 8
# Photos that the lists are learned from: FAISS warns below 39 for each list.
PER_LIST = 40
# What is gone, or cannot be reached, is a copy of nothing.
THERE = "digest IS NOT NULL AND gone IS NULL AND reason IS NULL"


@dataclass(frozen=True, eq=False)
class Near:
    """Unit-length embeddings in fewer directions, by their rows' ids; each content once."""

    faiss: Any
    middle: "np.ndarray"  # (D,)
    directions: "np.ndarray"  # (D, 128)
    ids: "np.ndarray"  # (n,) of all photos, in order
    first: "np.ndarray"  # (n,) for each of them the first with the same bytes

    def search(self, embeddings: "np.ndarray", k: int) -> "tuple[np.ndarray, np.ndarray]":
        """The ids (n, k) of the rows nearest to embeddings (n, D), -1 where there are fewer; and their cosines.

        These are bounds: what lies in the directions that were left out can only make them less.
        """
        distances, ids = self.faiss.search(self.reduced(embeddings), k)
        return ids, 1 - distances / 2

    def contents(self, rows: "np.ndarray") -> "np.ndarray":
        """For each of these photos, by their row ids (m,), the first with the same bytes."""
        import numpy as np

        return self.first[np.searchsorted(self.ids, rows)]

    def reduced(self, embeddings: "np.ndarray") -> "np.ndarray":
        """(n, D) → (n, 128), float32."""
        return (unit_length(embeddings) - self.middle) @ self.directions  # type: ignore[no-any-return]


def near(cache: Cache) -> Near:
    """The photos of a cache, ready to be searched for near ones. It holds about 200 bytes of each."""
    import faiss
    import numpy as np

    middle, directions = _directions(cache)
    ids, first = _contents(cache)
    each = np.unique(first)
    made: Any = faiss.IndexFlatL2(directions.shape[1])
    made_near = Near(made, middle, directions, ids, first)
    if len(each) > COMPARED_EACH:
        lists = int(4 * np.sqrt(len(each)))
        bits = faiss.ScalarQuantizer.QT_8bit
        made = faiss.IndexIVFScalarQuantizer(made, directions.shape[1], lists, bits, faiss.METRIC_L2)
        made.train(_every(cache, made_near, -(-len(each) // (PER_LIST * lists))))
        made.nprobe = PROBED
    else:
        made = faiss.IndexIDMap2(made)
    for photos, embeddings in cache.embeddings([]):
        own = row_ids(photos)
        new = np.isin(own, each)
        made.add_with_ids(made_near.reduced(embeddings[new]), own[new])
    return Near(made, middle, directions, ids, first)


def pairs(cache: Cache, found: Near, *, k: int, at_least: float) -> "np.ndarray":
    """Pairs of row ids (m, 2), each once: photos with those of their `k` nearest whose cosine may be `at_least`."""
    import numpy as np

    each = np.unique(found.first)
    made = [np.zeros((0, 2), np.int64)]
    for photos, embeddings in cache.embeddings([]):
        own = row_ids(photos)
        new = np.isin(own, each)
        ids, cosines = found.search(embeddings[new], k + 1)
        rows, columns = np.nonzero((ids >= 0) & (ids != own[new][:, None]) & (cosines >= at_least))
        some = np.stack([own[new][rows], ids[rows, columns]], axis=1)
        made.append(np.unique(np.sort(some, axis=1), axis=0))
    return np.unique(np.concatenate(made), axis=0)


def _directions(cache: Cache) -> "tuple[np.ndarray, np.ndarray]":
    """The mean (D,) of unit-length embeddings, and the directions (D, 128) in which they differ most."""
    import numpy as np

    unit = unit_length(cache.sample(LEARNED_FROM)[1])
    middle = unit.mean(axis=0) if len(unit) else np.zeros(cache.dimension, np.float32)
    _, vectors = np.linalg.eigh((unit - middle).T @ (unit - middle))
    return middle, np.ascontiguousarray(vectors[:, ::-1][:, :DIRECTIONS])


def _contents(cache: Cache) -> "tuple[np.ndarray, np.ndarray]":
    """All photos' row ids (n,), in order, and for each the first id with the same bytes."""
    import numpy as np

    ids, contents = [np.zeros(0, np.int64)], [np.zeros(0, "S16")]
    for batch in cache.photos(["digest"], THERE):
        ids.append(row_ids(batch))
        contents.append(digests(batch))
    every, content = np.concatenate(ids), np.concatenate(contents)
    order = np.argsort(every)
    every, content = every[order], content[order]
    _, first, which = np.unique(content, return_index=True, return_inverse=True)
    return every, every[first][which]


def _every(cache: Cache, found: Near, step: int) -> "np.ndarray":
    """One photo of `step`, evenly spread, in fewer directions."""
    import numpy as np

    return np.concatenate([found.reduced(embeddings[::step]) for _, embeddings in cache.embeddings([])])
