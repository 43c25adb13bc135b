"""Pixels of more than 8 bits → 8, by the range that the file says they have."""

from typing import TYPE_CHECKING, Any

from petrieve.store.errors import Undecodable

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

# TIFF 6.0: sections 8 (the largest value used) and 19 (the same of any kind of number); and bits of a sample.
MAX, S_MIN, S_MAX, BITS = 281, 340, 341, 258
# 16-bit pixels that all lie below are of 14 bits or fewer, or nearly black: nothing tells which.
FULL = 1 << 14


def is_deep(image: "Image.Image") -> bool:
    """Whether a photo has one number of more than 8 bits for each pixel."""
    return image.mode == "F" or image.mode.startswith("I")


def eight_bits(image: "Image.Image") -> "np.ndarray":
    """The levels uint8 (H, W) of a decoded photo of one deep number for each pixel.

    Raises:
        Undecodable: the file does not say which numbers are black and white, and nothing else does.
    """
    import numpy as np

    levels = np.asarray(image)
    black, white = _stated(image, levels) or _of_16_bits(image, levels)
    if black == 0 and white == 65_535:
        return (levels.astype(np.int64).clip(0, white) // 257).astype(np.uint8)
    shares = (levels.astype(np.float64) - black) / (white - black)
    return (np.nan_to_num(shares).clip(0, 1) * 255).round().astype(np.uint8)


def check_colours(image: "Image.Image", rawmode: str) -> None:
    """Refuse 16-bit colours whose upper 8 bits, all that Pillow keeps, hold next to nothing.

    Raises:
        Undecodable: all lie below FULL, and the file does not say that they have all 16.
    """
    if ";16" in rawmode and not is_deep(image):
        highest = max(high for _, high in image.convert("RGB").getextrema())  # type: ignore[misc]
        if 0 < highest < FULL >> 8 and _bits(image) != 16:
            raise Undecodable("16-bit pixels without a known range")


def _stated(image: "Image.Image", levels: "np.ndarray") -> tuple[float, float] | None:
    """Black and white as a TIFF's tags or a PNG's `sBIT` say; None where they say nothing."""
    tags: Any = getattr(image, "tag_v2", {})
    bits = _bits(image)
    white = _number(tags.get(S_MAX)) or _number(tags.get(MAX))
    if white is None and bits is not None:
        # By its specification a PNG's numbers are scaled to all 16 bits; where they are not, they show it.
        white = (1 << bits) - 1 if levels.max() < 1 << bits else 65_535
    black = _number(tags.get(S_MIN)) or 0.0
    return (black, white) if white is not None and white > black else None


def _bits(image: "Image.Image") -> int | None:
    """How many bits of each number count, where the file says so."""
    if "sbit" in image.info:
        return max(image.info["sbit"], default=None)
    tags: Any = getattr(image, "tag_v2", {})
    bits = _number(tags.get(BITS))
    return int(bits) if bits and bits not in (16, 32, 64) else None


def _of_16_bits(image: "Image.Image", levels: "np.ndarray") -> tuple[float, float]:
    if image.mode == "F":
        raise Undecodable("floating-point pixels without a known range")
    if image.mode == "I":
        raise Undecodable("32-bit pixels without a known range")
    if 0 < levels.max() < FULL:
        raise Undecodable("16-bit pixels without a known range")
    return 0, 65_535


def _number(value: Any) -> float | None:
    """A tag's number, or the first of several; None where there is none."""
    try:
        return float(value[0] if isinstance(value, tuple) else value)
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return None
