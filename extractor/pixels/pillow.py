"""The bytes of one photo → an upright RGB image, by Pillow, in the process that asks."""

import warnings
from functools import cache
from io import BytesIO
from types import ModuleType
from typing import TYPE_CHECKING

from extractor.sources.formats import is_photo
from store.errors import NO_MEMORY, Undecodable

if TYPE_CHECKING:
    from PIL import Image

# The largest phone camera makes 16,320 × 12,240; decoded, that is 600 MB.
MAX_PIXELS = 200_000_000
# Pillow opens 40 formats and more, one of them (EPS) by running the program that the file is.
PLAIN = ("JPEG", "PNG", "WEBP")
ALL = (*PLAIN, "GIF", "BMP", "TIFF", "AVIF", "HEIF")
ORIENTATION = 0x0112  # EXIF 2.32
LYING = (5, 6, 7, 8)  # its values of photos that lie on their side


def upright(data: bytes) -> "Image.Image":
    """The photo in `data` as RGB: upright by its EXIF orientation, transparency on white.

    Raises:
        Undecodable: no photo in one of ALL formats, damaged, cut short, or over MAX_PIXELS.
    """
    with opened(data, ALL) as image:
        return turned(image)


def opened(data: bytes, formats: tuple[str, ...]) -> "Image.Image":
    """The photo in `data` with its header read: format, mode and size are known, and no pixel is decoded.

    Raises:
        Undecodable: none of these formats, no readable header, or over MAX_PIXELS.
    """
    pillow = _pillow("HEIF" in formats)
    if not data:
        raise Undecodable("an empty file")
    try:
        image: Image.Image = pillow.open(BytesIO(data), formats=formats)
        return image
    except pillow.DecompressionBombError as error:
        raise Undecodable(f"over {MAX_PIXELS / 1e6:.0f} megapixels") from error
    except pillow.UnidentifiedImageError as error:
        raise Undecodable("damaged: no readable header" if is_photo(data[:64]) else "not a photo") from error
    except MemoryError as error:
        raise Undecodable(NO_MEMORY) from error
    except Exception as error:  # what is wrong in a header can raise nearly everything
        raise Undecodable("damaged: no readable header") from error


def turned(image: "Image.Image") -> "Image.Image":
    """An opened photo, decoded, as RGB and upright.

    Raises:
        Undecodable: damaged, cut short, or of floating-point pixels, whose black and white nothing tells.
    """
    if image.mode == "F":
        raise Undecodable("floating-point pixels without a known range")
    try:
        image.load()
        return _rgb(_turned(image))
    except MemoryError as error:
        raise Undecodable(NO_MEMORY) from error
    except Exception as error:  # decoders raise nearly everything on damaged files
        raise Undecodable(f"damaged {image.format}: {_reason(error)}") from error


def orientation(image: "Image.Image") -> int:
    """An opened photo's EXIF orientation, 1 to 8; 1 where there is none or it cannot be read."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a camera's broken notes say nothing about its pixels
        return 1


@cache
def _pillow(heif: bool) -> ModuleType:
    from PIL import Image

    if heif:
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses from twice this number on
    # Of broken EXIF and of sizes below the limit. Once for all: catch_warnings is not for threads.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    return Image


def _turned(image: "Image.Image") -> "Image.Image":
    """The image upright. Pillow's `exif_transpose` also writes the EXIF anew, and fails where that is broken."""
    from PIL.Image import Transpose

    turn = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def _rgb(image: "Image.Image") -> "Image.Image":
    """Any of Pillow's modes but F as RGB: alpha on white, 16 bits scaled to 8."""
    import numpy as np
    from PIL import Image

    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64).clip(0, 65_535)
        return Image.fromarray((levels // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _reason(error: Exception) -> str:
    """What Pillow's words mean to the photo's owner."""
    words = str(error).lower()
    return "cut short" if "truncated" in words or "end of file" in words else "its pixels cannot be decoded"
