"""How a photo must be turned to be upright: the only reader of orientation, whatever decodes the pixels.

Decoders differ in what they accept. Here an orientation is a whole number from 1 to 8 in the first directory of
an EXIF segment, of whatever type and whatever its count says; else, where no segment has one, in XMP.
"""

import re
import struct
from itertools import chain
from typing import TYPE_CHECKING

from petrieve.extractor.pixels.ifd import entries, numbers

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

ORIENTATION = 0x0112  # EXIF 2.32
SHORT = 3  # the type that it should have
XMP_TAG, NO_TAG = 700, 701  # of a TIFF; the second is unused
LYING = (5, 6, 7, 8)  # its values of photos that lie on their side
EXIF, XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"  # how such segments of a JPEG begin
_PREFIX = re.compile(rb"""xmlns:([\w.-]+)\s*=\s*["']http://ns\.adobe\.com/tiff/1\.0/["']""")


def orientation(image: "Image.Image", otherwise: int = 1) -> int:
    """An opened photo's orientation, 1 to 8; another number where it says none.

    What libraries turn by themselves (HEIF) is upright as it comes; AVIF's own turns come from Pillow as EXIF.
    """
    if "orientation" in image.info:  # `opened` has taken it out
        return int(image.info["orientation"])
    if image.format not in ("JPEG", "MPO", "PNG", "WEBP", "AVIF"):
        return 1
    info = image.info
    exifs, xmps = [info.get("exif") or b""], [info.get("xmp") or b""] if image.format != "AVIF" else []
    for name, payload in getattr(image, "applist", []):
        if name == "APP1":
            (exifs if payload.startswith(EXIF) else xmps).append(payload)
    return first_of(exifs, xmps, otherwise)


def first_of(exifs: list[bytes], xmps: list[bytes], otherwise: int = 1) -> int:
    """The first orientation among EXIF, then XMP; another number where there is none."""
    return next(filter(None, chain(map(of_exif, exifs), map(of_xmp, xmps))), otherwise)


def turned(pixels: "np.ndarray", how: int) -> "np.ndarray":
    """Pixels (H, W, 3), turned as an orientation says."""
    import numpy as np

    if how == 1:
        return pixels
    pixels = pixels.transpose(1, 0, 2) if how in LYING else pixels  # then 5 is upright
    down, across = how in (3, 4, 7, 8), how in (2, 3, 6, 7)  # and the others, upside down or mirrored or both
    return np.ascontiguousarray(pixels[:: -1 if down else 1, :: -1 if across else 1])


def taken_out(tiff: bytes) -> tuple[bytes, int]:
    """A TIFF without its orientation, and that orientation: Pillow itself applies it in some spellings."""
    made, xmps = bytearray(tiff), []
    way = "<" if tiff.startswith(b"II") else ">"
    for entry in entries(tiff):
        tag = entry.field - 8  # it stands before type, count and value
        if entry.tag == ORIENTATION:
            struct.pack_into(f"{way}HIHH", made, tag + 2, SHORT, 1, 1, 0)
        elif entry.tag == XMP_TAG:
            xmps.append(bytes(numbers(tiff, entry)))
            struct.pack_into(f"{way}H", made, tag, NO_TAG)
    return bytes(made), first_of([tiff], xmps)


def of_exif(exif: bytes) -> int | None:
    """The orientation in EXIF or a TIFF; None if it is not from 1 to 8."""
    while exif.startswith(EXIF):  # some write it twice
        exif = exif[len(EXIF) :]
    found = (entry.number for entry in entries(exif) if entry.tag == ORIENTATION)
    return next((number for number in found if number and number <= 8), None)


def of_xmp(xmp: bytes) -> int | None:
    """The orientation in XMP, an attribute or an element; None if it is not from 1 to 8."""
    for prefix in [*_PREFIX.findall(xmp), b"tiff"]:
        found = re.search(re.escape(prefix) + rb""":Orientation\s*(?:=\s*["']|>)\s*([1-8])\s*["'<]""", xmp)
        if found:
            return int(found[1])
    return None
