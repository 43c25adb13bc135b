"""A JPEG's pixels, and what its decoder complained of: libjpeg-turbo goes on over most damage, and only says so."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

START, END = b"\xff\xd8\xff", b"\xff\xd9"  # of a JPEG; the first begins its first segment too
SCAN = 0xDA  # the marker of a scan: pixels follow
# Bytes that a decoder reads ahead: its counts are not more exact than that. Webcams leave as many.
AHEAD = 8
# Messages (jerror.h, turbojpeg.c) about headers alone, or about what this interface cannot do and Pillow can.
HARMLESS = ("JFIF", "Adobe", "ICC", "SOS parameters for sequential", "subsampling", "color conversion", "precision")
FRAMES = (0xC0, 0xC1)  # markers of frames whose scans each give a colour all of its bits
TRIES = 100  # a head has fewer segments
_FILL = re.compile(rb"\xff+")  # what begins a marker
_FOREIGN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # a marker that pixels do not hold
_EXTRA = re.compile(r"(\d+) extraneous bytes before marker 0xd9")


def decoded(data: bytes, size: tuple[int, int]) -> "tuple[np.ndarray, str | None]":
    """RGB uint8 (H, W, 3) of a JPEG, as it is stored; and what of its pixels is lost.

    The size (width, height) is so many eighths of its own, each rounded up.

    Raises:
        ValueError: this interface of libjpeg-turbo gives up; Pillow's may show more, of which `lost` tells the worth.
    """
    import simplejpeg

    width, height = size
    try:
        return simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width), None
    except ValueError as error:
        if (mended := _of_one_scan(_without_junk(data))) != data:
            return decoded(mended, size)
        left = simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width, strict=False)
        return left, _meant(data, str(error))


def about(size: tuple[int, int], longer: int) -> tuple[int, int]:
    """The size at which a JPEG of this size leaves its decoder, where its longer edge will have so many pixels at most.

    That is up to an eighth less, which nobody has to resize; where no number of eighths gives that, it is more.
    """
    all_of_it = max(size)
    eighths = next((n for n in range(8, 0, -1) if longer * 7 / 8 <= all_of_it * n / 8 <= longer), 0)
    eighths = eighths or next((n for n in range(1, 8) if all_of_it * n / 8 >= longer), 8)
    return -(-size[0] * eighths // 8), -(-size[1] * eighths // 8)


def lost(data: bytes) -> str | None:
    """What is lost of a JPEG's pixels; None where all are there, as far as libjpeg-turbo can tell."""
    try:
        return decoded(data, (0, 0))[1]
    except ValueError as error:
        return None if any(words in str(error) for words in HARMLESS) else "corrupt data"


def _meant(data: bytes, complaint: str) -> str | None:
    """What is lost where the decoder said this; None where all pixels are there."""
    if "Premature end of JPEG file" in complaint and not data.endswith(END):
        return lost(data + END) and "cut short"  # only its end may be missing
    extra = _EXTRA.search(complaint)
    padded = extra and _is_padding(data, int(extra[1]))
    return None if padded or any(words in complaint for words in HARMLESS) else "corrupt data"


def _is_padding(data: bytes, extra: int) -> bool:
    """Whether `extra` bytes before the end are padding: few, or one repeated value from where the pixels end.

    Overwritten pixels can leave extra bytes too: a run of zeros then begins earlier.
    """
    start = max((end for marker, _, end in segments(data) if marker == SCAN), default=0)
    pixels = data[start : data.find(END, start)]
    run = len(pixels) - len(pixels.rstrip(pixels[-1:]))
    return extra <= AHEAD or extra <= run <= extra + AHEAD


def segments(data: bytes, start: int = 0) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of the payload of each segment of the JPEG that begins at `start`, up to its first scan's.

    They end early where what follows is not a segment.
    """
    place = start + 2
    while (fill := _FILL.match(data, place)) and fill.end() + 3 <= len(data):
        length = fill.end() + 1
        marker, end = data[length - 1], length + int.from_bytes(data[length : length + 2], "big")
        if not 0xC0 <= marker <= 0xFE or end < length + 2 or end > len(data):
            return
        yield marker, length + 2, end
        if marker == SCAN:
            return
        place = end


def _without_junk(data: bytes) -> bytes:
    """A JPEG without junk between the segments before its pixels."""
    head, place = data[:2], 2
    for _ in range(TRIES):
        place = data.find(b"\xff", place)
        if place < 0:
            break
        found = list(segments(data, place - 2))
        if found:
            end = found[-1][2]
            head += data[place:end]
            if found[-1][0] == SCAN:
                return head + data[end:]
        place = end if found else place + 1
    return data


def _of_one_scan(data: bytes) -> bytes:
    """A JPEG without junk between its pixels and its end, if one scan holds all pixels."""
    found = {marker: place for marker, place, _ in segments(data)}
    frame, scan = next((found[marker] for marker in FRAMES if marker in found), None), found.get(SCAN)
    if frame is None or scan is None or data[frame + 5 : frame + 6] != data[scan : scan + 1]:  # numbers of colours
        return data
    behind = _FOREIGN.search(data, scan)
    return data[: behind.start()] + END if behind else data
