"""Which photos belong together, of the pairs that do."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def joined(pairs: "np.ndarray", photos: int) -> "np.ndarray":
    """The number of each photo's group (photos,): of what pairs (P, 2) of places connect, also by way of others."""
    import numpy as np

    if not len(pairs):  # most stores, and scipy's graphs take a quarter of a second to import
        return np.arange(photos)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(photos, photos))
    return np.asarray(connected_components(links, directed=False)[1])
