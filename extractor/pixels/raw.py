"""Camera RAW: its sensor's numbers need a developer, so the largest picture that the camera put beside them is read.

All makers' formats hold these as whole JPEGs, and a JPEG's segments are not met by chance: no format is taken apart.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from petrieve.extractor.pixels.ifd import entries, numbers
from petrieve.extractor.pixels.jpeg import SCAN, START, segments
from petrieve.extractor.pixels.orientation import first_of
from petrieve.extractor.pixels.view import CROP
from petrieve.extractor.sources.formats import begins_as_raw
from petrieve.store.errors import Undecodable

# TIFF 6.0, TIFF/EP (ISO 12234-2) and DNG 1.7: tags, and values of how pixels are to be understood.
SUBFILE, PHOTOMETRIC, SUB_IFDS, DNG = 254, 262, 330, 50706
SENSOR = (32803, 34892)  # a colour filter array, and linear raw
JPEGS = (0xC0, 0xC1, 0xC2)  # processes that pictures have; a sensor's numbers are lossless JPEG (0xC3)
# A file of JPEG starts alone must not take for ever. A sensor of 100 megapixels in tiles has 1,600.
MAX_STARTS, SEGMENTS = 10_000, 60
MAX_DIRECTORIES = 20  # directories in a directory that are looked at
COPIES = 2  # a picture is there once or twice; more of one size are the tiles of a larger one


@dataclass(frozen=True)
class Preview:
    """A JPEG, with whatever follows it, and how it must be turned if it does not say so itself."""

    data: bytes
    orientation: int


def is_raw(data: bytes) -> bool:
    """Whether a file is camera RAW: told by its first bytes, or as a TIFF whose first picture is not the photo."""
    if begins_as_raw(data[:64]):
        return True
    if not data.startswith((b"II*\0", b"MM\0*")):
        return False
    tags = {entry.tag: entry for entry in entries(data)}
    reduced = SUB_IFDS in tags and SUBFILE in tags and bool((tags[SUBFILE].number or 0) & 1)
    return data[8:10] == b"CR" or DNG in tags or reduced or _of_a_sensor(data)


def preview(data: bytes) -> Preview:
    """The largest JPEG in a camera RAW.

    Raises:
        Undecodable: none has CROP pixels and more on its shorter side.
    """
    found = list(_pictures(data))
    counts = Counter(size for _, size in found)
    usable = [(start, size) for start, size in found if min(size) >= CROP and counts[size] <= COPIES]
    if not usable:
        raise Undecodable(f"a camera RAW without a preview of {CROP} pixels or more")
    start, _ = max(usable, key=lambda one: one[1][0] * one[1][1])
    box = data.find(b"CMT1") if data[4:8] == b"ftyp" else -1  # Canon's, of the first directory of tags
    return Preview(data[start:], first_of([data if box < 0 else data[box + 4 :]], []))


def _of_a_sensor(data: bytes) -> bool:
    """Whether some picture in the first directory of a TIFF, or in those below it, is a sensor's numbers."""
    first = list(entries(data))
    below = [at for entry in first if entry.tag == SUB_IFDS for at in numbers(data, entry)[:MAX_DIRECTORIES]]
    every = [*first, *(entry for at in below for entry in entries(data, at))]
    return any(entry.tag == PHOTOMETRIC and entry.number in SENSOR for entry in every)


def _pictures(data: bytes) -> Iterator[tuple[int, tuple[int, int]]]:
    """Where each JPEG of 8 bits and three colours begins, and its width and height."""
    start = -1
    for _ in range(MAX_STARTS):
        start = data.find(START, start + 1)
        if start < 0:
            return
        size = None
        for marker, place, _ in islice(segments(data, start), SEGMENTS):
            if marker in JPEGS and data[place] == 8 and data[place + 5 : place + 6] == b"\3":
                height, width = (int.from_bytes(data[place + at : place + at + 2], "big") for at in (1, 3))
                size = width, height
            if marker == SCAN and size:
                yield start, size
