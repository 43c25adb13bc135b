"""t-SNE (van der Maaten and Hinton, 2008): points in the plane, those beside each other that are neighbours elsewhere.

Repulsion is a convolution on a grid (Linderman et al., "Fast interpolation-based t-SNE", 2019), all neighbours attract
alike (Böhm, Berens and Kobak, "Attraction-repulsion spectrum in neighbor embeddings", 2022), and the first two
principal components are where it begins (Kobak and Berens, "The art of using t-SNE", 2019). Nothing is drawn by chance,
and no sum here depends on the number of threads.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

NEIGHBOURS = 10  # of 10 and 15, each keeps as many neighbours, and 10 is quicker: benchmarks/RESULTS.md
# Steps, exaggeration of the attraction, momentum: of 250 and 500 steps, these keep as many neighbours.
PHASES = ((200, 12.0, 0.5), (300, 1.0, 0.8))
STEP = 0.4  # of the grid, where points repel each other by 1 / (1 + distance²): forces are off by 4 % in the mean
LEAST, MOST = 48, 1000  # steps from one end of the points to the other
FEW = 300  # up to this many points, all pairs are quicker than the grid


def spread(reduced: "np.ndarray") -> "np.ndarray":
    """Points (n, 2) float32 in the plane for points (n, A) float32, whose first two axes are where they begin."""
    import faiss
    import numpy as np

    width = reduced[:, 0].std()
    if len(reduced) <= 2 * NEIGHBOURS or not width:  # all are neighbours of each other
        return np.ascontiguousarray(reduced[:, :2])
    _, nearest = faiss.knn(reduced, reduced, 1 + min(NEIGHBOURS, len(reduced) - 1))
    attracted, repulsion = _graph(nearest[:, 1:]), _exact if len(reduced) <= FEW else _repulsion
    one = np.repeat(np.arange(len(reduced)), np.diff(attracted.indptr))
    points = (reduced[:, :2] / width * 1e-4).astype(np.float32)
    moved, gains, rate = np.zeros_like(points), np.ones_like(points), len(points) / 3
    for steps, exaggeration, momentum in PHASES:
        for _ in range(steps):
            slope = exaggeration * _attraction(points, attracted, one) - repulsion(points)
            gains = np.where((slope > 0) == (moved > 0), gains * 0.8, gains + 0.2).clip(0.01)
            moved = (momentum * moved - rate * gains * slope).astype(np.float32)
            points += moved
            points -= points.mean(axis=0)
    return np.asarray(points)


def _graph(nearest: "np.ndarray") -> Any:
    """Who attracts whom, and how much, (n, n): each its nearest (n, K) and those that it is nearest to; 1 in all."""
    import numpy as np
    from scipy.sparse import csr_array

    count, wanted = nearest.shape
    ones = np.ones(nearest.size, np.float32)
    graph = csr_array((ones, nearest.ravel(), np.arange(0, nearest.size + 1, wanted)), (count, count))
    graph = (graph + graph.T).tocsr()
    graph.sort_indices()
    graph.data /= graph.data.sum(dtype=np.float64)
    return graph


def _attraction(points: "np.ndarray", graph: Any, one: "np.ndarray") -> "np.ndarray":
    """The sum (n, 2) of p (y − y′) / (1 + |y − y′|²) over each point's neighbours; `one` is each edge's first."""
    import numpy as np

    ways = points[one] - points[graph.indices]
    ways *= (graph.data / (1 + np.einsum("ij,ij->i", ways, ways)))[:, None]
    return np.add.reduceat(ways, graph.indptr[:-1], axis=0)


def _exact(points: "np.ndarray") -> "np.ndarray":
    """The same as `_repulsion`, exactly: by all pairs."""
    ways = points[:, None] - points[None]
    near = 1 / (1 + (ways * ways).sum(axis=-1))
    pushed = (ways * (near * near)[:, :, None]).sum(axis=1)
    return pushed / (near.sum() - len(points))  # type: ignore[no-any-return]


def _repulsion(points: "np.ndarray") -> "np.ndarray":
    """The sum (n, 2) of (y − y′) / (1 + |y − y′|²)² over all others of each point, by that of 1 / (1 + |y − y′|²).

    A point is shared out among the nine places of the grid around it, as quadratic interpolation has it.
    """
    import numpy as np
    from scipy import fft

    lowest = points.min(axis=0)
    span = max(float((points.max(axis=0) - lowest).max()), 1e-6)
    step = STEP * 2.0 ** min(0, np.floor(np.log2(span / STEP / LEAST)))
    step *= 2.0 ** max(0, np.ceil(np.log2(span / step / MOST)))
    cells = 32 * int(span / step / 32 + 2)
    at = (points - lowest) / step + 1
    middle = np.rint(at).astype(np.int64)
    off = at - middle
    shares = np.stack([off * (off - 1) / 2, 1 - off * off, off * (off + 1) / 2])
    around = [
        ((middle[:, 0] + row - 1) * cells + middle[:, 1] + column - 1, shares[row, :, 0] * shares[column, :, 1])
        for row in range(3)
        for column in range(3)
    ]
    held = sum(np.bincount(places, share, cells * cells) for places, share in around)
    size, kernels = _kernels(cells, step)
    workers = -1 if cells > 256 else 1  # a smaller grid takes less time than threads do to begin
    turned = fft.rfft2(np.reshape(held, (cells, cells)).astype(np.float32), (size, size), workers=workers)
    felt = []
    for kernel in kernels:
        field = fft.irfft2(turned * kernel, (size, size), workers=workers)[:cells, :cells].ravel()
        felt.append(sum(field[places] * share for places, share in around))
    every = max(float(felt[0].sum(dtype=np.float64)) - len(points), 1e-12)
    return np.stack(felt[1:], axis=1) / np.float32(every)


@lru_cache(maxsize=1)
def _kernels(cells: int, step: float) -> "tuple[int, list[np.ndarray]]":
    """The transforms of 1 / (1 + d²), and of x and y / (1 + d²)², on a grid wide enough that ends do not meet."""
    import numpy as np
    from scipy import fft

    size = fft.next_fast_len(2 * cells, real=True)
    far = (fft.fftfreq(size) * size * step).astype(np.float32)
    near = 1 / (1 + far[:, None] ** 2 + far[None] ** 2)
    across = far[:, None] * near**2
    return size, [fft.rfft2(one, workers=-1) for one in (near, across, np.ascontiguousarray(across.T))]
