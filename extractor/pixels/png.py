"""A PNG reduced to its pixels: a broken text, colour profile or checksum of one does not stop its decoding."""

import re
import zlib
from collections.abc import Iterator
from typing import Any

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # PNG (Third Edition), section 11
# Of a text, inflated; what cameras and editors say of a photo's orientation is far shorter.
MAX_TEXT_BYTES = 1 << 20
# As ImageMagick writes them, in hexadecimal.
_PROFILES = tuple(b"Raw profile type " + name for name in (b"exif", b"APP1", b"xmp"))
_XMP = b"XML:com.adobe.xmp"
_HEX = re.compile(rb"[^0-9a-fA-F]")


def bare(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """A PNG of pixels alone, and metadata of the rest: `exif`, `xmp` and how many bits count (`sbit`).

    Of an animation the still picture is left.
    """
    parts, info = [SIGNATURE], dict[str, Any]()
    for kind, start, end in _chunks(data):
        if kind in PIXELS:
            parts.append(data[start - 8 : end + 4])
        elif kind == b"eXIf":
            info.setdefault("exif", data[start:end])
        elif kind == b"sBIT":
            info.setdefault("sbit", tuple(data[start:end]))
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            name, text = _text(kind, data[start:end])
            if name == _XMP:
                info.setdefault("xmp", text)
            elif name in _PROFILES:
                profile = _profile(text)
                is_xmp = b"xmp" in name or b"ns.adobe.com/xap" in profile[:40]
                info.setdefault("xmp" if is_xmp else "exif", profile)
    return b"".join(parts), info


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The kind of each chunk, and where its content begins and ends; the last may be cut short."""
    place = len(SIGNATURE)
    while place + 8 <= len(data):
        start, end = place + 8, place + 8 + int.from_bytes(data[place : place + 4], "big")
        yield data[place + 4 : start], start, end
        place = end + 4


def _text(kind: bytes, content: bytes) -> tuple[bytes, bytes]:
    """The name of a text and the text, inflated; empty where that cannot be."""
    name, _, rest = content.partition(b"\0")
    packed = kind == b"zTXt"
    if packed:
        rest = rest[1:]
    elif kind == b"iTXt":
        packed = rest[:1] == b"\1"
        rest = rest[2:].split(b"\0", 2)[-1]
    if not name.startswith((*_PROFILES, _XMP)):
        return name, b""
    try:
        return name, zlib.decompressobj().decompress(rest, MAX_TEXT_BYTES) if packed else rest
    except zlib.error:
        return name, b""


def _profile(text: bytes) -> bytes:
    """What ImageMagick writes as a name, a length and hexadecimal digits."""
    digits = _HEX.sub(b"", b"".join(text.split(b"\n")[3:]))
    return bytes.fromhex(digits[: len(digits) // 2 * 2].decode())
