"""Near-copies: photos that are the same picture, so that none may be on both sides of a split."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# Cosine from which on two photos count as one picture.
SAME = 0.98


def groups(embeddings: "np.ndarray", digests: "np.ndarray") -> "np.ndarray":
    """Each photo's group (N,), of embeddings (N, D) and digests (N,): near-copies and equal bytes share a number."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, other = (np.concatenate(ends) for ends in zip(_alike(embeddings), _equal(digests), strict=True))
    links = coo_array((np.ones(len(one), bool), (one, other)), shape=(len(digests),) * 2)
    return np.asarray(connected_components(links, directed=False)[1])


def _alike(embeddings: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """The pairs whose cosine reaches `SAME`."""
    import numpy as np

    units = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    found = []
    for start in range(0, len(units), 1024):
        one, other = np.nonzero(units[start : start + 1024] @ units[start:].T >= SAME)
        found.append((one + start, other + start))
    one, other = map(np.concatenate, zip(*found, strict=True))
    return one, other


def _equal(digests: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Each photo beside the first one with its bytes."""
    import numpy as np

    _, first, which = np.unique(digests, return_index=True, return_inverse=True)
    return np.arange(len(digests)), first[which]
