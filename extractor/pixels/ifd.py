"""The numbers in a file's first directory of tags: of TIFF, of most camera RAW, and of EXIF, which is a TIFF too."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

MAX_TAGS = 1000  # tags; a damaged file may claim 65,535
# How many bytes a number of each type has (TIFF 6.0, section 2). Signed and unsigned are one here.
_BYTES = {1: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4, 13: 4}


@dataclass(frozen=True)
class Entry:
    """One tag."""

    tag: int
    type: int
    count: int
    field: int  # where in the file its four bytes of value or offset are
    number: int | None  # the value as one number of its type; None of an unknown type


def entries(tiff: bytes, at: int | None = None) -> Iterator[Entry]:
    """The tags of the directory at an offset, by default the first; as many as can be read, whatever else is wrong."""
    if not tiff.startswith((b"II", b"MM")):
        return
    way, order = ("<", "little") if tiff.startswith(b"II") else (">", "big")
    try:
        start = struct.unpack_from(f"{way}I", tiff, 4)[0] if at is None else at
        (count,) = struct.unpack_from(f"{way}H", tiff, start)
        for field in range(start + 2, start + 2 + 12 * min(count, MAX_TAGS), 12):
            tag, type_, many = struct.unpack_from(f"{way}HHI", tiff, field)
            size = _BYTES.get(type_)
            value = tiff[field + 8 : field + 12]
            if len(value) < 4:
                return
            number = int.from_bytes(value[:size], order) if size else None  # type: ignore[arg-type]
            yield Entry(tag, type_, many, field + 8, number)
    except struct.error:  # it ends, or points outside
        return


def numbers(tiff: bytes, entry: Entry) -> list[int]:
    """All numbers of a tag, also where they do not fit into its four bytes; none where they cannot be read."""
    size = _BYTES.get(entry.type)
    if not size or not 0 < entry.count <= len(tiff):
        return []
    order: Literal["little", "big"] = "little" if tiff.startswith(b"II") else "big"
    fits = size * entry.count <= 4
    start = entry.field if fits else int.from_bytes(tiff[entry.field : entry.field + 4], order)
    data = tiff[start : start + size * entry.count]
    return [int.from_bytes(data[place : place + size], order) for place in range(0, len(data), size)]
