"""The bytes of an entry of a zip, within bounds."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from petrieve.extractor.sources.bounds import max_bytes
from petrieve.store.errors import Undecodable

AHEAD = 4 << 20  # bytes that are read at once
STEP = 1 << 16  # bytes that are unpacked at once
STORED, DEFLATED = 0, 8
SIGNATURE = b"PK\3\4"
_LOCAL = struct.Struct("<4s5H3L2H")
HEADER = _LOCAL.size
CUT_OFF = "the archive is cut off in it"


class Header(NamedTuple):
    """What stands before an entry's bytes; sizes and CRC are 0 where they stand behind them."""

    flags: int
    method: int
    moment: int
    crc: int
    packed: int
    size: int
    name: bytes
    extra: bytes
    length: int  # of the header


@dataclass
class Window:
    """A file that is read ahead, up to a place that callers can set."""

    file: BinaryIO
    size: int
    until: int = 0
    _start: int = 0
    _data: bytes = field(default=b"", repr=False)

    def at(self, place: int, count: int) -> bytes:
        """`count` bytes from a place on; fewer at the file's end.

        Raises:
            OSError: they cannot be read.
        """
        count = max(0, min(count, self.size - place))
        start = place - self._start
        if count and not 0 <= start <= start + count <= len(self._data):
            self._data = b""
            self.file.seek(place)
            self._data = self.file.read(max(count, min(AHEAD, self.until - place)))
            self._start, start = place, 0
        return self._data[start : start + count] if count else b""


def header(window: Window, place: int) -> Header | None:
    """The header at a place; None where none is, or the file ends in it."""
    fixed = window.at(place, _LOCAL.size)
    if len(fixed) < _LOCAL.size or fixed[:4] != SIGNATURE:
        return None
    _, _, flags, method, time, date, crc, packed, size, name, extra = _LOCAL.unpack(fixed)
    rest = window.at(place + _LOCAL.size, name + extra)
    if len(rest) < name + extra:
        return None
    length = _LOCAL.size + name + extra
    return Header(flags, method, date << 16 | time, crc, packed, size, rest[:name], rest[name:], length)


def content(window: Window, place: int, method: int, size: int, crc: int) -> bytes:
    """The bytes of an entry whose packed bytes begin at a place; their number and CRC are checked.

    Raises:
        OSError: they cannot be read.
        Undecodable: they are others, fewer or more, or over `max_bytes`.
    """
    if size > max_bytes():
        raise Undecodable(f"over {max_bytes() >> 20} MB")
    data = window.at(place, size) if method == STORED else b"".join(_inflated(window, place, size))
    if len(data) < size:
        raise Undecodable(CUT_OFF if method == STORED else f"it unpacks to {len(data)} bytes instead of {size}")
    if zlib.crc32(data) != crc:
        raise Undecodable("its bytes have changed since they were packed: the CRC differs")
    return data


def _inflated(window: Window, place: int, size: int) -> Iterator[bytes]:
    stream, fed, left = zlib.decompressobj(-zlib.MAX_WBITS), 0, size
    while not stream.eof:
        packed = window.at(place + fed, STEP)
        if not packed:
            raise Undecodable(CUT_OFF)
        fed += len(packed)
        if fed > 2 * size + 2 * STEP:
            raise Undecodable(f"it takes more than twice the {size} bytes that it is to unpack to")
        made = _fed(stream, packed, left + 1)
        left -= len(made)
        if left < 0:
            raise Undecodable(f"it unpacks to more than the {size} bytes that the archive says")
        yield made


def _fed(stream: "zlib._Decompress", packed: bytes, most: int) -> bytes:
    try:
        return stream.decompress(packed, most)
    except zlib.error as error:
        raise Undecodable("its packed bytes are damaged") from error


def first_bytes(window: Window, place: int, count: int) -> bytes:
    """The first bytes of the entry whose header is at a place; fewer where it has no more or cannot be unpacked."""
    found = header(window, place)
    if not found or found.flags & 1 or found.method not in (STORED, DEFLATED):
        return b""
    packed = window.at(place + found.length, 8 * count)
    if found.method == STORED:
        return packed[:count]
    try:
        return _fed(zlib.decompressobj(-zlib.MAX_WBITS), packed, count)
    except Undecodable:
        return b""


def measured(window: Window, place: int) -> tuple[int, int]:
    """Packed size and size of deflated bytes that begin at a place.

    Raises:
        OSError: they cannot be read.
        Undecodable: they are damaged, end too soon, or are more than `max_bytes`.
    """
    stream, fed, size, packed = zlib.decompressobj(-zlib.MAX_WBITS), 0, 0, b""
    most = max_bytes()
    while not stream.eof:
        if not packed:
            packed = window.at(place + fed, STEP)
            fed += len(packed)
            if not packed:
                raise Undecodable(CUT_OFF)
        size += len(_fed(stream, packed, 16 * STEP))
        packed = stream.unconsumed_tail
        if max(size, fed // 2) > most:
            raise Undecodable(f"over {most >> 20} MB")
    return fed - len(stream.unused_data), size
