"""Rows of a cache in a file, shuffled, for caches that are larger than memory. N rows, D numbers each."""

import os
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from petrieve.classifier.cores import on_cores
from petrieve.classifier.fitting.split import SEED
from petrieve.classifier.labelled import Names, chunks
from petrieve.store.cache import Cache

if TYPE_CHECKING:
    import numpy as np

BLOCK = 2048  # rows that a core takes at a time where nothing is learnt from them: 8 MB in float32
SIZE = 2  # bytes of a number
TRAIN, STOP, TEST, UNUSED = 0, 1, 2, 3  # what a photo is for


@dataclass(frozen=True, eq=False)
class Shuffled:
    """Rows in a file: of the photos to measure on, of those to stop by, and the training rows behind them."""

    file: IO[bytes]
    targets: "np.ndarray"  # (N,) of each row in the file
    weights: "np.ndarray"  # (N,) float32
    groups: "np.ndarray"  # (N,) those of the same bytes share a number
    test: int  # rows [0, test) are measured on
    stop: int  # rows [test, stop) decide when to stop
    dimension: int  # numbers of a row

    def halves(self, start: int, end: int) -> "np.ndarray":
        """Rows [start, end), or to the last one, float16. Several threads may ask at once."""
        import numpy as np

        rows = np.empty((max(0, min(end, len(self.targets)) - start), self.dimension), np.float16)
        os.preadv(self.file.fileno(), [rows.view(np.uint8).reshape(-1).data], start * self.dimension * SIZE)
        return rows

    def read(self, start: int, end: int) -> "np.ndarray":
        """Rows [start, end), or to the last one, float32."""
        import numpy as np

        return self.halves(start, end).astype(np.float32)

    def block(self, start: int) -> "np.ndarray":
        """A block of rows from `start` on, float32."""
        return self.read(start, start + BLOCK)

    def training(self, step: int) -> range:
        """Where each block of `step` training rows begins."""
        return range(self.stop, len(self.targets), step)


def shuffled(
    cache: Cache,
    listed: Names,
    roles: "np.ndarray",
    targets: "np.ndarray",
    groups: "np.ndarray",
    balanced: bool,
    file: IO[bytes],
) -> Shuffled:
    """The rows in the file, each at its place: those to measure on, those to stop by, then all training views.

    A photo has as many rows as it has views, and they share its weight of 1; a held-out one has its canonical view.
    """
    import numpy as np

    counts = np.where(roles == TRAIN, listed.views + 1, (roles == STOP) | (roles == TEST))
    owners = np.repeat(np.arange(len(counts)), counts)  # of each row, by photo and view
    order = np.random.default_rng(SEED).permutation(len(owners))
    order = order[np.argsort(np.array([2, 1, 0])[roles[owners[order]]], kind="stable")]
    owners = owners[order]
    _write(cache, listed, counts, np.argsort(order), file)
    weights = 1 / counts[owners]
    if balanced:
        sizes = np.bincount(targets[roles == TRAIN], minlength=int(targets.max()) + 1)
        weights *= (sizes.sum() / (len(sizes) * np.maximum(sizes, 1)))[targets[owners]]
    test = int((roles == TEST).sum())
    stop = test + int((roles == STOP).sum())
    return Shuffled(file, targets[owners], weights.astype(np.float32), groups[owners], test, stop, cache.dimension)


def _write(cache: Cache, listed: Names, counts: "np.ndarray", places: "np.ndarray", file: IO[bytes]) -> None:
    """Write the first views of each photo, as many as `counts` (N,) says, to their places in the file.

    `places` are those of the rows, ordered by photo and view.
    """
    import numpy as np

    first, size = np.cumsum(counts) - counts, cache.dimension * SIZE

    def write(found: "tuple[np.ndarray, np.ndarray, np.ndarray]") -> None:
        photos, views, rows = found
        wanted = np.flatnonzero(views < counts[photos])
        at = places[first[photos[wanted]] + views[wanted]] * size
        for row, start in zip(rows[wanted].astype(np.float16), at.tolist(), strict=True):
            written = os.pwrite(file.fileno(), row.data, start)
            while written < size:  # a disk that is nearly full takes a part, and the next call says so
                written += os.pwrite(file.fileno(), row.tobytes()[written:], start + written)

    for _ in on_cores(write, chunks(cache, listed)):
        pass
