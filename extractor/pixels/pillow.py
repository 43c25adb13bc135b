"""The bytes of one photo → an RGB image, by Pillow, in the process that asks."""

import warnings
from functools import cache
from io import BytesIO
from types import ModuleType
from typing import TYPE_CHECKING, Any

from petrieve.extractor.pixels.levels import check_colours, eight_bits, is_deep
from petrieve.extractor.pixels.orientation import taken_out
from petrieve.extractor.pixels.png import SIGNATURE, bare
from petrieve.extractor.sources.bounds import max_megapixels
from petrieve.extractor.sources.formats import is_photo
from petrieve.store.errors import NO_MEMORY, Undecodable

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

# Pillow opens 40 formats and more, one of them (EPS) by running the program that the file is.
PLAIN = ("JPEG", "PNG", "WEBP")
ALL = (*PLAIN, "GIF", "BMP", "TIFF", "AVIF", "HEIF")
JPEG = ("JPEG", "MPO")  # a JPEG with others behind it; Pillow tells them apart


class Damaged(Undecodable):
    """A photo whose pixels are partly lost: the rest can be decoded, if that is asked for."""


def is_lost(pixels: "np.ndarray") -> bool:
    """Whether hardly anything is left of a damaged photo (H, W, 3): decoders fill lost pixels with one colour."""
    return bool((pixels == pixels[-1, -1]).mean() > 0.99)


def opened(data: bytes, formats: tuple[str, ...]) -> "Image.Image":
    """The photo in `data` with its header read: format, mode and size are known, and no pixel is decoded.

    Raises:
        Undecodable: none of these formats, no readable header, or over `max_megapixels`.
    """
    pillow = _pillow("HEIF" in formats)
    if not data:
        raise Undecodable("an empty file")
    pixels, info = _without_the_rest(data)
    try:
        image: Image.Image = pillow.open(BytesIO(pixels), formats=formats)
        image.info.update(info)
        return image
    except pillow.DecompressionBombError as error:
        raise Undecodable(f"over {max_megapixels()} megapixels") from error
    except pillow.UnidentifiedImageError as error:
        raise Undecodable("damaged: no readable header" if is_photo(data[:64]) else "not a photo") from error
    except MemoryError as error:
        raise Undecodable(NO_MEMORY) from error
    except Exception as error:  # what is wrong in a header can raise nearly everything
        raise Undecodable("damaged: no readable header") from error


def rgb(image: "Image.Image") -> "Image.Image":
    """An opened photo, decoded, as RGB with transparency on white; as it is stored, not turned.

    Raises:
        Damaged: damaged, or cut short.
        Undecodable: its numbers are not of 8 bits, and nothing tells what is black and white.
    """
    rawmode = _rawmode(image)
    try:
        image.load()
        check_colours(image, rawmode)
        return _rgb(image)
    except Undecodable:
        raise
    except MemoryError as error:
        raise Undecodable(NO_MEMORY) from error
    except Exception as error:  # decoders raise nearly everything on damaged files
        raise Damaged(f"damaged {image.format}: {_reason(error)}") from error


def _without_the_rest(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """A photo without the metadata that stops or misleads Pillow, and that metadata by name."""
    if data.startswith(SIGNATURE):
        return bare(data)
    if data.startswith((b"II*\0", b"MM\0*")):
        tiff, orientation = taken_out(data)
        return tiff, {"orientation": orientation}
    return data, {}


@cache
def _pillow(heif: bool) -> ModuleType:
    from PIL import Image

    if heif:
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.MAX_IMAGE_PIXELS = max_megapixels() * 500_000  # Pillow refuses from twice this number on
    # Warnings of broken EXIF and of sizes below the limit. Set once: catch_warnings is not for threads.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    return Image


def _rawmode(image: "Image.Image") -> str:
    """Pillow's name of the file's number format."""
    how = image.tile[0].args if getattr(image, "tile", None) else ""  # type: ignore[attr-defined]
    return str(how[0] if isinstance(how, tuple) and how else how)


def _rgb(image: "Image.Image") -> "Image.Image":
    """Any of Pillow's modes as RGB: alpha on white, deep numbers scaled to 8 bits."""
    from PIL import Image

    if is_deep(image):
        return Image.fromarray(eight_bits(image)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _reason(error: Exception) -> str:
    """Pillow's message, in words for the photo's owner."""
    words = str(error).lower()
    return "cut short" if "truncated" in words or "end of file" in words else "its pixels cannot be decoded"
