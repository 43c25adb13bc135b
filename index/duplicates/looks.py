"""How alike two photos look at a glance: as one picture, and as one scene in two framings.

What two photos have in common need not make them copies: adoption cards and pages of text share their layout. So it
counts how alike they are in the parts where they are least alike.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

# Side and step of a picture's windows, of its 24 pixels; the share of them that may be less alike: a mark in a corner.
WINDOW, EVERY, FEWEST = 6, 2, 0.05
# A window with less of the picture's own variance is even: what differs in it is noise.
EVEN = 0.05
# The middle of one picture is looked for in the other, at these sizes of it.
MIDDLE = 16 / 24
SCALES = (0.8, 0.85, 0.9, 0.95, 1.0, 1.06, 1.12, 1.18, 1.25)
# Pictures whose parts are kept for the next pair, 0.9 MB each: a picture is in some ten pairs, one after the other.
PICTURES = 64
# Of each pixel the mean around it is taken away first: light and dark areas lie alike in many photos. Of the 300 pairs
# of look-alikes most alike as a whole the highest correlation was 0.62 so, and 0.93 without; of 120 crops the lowest
# was 0.83 and 0.88.
AROUND = 2  # pixels to each side
FLAT = 1e-3  # what a photo without any contrast has in place of a length
# The closer look, at pictures of 96 pixels: the middle becomes 48, its windows 12, and its place is looked for in
# steps of these parts of the picture.
CLOSE, CLOSE_WINDOW, CLOSE_EVERY = 48, 12, 4
STEPS, TRIES = (0.04, 0.02, 0.01, 0.005), 4
# There edges do not meet to the pixel, so that more windows may be less alike.
CLOSE_FEWEST = 0.1
# Less than half with any contrast says nothing: the ends of lines of text match those of any other.
UNEVEN, MOST = 0.1, 0.5


class Place(NamedTuple):
    """Where the middle of one picture is found in another: how alike (correlation), mirrored or not, and its box."""

    likeness: float
    mirrored: bool
    box: tuple[float, float, float, float]  # x and y of its middle, width and height: parts of the whole


class Searched(NamedTuple):
    """What is sought of a picture in others, and where others are sought in it."""

    middle: "np.ndarray"  # its middle and that mirrored, standardised (2, w²)
    parts: "np.ndarray"  # of the picture at each size, standardised (n, w²)
    boxes: "np.ndarray"  # of these (n, 4), as in a Place


def as_whole(one: "np.ndarray", other: "np.ndarray") -> "np.ndarray":
    """The correlations (n,), -1 to 1, of pairs of grey pictures (n, S, S), of which one may be mirrored."""
    import numpy as np

    first = _standardised(one)
    both = [_standardised(each) for each in (other, other[:, :, ::-1])]
    return np.maximum(*((first * each).sum(axis=1) for each in both))  # type: ignore[no-any-return]


def as_picture(one: "np.ndarray", other: "np.ndarray") -> "np.ndarray":
    """How alike pairs of grey pictures (n, S, S) are in their least alike parts: (n,), -1 to 1; one may be mirrored."""
    import numpy as np

    alike = [np.quantile(_window_by_window(one, each), FEWEST, axis=1) for each in (other, other[:, :, ::-1])]
    return np.maximum(*alike)  # type: ignore[no-any-return]


def as_scene(one: "np.ndarray", other: "np.ndarray") -> float:
    """The best correlation, -1 to 1, of the middle of a grey picture (S, S) with any part of the other; either way."""
    return max(_middle_in(one, other).likeness, _middle_in(other, one).likeness)


def as_scene_closely(one: "np.ndarray", other: "np.ndarray", larger: "np.ndarray", larger_other: "np.ndarray") -> float:
    """How alike two photos are as one scene in their least alike parts, -1 to 1; at a glance (S, S) and seen larger.

    The middle of one is placed in the other at a glance and then exactly. 0 where it is too even to say anything.
    """
    import numpy as np
    from PIL import Image

    place, back = _middle_in(one, other), _middle_in(other, one)
    if back.likeness > place.likeness:
        place, larger, larger_other = back, larger_other, larger
    middle = _part(Image.fromarray(larger), (0.5, 0.5, MIDDLE, MIDDLE))
    middle = middle[:, ::-1] if place.mirrored else middle
    found = _part(Image.fromarray(larger_other), _exactly(middle, larger_other, place.box))
    one, other = _centred_windows(middle), _centred_windows(found)
    contrast = np.maximum((one**2).mean(axis=(1, 2)), (other**2).mean(axis=(1, 2)))
    if (contrast > UNEVEN).mean() < MOST:
        return 0.0
    one, other = _without_lines(one), _without_lines(other)
    alike = (2 * one * other + EVEN).mean(axis=(1, 2)) / (one**2 + other**2 + EVEN).mean(axis=(1, 2))
    return float(np.quantile(alike, CLOSE_FEWEST))


def _exactly(
    middle: "np.ndarray", picture: "np.ndarray", box: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    """The box of a picture near this one that a middle is most like: one of its numbers is changed at a time."""
    import numpy as np
    from PIL import Image

    wanted = _standardised(_details(middle)[None])[0]
    whole = Image.fromarray(_details(picture).astype(np.float32))

    def likeness(box: tuple[float, float, float, float]) -> float:
        return float(_standardised(_part(whole, box)[None])[0] @ wanted)

    best = likeness(box)
    for step in STEPS:
        for _ in range(TRIES):
            tried = [(likeness(near), near) for near in _near(box, step)]
            if max(tried)[0] <= best:
                break
            best, box = max(tried)
    return box


def _near(box: tuple[float, float, float, float], step: float) -> Iterator[tuple[float, float, float, float]]:
    for place in range(4):
        for change in (-step, step):
            x, y, width, height = (number + change * (place == which) for which, number in enumerate(box))
            yield x, y, width, height


def _part(picture: "Image", box: tuple[float, float, float, float]) -> "np.ndarray":
    """What is in a box of a picture (CLOSE, CLOSE), as far as that lies inside."""
    import numpy as np
    from PIL.Image import Resampling

    x, y, width, height = box
    left, upper = max(x - width / 2, 0.0) * picture.width, max(y - height / 2, 0.0) * picture.height
    right, lower = min(x + width / 2, 1.0) * picture.width, min(y + height / 2, 1.0) * picture.height
    return np.asarray(picture.resize((CLOSE, CLOSE), Resampling.BILINEAR, box=(left, upper, right, lower)))


def _centred_windows(picture: "np.ndarray") -> "np.ndarray":
    """The windows (W, w, w) of a picture of deviation 1, each with mean 0."""
    from numpy.lib.stride_tricks import sliding_window_view

    whole = _standardised(picture[None]).reshape(picture.shape) * len(picture)
    windows = sliding_window_view(whole, (CLOSE_WINDOW, CLOSE_WINDOW))[::CLOSE_EVERY, ::CLOSE_EVERY]
    windows = windows.reshape(-1, CLOSE_WINDOW, CLOSE_WINDOW)
    return windows - windows.mean(axis=(1, 2), keepdims=True)  # type: ignore[no-any-return]


def _without_lines(windows: "np.ndarray") -> "np.ndarray":
    """Centred windows (W, w, w) without what a whole row or column has: lines of text and frames are the layout."""
    return windows - windows.mean(axis=1, keepdims=True) - windows.mean(axis=2, keepdims=True)  # type: ignore[no-any-return]


def _window_by_window(one: "np.ndarray", other: "np.ndarray") -> "np.ndarray":
    """How alike (n, W) the windows of pairs of pictures (n, S, S) are, -1 to 1.

    With variances and covariance as parts of the whole picture's variance: (2 cov + even) / (var + var + even), the
    structure of Wang et al., "Image quality assessment: from error visibility to structural similarity" (2004).
    """
    shape = one.shape
    a, b = (_standardised(each).reshape(shape).astype("float64") * shape[1] for each in (one, other))
    mean, mean_other, square, square_other, product = map(_means, (a, b, a * a, b * b, a * b))
    covariance, variances = product - mean * mean_other, square - mean**2 + square_other - mean_other**2
    return (2 * covariance + EVEN) / (variances + EVEN)  # type: ignore[no-any-return]


def _means(pictures: "np.ndarray") -> "np.ndarray":
    """The means (n, W) of the windows of pictures (n, S, S)."""
    import numpy as np

    sums = np.pad(pictures.cumsum(axis=1).cumsum(axis=2), ((0, 0), (1, 0), (1, 0)))
    rows = sums[:, WINDOW:] - sums[:, :-WINDOW]
    found = (rows[:, :, WINDOW:] - rows[:, :, :-WINDOW])[:, ::EVERY, ::EVERY]
    return found.reshape(len(pictures), -1) / WINDOW**2  # type: ignore[no-any-return]


def _standardised(pictures: "np.ndarray") -> "np.ndarray":
    import numpy as np

    flat = pictures.reshape(len(pictures), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), FLAT)  # type: ignore[no-any-return]


def _middle_in(one: "np.ndarray", other: "np.ndarray") -> Place:
    """Normalised cross-correlation: Lewis, "Fast Template Matching" (1995)."""
    import numpy as np

    searched = _searched(other.tobytes(), len(other))
    likeness = searched.parts @ _searched(one.tobytes(), len(one)).middle.T
    part, mirrored = np.unravel_index(likeness.argmax(), likeness.shape)
    x, y, width, height = searched.boxes[part].tolist()
    return Place(float(likeness[part, mirrored]), bool(mirrored), (x, y, width, height))


@lru_cache(maxsize=PICTURES)
def _searched(picture: bytes, side: int) -> Searched:
    """A grey picture of side² pixels, made ready to be held against several others."""
    import numpy as np
    from numpy.lib.stride_tricks import sliding_window_view
    from PIL import Image

    whole = np.frombuffer(picture, np.uint8).reshape(side, side)
    width = round(side * MIDDLE)
    start = (side - width) // 2
    middle = _details(whole)[start : start + width, start : start + width]
    parts, boxes = [], []
    for scale in SCALES:
        size = round(side * scale)
        scaled = np.asarray(Image.fromarray(whole).resize((size, size), Image.Resampling.BILINEAR))
        parts.append(sliding_window_view(_details(scaled), (width, width)).reshape(-1, width, width))
        row, column = np.indices((size - width + 1,) * 2).reshape(2, -1)
        extent = np.full(len(row), width)
        boxes.append(np.stack([column + width / 2, row + width / 2, extent, extent], axis=1) / size)
    return Searched(
        _standardised(np.stack([middle, middle[:, ::-1]])), _standardised(np.concatenate(parts)), np.concatenate(boxes)
    )


def _details(picture: "np.ndarray") -> "np.ndarray":
    """A grey picture (S, S) without what is light or dark over more than a few pixels."""
    import numpy as np
    from numpy.lib.stride_tricks import sliding_window_view

    wide = np.pad(picture.astype(np.float32), AROUND, mode="edge")
    means = sliding_window_view(wide, (2 * AROUND + 1, 2 * AROUND + 1)).mean(axis=(2, 3))
    return picture - means  # type: ignore[no-any-return]
