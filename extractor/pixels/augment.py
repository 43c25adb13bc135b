"""The augmented views of a photo: the first mirrored; the others rotated, mirrored or not, scaled and cropped.

What is drawn depends on its digest alone. The views are what torchvision's `resized_crop`, `rotate`, `center_crop` and
`horizontal_flip` make of it, on torch's own functions: importing torchvision takes as long as importing torch.
"""

import hashlib
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from petrieve.extractor.pixels.view import CROP, MAX_ASPECT, canonical_view, centred
from petrieve.store.errors import PetrieveError

if TYPE_CHECKING:
    from torch import Tensor

# Milder than what networks are trained with: the trunk is frozen, and what it sees must stay like the canonical view.
# With 15° and 0.7 to 1, the mean over views predicts worse than the canonical view alone: benchmarks/RESULTS.md.
ANGLE = 10.0  # degrees, either way
# Side of the crop to a photo's shorter edge, where it is not rotated; a rotated one lies within such a crop.
SCALE = 0.9, 1.0
# Augmented views of a photo. Eight photos with 32 views each fill the batch of a GPU.
MAX_VIEWS = 31
# The store's card has this text: views of another recipe are embedded anew.
RECIPE = f"augmented views 2: mirrored, then BLAKE2b, rotate {ANGLE}, mirror, crop {SCALE[0]} to {SCALE[1]}, {CROP}"


@dataclass(frozen=True)
class Augmentation:
    """How an augmented view is made of a photo."""

    angle: float  # degrees, counter-clockwise
    mirrored: bool
    scale: float
    across: float  # where the crop is, from 0, left, to 1, right
    down: float


def augmentation_of(digest: bytes, view: int) -> Augmentation:
    """How view 2, 3, … of the photo with this digest is made: as by chance, and always the same.

    BLAKE2b and not a library's generator, whose numbers may change with its version.
    """
    hashed = hashlib.blake2b(digest + view.to_bytes(4, "big"), digest_size=40, person=b"petrieve view").digest()
    angle, mirrored, scale, across, down = (number / 2**64 for number in struct.unpack(">5Q", hashed))  # 0 to 1 each
    least, most = SCALE
    return Augmentation(ANGLE * (2 * angle - 1), mirrored < 0.5, least + (most - least) * scale, across, down)


def views_of(pixels: "Tensor", digest: bytes, wanted: Iterable[int]) -> "Tensor":
    """The wanted views (V, 3, 224, 224), 0, 1, 2, …, of the upright pixels (3, H, W) of the photo with this digest.

    View 1 is view 0 mirrored: it gains as much as four drawn ones, and costs one. Those from 2 on are drawn.
    """
    import torch

    canonical, made = None, []
    for view in wanted:
        if view > 1:
            made.append(augmented_view(pixels, augmentation_of(digest, view)))
            continue
        canonical = canonical_view(pixels) if canonical is None else canonical  # of both, resized once
        made.append(canonical.flip(-1) if view else canonical)
    return torch.stack(made)


def augmented_view(pixels: "Tensor", how: Augmentation) -> "Tensor":
    """Of a square crop of upright pixels (3, H, W), resized and rotated about its middle, the middle (3, 224, 224).

    The crop is resized to more than 224, so that its rotated middle has no corner outside.
    """
    from torch.nn.functional import interpolate

    short, long = sorted(pixels.shape[-2:])
    pixels = centred(pixels, MAX_ASPECT * short) if long > MAX_ASPECT * short else pixels  # as in view 0
    height, width = pixels.shape[-2:]
    side = max(1, round(how.scale * short))
    top, left = round(how.down * (height - side)), round(how.across * (width - side))
    crop = pixels[None, :, top : top + side, left : left + side]
    turn = math.radians(how.angle)
    size = 2 * math.ceil(CROP / 2 * (abs(math.cos(turn)) + abs(math.sin(turn))))
    view = _rotated(interpolate(crop, [size, size], mode="bilinear", antialias=True), turn)[0]
    return view.flip(-1) if how.mirrored else view


def _rotated(square: "Tensor", turn: float) -> "Tensor":
    """The middle (1, 3, 224, 224) of a square (1, 3, S, S), turned counter-clockwise; bilinear."""
    import torch
    from torch.nn.functional import grid_sample

    steps = torch.linspace((1 - CROP) / 2, (CROP - 1) / 2, CROP)  # pixels from the middle to the middle of each
    x, y = steps[None, :], steps[:, None]
    half = square.shape[-1] / 2
    cos, sin = math.cos(turn) / half, math.sin(turn) / half
    grid = torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1)[None]  # (1, 224, 224, 2), from -1 to 1
    return grid_sample(square.float(), grid, align_corners=False).round().to(torch.uint8)


def check_views(number: int) -> None:
    """Refuse an impossible number of augmented views.

    Raises:
        PetrieveError: it is below 0 or above MAX_VIEWS.
    """
    if not 0 <= number <= MAX_VIEWS:
        raise PetrieveError(f"there cannot be {number} augmented views", f"name a number from 0 to {MAX_VIEWS}")
