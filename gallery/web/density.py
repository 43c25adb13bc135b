"""A map as a picture, for a browser that draws none itself."""

import io
from typing import TYPE_CHECKING

from petrieve.gallery.web.ground import Ground
from petrieve.gallery.web.shades import HIDDEN, Shades

if TYPE_CHECKING:
    import numpy as np

WIDE, HIGH, EDGE = 1200, 840, 16  # pixels


def picture(ground: Ground, shades: Shades, *, only: int | None, dark: bool) -> bytes:
    """A PNG in which each pixel has the mean colour of its points, the more opaque the more there are."""
    import numpy as np
    from PIL import Image

    slots = shades.slots
    shown = slots < HIDDEN if only is None else slots == only
    places, slots = ground.places[shown], slots[shown]
    left, lower, right, upper = ground.box
    scale = min((WIDE - 2 * EDGE) / max(right - left, 1e-9), (HIGH - 2 * EDGE) / max(upper - lower, 1e-9))
    middle = np.array([(left + right) / 2, (lower + upper) / 2])
    x, y = ((places - middle) * (scale, -scale) + (WIDE / 2, HIGH / 2)).astype(np.int32).T
    colours = [[int(word[at : at + 2], 16) for at in (1, 3, 5)] for word in shades.colours[dark]]
    radius = int(np.clip(0.25 * np.sqrt(WIDE * HIGH / max(1, len(x))), 0, 6))  # few are dots that one can see
    counts = np.zeros((len(colours), HIGH * WIDE), np.float32)
    for slot in np.unique(slots):
        pixels = (y * WIDE + x)[slots == slot, None] + _disc(radius)
        counts[slot] = np.bincount(pixels.ravel(), minlength=HIGH * WIDE)
    layers = counts.reshape(-1, HIGH, WIDE)
    total = layers.sum(axis=0)
    seen = np.zeros((HIGH, WIDE, 4), np.uint8)
    seen[..., :3] = np.tensordot(layers, np.array(colours, np.float32), (0, 0)) / np.maximum(total, 1)[..., None]
    seen[..., 3] = np.where(total, 255 * (0.4 + 0.6 * np.log1p(total) / np.log1p(max(1, total.max()))), 0)
    made = io.BytesIO()
    Image.fromarray(seen).save(made, "PNG", compress_level=1)
    return made.getvalue()


def _disc(radius: int) -> "np.ndarray":
    """How far the pixels of a disc are from its middle one, row behind row; a point has EDGE around it."""
    import numpy as np

    steps = range(-radius, radius + 1)
    return np.array([y * WIDE + x for x in steps for y in steps if x * x + y * y <= radius * radius])
