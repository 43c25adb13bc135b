"""The bytes of one photo → upright uint8 RGB pixels → the views that the trunk is shown."""

import warnings
from contextlib import suppress
from functools import cache
from io import BytesIO
from types import ModuleType
from typing import TYPE_CHECKING

from extractor.errors import first_line
from extractor.photos import is_photo

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

RESIZE = 255  # shorter edge; the founding document's figure (torchvision's preset for these weights: 256)
CROP = 224
# Every embedding depends on these words: the fingerprint covers them.
RECIPE = f"view 0: upright RGB on white, resize {RESIZE} antialiased bilinear, centre crop {CROP}"
# The largest phone camera makes 16,320 × 12,240; decoded, that is 600 MB.
MAX_PIXELS = 200_000_000
# Wider photos lose their ends before the resize, which would otherwise blow up the long side.
MAX_ASPECT = 16

# A shorter edge from which a resize to RESIZE shows what the whole photo would: twice as long.
ENOUGH = 2 * RESIZE
ORIENTATION, LYING = 0x0112, (5, 6, 7, 8)  # EXIF 2.32: the tag, and its values of photos that lie on their side


class Undecodable(Exception):
    """Why the bytes are not a photo that can be shown, in words for its owner."""


def decode(data: bytes) -> "Tensor":
    """The photo in `data` as uint8 (3, H, W) RGB: upright by its EXIF orientation, transparency on white.

    JPEG, PNG, WebP, GIF (first frame), BMP, TIFF (first page), AVIF and HEIC, told by content. Pillow reads
    the header; torchcodec decodes plain JPEG, PNG and WebP, in half the time, and Pillow everything else.

    Raises:
        Undecodable: not one of these formats, damaged, cut short, or over MAX_PIXELS.
    """
    with _open(data) as image:
        return _pixels(data, image)


def decode_small(data: bytes) -> "tuple[Tensor, int, int]":
    """As many pixels (3, H, W) as `canonical_view` needs, and the upright photo's own width and height.

    A JPEG of more than twice that size leaves its decoder at a half, a quarter or an eighth of its own.

    Raises:
        Undecodable: as `decode`.
    """
    with _open(data) as image:
        width, height = _upright_size(image)
        large = image.format == "JPEG" and min(width, height) >= 2 * ENOUGH
        pixels = _shrunk(image) if large else _pixels(data, image)
    return pixels, width, height


def upright_image(data: bytes) -> "Image.Image":
    """The same picture as a Pillow image, without torch.

    Raises:
        Undecodable: as `decode`.
    """
    with _open(data) as image:
        return _upright(image)


def canonical_view(pixels: "Tensor") -> "Tensor":
    """View 0 of upright pixels (3, H, W): torchvision's `Resize(255)` and `CenterCrop(224)`, pixel by pixel."""
    from torch.nn.functional import interpolate

    short, long = sorted(pixels.shape[-2:])
    if long > MAX_ASPECT * short:
        pixels = _centre(pixels, MAX_ASPECT * short)
        short, long = sorted(pixels.shape[-2:])
    size = [RESIZE if side == short else int(RESIZE * long / short) for side in pixels.shape[-2:]]
    return _centre(interpolate(pixels[None], size, mode="bilinear", antialias=True)[0], CROP)  # (3, 224, 224)


def _centre(pixels: "Tensor", side: int) -> "Tensor":
    """The middle of an image, at most `side` pixels high and wide."""
    height, width = pixels.shape[-2:]
    top, left = (max(0, round((whole - side) / 2)) for whole in (height, width))
    return pixels[:, top : top + side, left : left + side]


def _open(data: bytes) -> "Image.Image":
    pillow = _pillow()
    if not data:
        raise Undecodable("an empty file")
    try:
        image: Image.Image = pillow.open(BytesIO(data))
        return image
    except pillow.DecompressionBombError as error:
        raise Undecodable(f"over {MAX_PIXELS / 1e6:.0f} megapixels") from error
    except pillow.UnidentifiedImageError as error:
        known = is_photo(data[:64])
        raise Undecodable("damaged: no readable header" if known else "not a photo") from error
    except Exception as error:
        raise Undecodable(f"damaged: {first_line(error)}") from error


def _upright_size(image: "Image.Image") -> tuple[int, int]:
    try:
        lies = image.getexif().get(ORIENTATION) in LYING
    except Exception as error:
        raise Undecodable(f"damaged {image.format}: {first_line(error)}") from error
    return (image.height, image.width) if lies else (image.width, image.height)


def _upright(image: "Image.Image") -> "Image.Image":
    from PIL import ImageOps

    try:
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # decoders raise nearly everything on damaged files
        raise Undecodable(f"damaged {image.format}: {first_line(error)}") from error


@cache
def _pillow() -> ModuleType:
    import pillow_heif
    from PIL import Image

    pillow_heif.register_heif_opener()
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses from twice this number on
    # Of broken EXIF and of sizes below the limit. Once for all: catch_warnings is not for threads.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    return Image


def _is_plain(data: bytes, image: "Image.Image") -> bool:
    """Whether torchcodec is known to see the same picture as Pillow."""
    if image.mode not in ("RGB", "L") or "transparency" in image.info or getattr(image, "is_animated", False):
        return False
    if image.format == "JPEG":  # torchcodec looks for the orientation in the first APP1 segment alone
        segments = [payload for name, payload in getattr(image, "applist", []) if name == "APP1"]
        return not segments or segments[0].startswith(b"Exif\0\0")
    # PNG and WebP hold their orientation in places that differ from decoder to decoder.
    return not any(mark in data for mark in (b"eXIf", b"EXIF", b"Raw profile type", b"XMP ", b"com.adobe.xmp"))


_TORCHCODEC = {"JPEG": "decode_jpeg", "PNG": "decode_png", "WEBP": "decode_webp"}


def _with_torchcodec(decoder: str, data: bytes) -> "Tensor":
    import torch
    from torchcodec import decoders

    # A writable copy: torch warns of every other kind.
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    pixels: Tensor = getattr(decoders, decoder)(encoded, mode="RGB")
    return pixels


def _pixels(data: bytes, image: "Image.Image") -> "Tensor":
    fast = _TORCHCODEC.get(str(image.format))
    if fast and _is_plain(data, image):
        with suppress(RuntimeError):  # Pillow takes some files that torchcodec refuses, and names the damage
            return _with_torchcodec(fast, data)
    return _as_tensor(_upright(image))


def _shrunk(image: "Image.Image") -> "Tensor":
    """A large JPEG (3, H, W) with a shorter edge of at least ENOUGH."""
    factor = ENOUGH / min(image.size)
    image.draft(None, (int(image.width * factor), int(image.height * factor)))
    return _as_tensor(_upright(image))


def _as_tensor(image: "Image.Image") -> "Tensor":
    import numpy as np
    import torch

    return torch.from_numpy(np.array(image)).permute(2, 0, 1)  # (3, H, W)


def _to_rgb(image: "Image.Image") -> "Image.Image":
    """Any of Pillow's modes as RGB: alpha on white, 16 bits scaled to 8.

    Raises:
        ValueError: floating-point pixels, whose black and white nothing tells.
    """
    import numpy as np
    from PIL import Image

    if image.mode == "F":
        raise ValueError("floating-point pixels without a known range")
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64).clip(0, 65_535)
        return Image.fromarray((levels // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
