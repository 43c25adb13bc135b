"""Embeddings → places in the plane: landmarks are laid out, every other one is placed beside the one most like it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from petrieve.index.tsne import spread
from petrieve.store.rows import unit_length

if TYPE_CHECKING:
    import numpy as np

AXES = 50  # principal components that distances are taken in
NEAREST = 10  # landmarks that say where another lies


@dataclass(frozen=True, eq=False)
class Landmarks:
    """L landmarks in A principal components, and their places: what places any other embedding beside them."""

    mean: "np.ndarray"  # float32 (D,), of unit-length embeddings
    axes: "np.ndarray"  # float32 (D, A), orthonormal
    reduced: "np.ndarray"  # float32 (L, A)
    spots: "np.ndarray"  # float32 (L, 2), in [-1, 1]

    def place(self, embeddings: "np.ndarray") -> "np.ndarray":
        """Places (n, 2) float32 of embeddings (n, D): beside the nearest landmark, on the side of the next ones.

        Between several, which may lie far from each other in the plane, it would be beside none.
        """
        import faiss
        import numpy as np

        wanted = min(NEAREST, len(self.reduced))
        far, places = faiss.knn(_reduced(embeddings, self.mean, self.axes), self.reduced, wanted)
        far = far.clip(min=1e-9)
        weights = np.exp(-far / far[:, wanted // 2, None])
        weights /= weights.sum(axis=1, keepdims=True)
        beside = self.spots[places[:, 0]]
        way = (weights[:, :, None] * self.spots[places]).sum(axis=1) - beside
        room = 0.3 / np.sqrt(len(self.spots))  # of the 2 that each would have if all were spread evenly
        length = np.sqrt((way * way).sum(axis=1, keepdims=True))
        return np.asarray(beside + way * (room / (room + length)), np.float32).clip(-1, 1)


def laid_out(embeddings: "np.ndarray") -> Landmarks:
    """These embeddings (L, D), laid out."""
    import numpy as np

    centred = np.nan_to_num(unit_length(embeddings))
    mean = centred.mean(axis=0)
    centred -= mean
    if 1 < len(centred) < centred.shape[1]:  # of few, half a second quicker
        axes = np.linalg.svd(centred, full_matrices=False)[2].T
    else:
        axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]
    axes = np.ascontiguousarray(axes[:, :AXES], np.float32)
    reduced = centred @ axes
    return Landmarks(mean, axes, reduced, _scaled(spread(reduced)))


def _reduced(embeddings: "np.ndarray", mean: "np.ndarray", axes: "np.ndarray") -> "np.ndarray":
    import numpy as np

    return np.ascontiguousarray(np.nan_to_num((unit_length(embeddings) - mean) @ axes), np.float32)


def _scaled(points: "np.ndarray") -> "np.ndarray":
    """Points (n, 2) moved and shrunk alike in both directions, so that they fill [-1, 1] in one."""
    import numpy as np

    lowest, highest = points.min(axis=0), points.max(axis=0)
    half = float((highest - lowest).max()) / 2 or 1.0
    return np.asarray((points - (lowest + highest) / 2) / half, np.float32).clip(-1, 1)
