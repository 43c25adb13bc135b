"""Upright pixels → the canonical view, which the trunk is shown."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

RESIZE = 255  # shorter edge; the founding document's figure (torchvision's preset for these weights: 256)
CROP = 224
# Every embedding depends on this text: the fingerprint covers it.
RECIPE = f"view 0: upright RGB on white, resize {RESIZE} antialiased bilinear, centre crop {CROP}"
# Wider photos lose their ends before the resize, which would otherwise blow up the long side.
MAX_ASPECT = 16
# A shorter edge that is enough to resize to RESIZE: twice as long.
ENOUGH = 2 * RESIZE


def canonical_view(pixels: "Tensor") -> "Tensor":
    """View 0 of upright pixels (3, H, W): torchvision's `Resize(255)` and `CenterCrop(224)`, pixel by pixel."""
    from torch.nn.functional import interpolate

    short, long = sorted(pixels.shape[-2:])
    if long > MAX_ASPECT * short:
        pixels = centred(pixels, MAX_ASPECT * short)
        short, long = sorted(pixels.shape[-2:])
    size = [RESIZE if side == short else int(RESIZE * long / short) for side in pixels.shape[-2:]]
    return centred(interpolate(pixels[None], size, mode="bilinear", antialias=True)[0], CROP)  # (3, 224, 224)


def centred(pixels: "Tensor", side: int) -> "Tensor":
    """The middle of an image, at most `side` pixels high and wide."""
    height, width = pixels.shape[-2:]
    top, left = (max(0, round((whole - side) / 2)) for whole in (height, width))
    return pixels[:, top : top + side, left : left + side]
