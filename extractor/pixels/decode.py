"""The bytes of one photo → upright uint8 RGB pixels → the views that the trunk is shown."""

from contextlib import suppress
from typing import TYPE_CHECKING

from extractor.pixels.apart import decode_apart
from extractor.pixels.pillow import LYING, PLAIN, opened, orientation, turned
from extractor.pixels.view import ENOUGH

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


def decode(data: bytes) -> "Tensor":
    """The photo in `data` as uint8 (3, H, W) RGB: upright by its EXIF orientation, transparency on white.

    JPEG, PNG, WebP, GIF (first frame), BMP, TIFF (first page), AVIF and HEIC, told by content. Pillow reads
    the header; torchcodec decodes plain JPEG, PNG and WebP, in half the time; everything else Pillow, in a
    process of its own.

    Raises:
        Undecodable: not one of these formats, damaged, cut short, over MAX_PIXELS, or more than its decoder can take.
        OSError: no process can be started for it.
    """
    if not _begins_plainly(data):
        return _apart(data)
    with opened(data, PLAIN) as image:
        return _pixels(data, image)


def decode_small(data: bytes) -> "tuple[Tensor, int, int]":
    """As many pixels (3, H, W) as `canonical_view` needs, and the upright photo's own width and height.

    A JPEG of more than twice that size leaves its decoder at a half, a quarter or an eighth of its own.

    Raises:
        Undecodable, OSError: as `decode`.
    """
    if not _begins_plainly(data):
        pixels = _apart(data)
        return pixels, pixels.shape[2], pixels.shape[1]
    with opened(data, PLAIN) as image:
        width, height = image.size if orientation(image) not in LYING else image.size[::-1]
        large = _is_jpeg(image) and min(width, height) >= 2 * ENOUGH
        pixels = _shrunk(image) if large else _pixels(data, image)
    return pixels, width, height


def upright_image(data: bytes) -> "Image.Image":
    """The same picture as a Pillow image, without torch.

    Raises:
        Undecodable, OSError: as `decode`.
    """
    from PIL import Image

    if _begins_plainly(data):
        with opened(data, PLAIN) as image:
            if _is_plain(data, image):
                return turned(image)
    width, height, pixels = decode_apart(data)
    return Image.frombuffer("RGB", (width, height), pixels, "raw", "RGB", 0, 1)


def _begins_plainly(data: bytes) -> bool:
    """Whether the first bytes are those of a JPEG, PNG or WebP."""
    return data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def _is_jpeg(image: "Image.Image") -> bool:
    """Whether libjpeg alone sees the picture, in colours that it knows."""
    return image.format == "JPEG" and image.mode in ("RGB", "L")


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
    elif _is_jpeg(image):
        return _as_tensor(turned(image))
    return _apart(data)


def _apart(data: bytes) -> "Tensor":
    import torch

    width, height, pixels = decode_apart(data)
    return torch.frombuffer(pixels, dtype=torch.uint8).view(height, width, 3).permute(2, 0, 1)  # (3, H, W)


def _shrunk(image: "Image.Image") -> "Tensor":
    """A large JPEG (3, H, W) with a shorter edge of at least ENOUGH."""
    factor = ENOUGH / min(image.size)
    image.draft(None, (int(image.width * factor), int(image.height * factor)))
    return _as_tensor(turned(image))


def _as_tensor(image: "Image.Image") -> "Tensor":
    import numpy as np
    import torch

    return torch.from_numpy(np.array(image)).permute(2, 0, 1)  # (3, H, W)
