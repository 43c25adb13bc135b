"""Which photos are most alike.

N photos, D numbers each, K = 32 look-alikes of each (fewer where there are fewer photos).
"""

from typing import TYPE_CHECKING

from petrieve.store.rows import unit_length

if TYPE_CHECKING:
    import numpy as np

FETCHED = 32
NEIGHBOURS = 10


def nearest(embeddings: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """The look-alikes (N, K) of each of the photos with these embeddings (N, D), best first, and their distances.

    The distance is 1 - cosine.
    """
    import faiss
    import numpy as np

    units = unit_length(embeddings)
    wanted = min(FETCHED + 1, len(units))
    cosines, found = faiss.knn(units, units, wanted, metric=faiss.METRIC_INNER_PRODUCT)
    itself = found == np.arange(len(found))[:, None]
    # A photo with many exact copies may not be among its own nearest: then the last one is left out.
    itself[~itself.any(axis=1), -1] = True
    shape = (len(units), wanted - 1)
    return found[~itself].reshape(shape), np.maximum(1 - cosines[~itself], 0).reshape(shape)


def neighbours(found: "np.ndarray", distances: "np.ndarray", own: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """The ten nearest look-alikes of each photo outside its group, and their distances.

    `own` are the groups (N,). Missing ones are -1 and NaN. Copies must not vouch for each other.
    """
    import numpy as np

    same = own[found] == own[:, None]
    order = np.argsort(same, axis=1, kind="stable")[:, :NEIGHBOURS]
    same, found, distances = (np.take_along_axis(array, order, axis=1) for array in (same, found, distances))
    return np.where(same, -1, found), np.where(same, np.nan, distances)
