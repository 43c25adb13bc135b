"""Upright pixels → the canonical view on NumPy alone, for look-ups that end before torch could be imported.

What `view.canonical_view` makes by torch's antialiased bilinear resize of uint8, bit by bit: torch rounds the weights
of each pixel that it makes to 15 bits, sums up whole numbers, and rounds to whole levels after the columns and again
after the rows. In float64 such sums are exact, so BLAS may have them.
"""

import math
from typing import TYPE_CHECKING

from petrieve.extractor.pixels.view import CROP, MAX_ASPECT, RESIZE

if TYPE_CHECKING:
    import numpy as np

# Pixels of an edge that are computed at a time, each from the few that are near it.
PIXELS_AT_ONCE = 32
BITS, MOST_BITS = 15, 22  # bits of a weight; and at most, behind its binary point


def canonical_array(pixels: "np.ndarray") -> "np.ndarray":
    """View 0, uint8 (3, 224, 224), of upright pixels (H, W, 3), uint8."""
    import numpy as np

    short = min(pixels.shape[:2])
    height, width = (min(side, MAX_ASPECT * short) for side in pixels.shape[:2])
    top, left = _margin(pixels.shape[0], height), _margin(pixels.shape[1], width)
    columns = _resized(pixels[top : top + height, left : left + width], short)  # (H, 224, 3)
    return np.ascontiguousarray(_resized(columns.transpose(1, 0, 2), short).transpose(2, 1, 0))


def _resized(pixels: "np.ndarray", short: int) -> "np.ndarray":
    """The middle 224 columns, uint8 (A, 224, 3), of pixels (A, B, 3) when B is resized as `short` is to 255."""
    import numpy as np

    rows, size, _ = pixels.shape
    firsts, weights = _weights(size, int(RESIZE * size / short))
    made = np.empty((rows, CROP, 3), np.uint8)
    for start in range(0, CROP, PIXELS_AT_ONCE):
        some, first = slice(start, start + PIXELS_AT_ONCE), firsts[start]
        places = firsts[some, None] - first + np.arange(weights.shape[1])  # (PIXELS_AT_ONCE, taps)
        matrix = np.zeros((PIXELS_AT_ONCE, places.max() + 1))
        np.put_along_axis(matrix, places, weights[some], 1)
        near = pixels[:, first : first + matrix.shape[1]].transpose(0, 2, 1)
        levels = near.astype(np.float64, order="C").reshape(3 * rows, -1) @ matrix[:, : near.shape[2]].T
        made[:, some] = (levels + 0.5).astype(np.uint8).reshape(rows, 3, -1).transpose(0, 2, 1)
    return made


def _weights(size: int, resized: int) -> "tuple[np.ndarray, np.ndarray]":
    """For each of the middle 224 of `resized` pixels, its first pixel of `size`, (224,), and the weights of its taps.

    Weights are float64 (224, taps), 0 after the last pixel.
    """
    import numpy as np

    scale = size / resized
    reach = max(scale, 1.0)
    centres = (np.arange(resized) + 0.5) * scale
    firsts = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    lasts = np.minimum((centres + reach + 0.5).astype(np.int64), size)
    places = firsts[:, None] + np.arange((lasts - firsts).max())
    triangle = np.maximum(1 - np.abs((places - centres[:, None] + 0.5) / reach), 0) * (places < lasts[:, None])
    weights = triangle / triangle.sum(1, keepdims=True)
    # The largest weight, cut off or not, sets how many bits there are behind the point.
    unit = 2.0 ** min(math.floor(math.log2((2**BITS - 0.5) / weights.max())), MOST_BITS)
    kept = slice(start := _margin(resized, CROP), start + CROP)
    return firsts[kept], np.floor(weights[kept] * unit + 0.5) / unit


def _margin(whole: int, kept: int) -> int:
    """What is cut off before the middle."""
    return round((whole - kept) / 2)
