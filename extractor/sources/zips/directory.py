"""The entries of a zip, as its directory has them.

PKWARE's APPNOTE 6.3.10: a header before each entry, a directory of all behind them, and the end of that in the file's
last bytes.
"""

import struct
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from petrieve.extractor.sources.zips.unpack import HEADER, Window
from petrieve.store.errors import Undecodable

_CENTRAL = struct.Struct("<4s2B5H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_TAIL = _END64.size + _LOCATOR.size + _END.size + 0xFFFF  # the longest comment is the last thing in a file
_MOST = 1 << 30  # bytes of a directory: ten million entries take less
IN_EXTRA = 0xFFFFFFFF  # a size or an offset that takes more than 32 bits, and stands elsewhere
_UTF8 = 0x800
_UNIX = 3  # the systems on which an entry was made
_DOS = (0, 10, 14)


class Entry(NamedTuple):
    """What is known of an entry without reading it."""

    name: str
    flags: int
    method: int
    moment: int  # as DOS has it: a date, and in the lower 16 bits a time
    crc: int
    packed: int  # bytes in the file
    size: int  # bytes
    offset: int  # of its header
    limit: int  # where the next one begins
    least: int  # bytes that its header takes at least
    mode: int  # as Unix has it; 0 where it says nothing


@dataclass(frozen=True, eq=False)
class Directory:
    """The directory of a zip; its entries come in the order in which they lie."""

    data: bytes
    places: "array[int]"  # of the entries in data
    offsets: "array[int]"  # of the entries in the file
    start: int  # of the directory in the file: there the last entry ends

    def __iter__(self) -> Iterator[Entry]:
        """Its entries."""
        limits = [*self.offsets[1:], self.start]
        return map(self._entry, self.places, self.offsets, limits)

    def _entry(self, place: int, offset: int, limit: int) -> Entry:
        made = _CENTRAL.unpack_from(self.data, place)
        _, _, system, _, flags, method, time, date, crc, packed, size, length, more, _, _, _, attributes, _ = made
        start = place + _CENTRAL.size
        raw = self.data[start : start + length]
        extra = self.data[start + length : start + length + more] if more else b""
        if IN_EXTRA in (packed, size):
            size, packed, _ = longer(extra, size, packed, 0)
        name = text_of(raw, flags, extra)
        if system in _DOS and "\\" in name and "/" not in name:
            name = name.replace("\\", "/")
        mode = attributes >> 16 if system == _UNIX else 0
        return Entry(name, flags, method, date << 16 | time, crc, packed, size, offset, limit, HEADER + length, mode)


def directory(window: Window) -> Directory | None:
    """The directory of a zip; None where it has none, or one that cannot be read.

    Bytes may stand before the zip, as in files that unpack themselves, whether its offsets count them or not.

    Raises:
        OSError: the file cannot be read.
        Undecodable: it is one of several files of a zip.
    """
    first = max(0, window.size - _TAIL)
    tail = window.at(first, _TAIL)
    place = tail.rfind(b"PK\5\6")
    if place < 0 or place + _END.size > len(tail):
        return None
    _, disk, _, _, _, length, offset, _ = _END.unpack_from(tail, place)
    end = first + place
    if place >= _LOCATOR.size and tail[place - _LOCATOR.size :][:4] == b"PK\6\7":
        _, _, there, _ = _LOCATOR.unpack_from(tail, place - _LOCATOR.size)
        if found := _end64(window, end - _LOCATOR.size - _END64.size) or _end64(window, there):
            disk, length, offset, end = found
    if disk not in (0, 0xFFFF):
        raise Undecodable("it is one of several files of a zip, which must be joined: `zip -s 0`")
    if _MOST < length < window.size:
        raise Undecodable(f"its directory takes over {_MOST >> 20} MB")
    return _read(window, end - length, length, end - length - offset) or _read(window, offset, length, 0)


def _end64(window: Window, place: int) -> tuple[int, int, int, int] | None:
    """Disk, length, offset and end of the directory, by the longer record of its end at a place."""
    record = window.at(place, _END64.size) if place >= 0 else b""
    if record[:4] != b"PK\6\6" or len(record) < _END64.size:
        return None
    _, _, _, _, disk, _, _, _, length, offset = _END64.unpack(record)
    return disk, length, offset, place


def _read(window: Window, start: int, length: int, shift: int) -> Directory | None:
    """The directory that starts at a place, of a zip with `shift` bytes before it; None if there is none."""
    if start < 0 or shift < 0 or start + length > window.size or (length and window.at(start, 4) != b"PK\1\2"):
        return None
    data = window.at(start, length)
    places, offsets = array("Q"), array("Q")
    place = 0
    while place + _CENTRAL.size <= length and data[place : place + 4] == b"PK\1\2":
        name, more, comment = struct.unpack_from("<3H", data, place + 28)
        (offset,) = struct.unpack_from("<L", data, place + 42)
        end = place + _CENTRAL.size + name + more
        if offset == IN_EXTRA:
            packed, size = struct.unpack_from("<2L", data, place + 20)
            _, _, offset = longer(data[end - more : end], size, packed, offset)
        places.append(place)
        offsets.append(min(offset + shift, window.size))
        place = end + comment
    if place != length:
        return None
    order = sorted(range(len(places)), key=offsets.__getitem__)
    if order != list(range(len(places))):
        places, offsets = (array("Q", map(one.__getitem__, order)) for one in (places, offsets))
    return Directory(data, places, offsets, start)


def longer(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Size, packed size and offset, with what of them stands in the extra field of zip64."""
    field = _field(extra, 1)
    found = []
    for number in (size, packed, offset):
        if number == IN_EXTRA and len(field) >= 8:
            number, field = int.from_bytes(field[:8], "little"), field[8:]
        found.append(number)
    return found[0], found[1], found[2]


def _field(extra: bytes, kind: int) -> bytes:
    """What an extra field of a kind holds; nothing where there is none."""
    place = 0
    while place + 4 <= len(extra):
        found, length = struct.unpack_from("<2H", extra, place)
        if found == kind:
            return extra[place + 4 : place + 4 + length]
        place += 4 + length
    return b""


_encoding: str | None = None  # that the user named for names in zips


def names_are_in(encoding: str | None) -> None:
    """Set the encoding of names in zips that do not state it; None is UTF-8.

    Raises:
        LookupError: there is no such encoding.
    """
    global _encoding
    if encoding:
        b"a".decode(encoding, "replace")
    _encoding = encoding


def named_in() -> str | None:
    """The encoding that the user named for names in zips, if any."""
    return _encoding


def text_of(raw: bytes, flags: int, extra: bytes) -> str:
    """The name of an entry; bytes that its encoding does not have stand as they do in paths."""
    name, _, _ = raw.partition(b"\0")
    if name.isascii() and not extra and not _encoding:
        return name.decode()
    field = _field(extra, 0x7075)  # Info-ZIP's: the name in UTF-8, beside the CRC of the other
    if field[:5] == b"\1" + struct.pack("<L", zlib.crc32(raw)):
        return field[5:].partition(b"\0")[0].decode(errors="surrogateescape")
    if _encoding and not flags & _UTF8:
        try:
            return name.decode(_encoding)
        except UnicodeDecodeError:
            pass
    return name.decode(errors="surrogateescape")
