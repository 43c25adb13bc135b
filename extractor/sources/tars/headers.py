"""The headers of a tar, one after the other: ustar, GNU, pax, and the older ones that have no mark.

The format is that of POSIX.1-2017 (`pax`, "ustar Interchange Format") with GNU tar's additions to it. Nothing is
trusted: a header counts by its checksum, and where there is none, the next one is looked for.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from petrieve.extractor.sources.tars.unpacked import Bytes

BLOCK = 512
_ZEROS = bytes(BLOCK)
# Blocks of zeros after which nothing more is looked for. Two are the end; tars that were put behind each other have
# as many as fill a record of GNU tar, which is seldom longer.
_END = 2048
_LOOK = 1 << 18  # bytes that are searched at a time for the next header
_LONGEST = 1 << 20  # bytes of a long name, or of pax records
# Name, size, time, kind, target of a link, mark, and what stands before the name.
_FIELDS = struct.Struct("100s24x12s12s8xc100s6s82x155s12x")
_SUM = slice(148, 156)
_ADLER = 65521  # the first half of an Adler-32 is 1 and the sum of the bytes, modulo this
_LARGEST = 1 << 62  # bytes: places beyond are none
_SECONDS = (-62_135_596_800, 253_402_300_799)  # of the years 1 to 9999, as dates have them

FILE, HARD_LINK, SYMBOLIC_LINK, SPARSE = "0", "1", "2", "S"
# What no photo can be.
OTHERS = {"3": "device", "4": "device", "6": "named pipe", "M": "piece of a file"}
_FOLDER = "5"
_FILES = frozenset("0\x007")
_WITHOUT_DATA = frozenset("123456")
_SILENT = frozenset("5DVN")  # folders, also as GNU tar lists them, and what volumes are called
_OF_NEXT = frozenset("LKxX")  # a long name, that of a link, pax records
_OF_ALL = "g"


class Entry(NamedTuple):
    """An entry of a tar; names may hold bytes that are not UTF-8, as `os.fsdecode` has them."""

    name: str
    kind: str
    place: int  # of its data; its header is the block before them, but for sparse files
    size: int  # bytes
    modified: int  # microseconds since 1970, UTC
    checksum: int  # CRC-32 of its header
    link: str  # the name that a link leads to


class Damage(NamedTuple):
    """Where a tar has no header that should have one, or ends too early."""

    place: int
    what: str


def is_tar(head: bytes) -> bool:
    """Whether a file that begins so (512 bytes) is a tar; one without a mark is known by its first checksum."""
    return head[257:262] == b"ustar" or _is_sound(head)


def entries(file: Bytes, size: int | None) -> Iterator[Entry | Damage]:
    """The entries of a tar of `size` bytes (None if unknown), in order, and where it is damaged.

    Folders are passed over.
    """
    place: int | None = 0
    always: dict[bytes, bytes] = {}
    said: dict[bytes, bytes] = {}  # of the next entry
    while place is not None and (found := _header(file, place, size)):
        if isinstance(found, Damage):
            yield found
            place, said = _next(file, found.place + BLOCK), {}
            continue
        place = _behind(found)
        if found.kind in _OF_NEXT or found.kind == _OF_ALL:
            try:
                (said if found.kind in _OF_NEXT else always).update(_told(file, found))
            except ValueError:
                yield Damage(found.place, "an extended header is damaged")
            continue
        try:
            entry = _with(found, always | said)
        except ValueError:
            yield Damage(found.place, "an extended header is damaged")
            entry = found
        said = {}
        place = _behind(entry)
        if entry.kind not in _SILENT:
            yield entry
        if size is not None and entry.place + entry.size > size:
            yield Damage(entry.place, "it ends too early")
            place = _next(file, entry.place)  # the entry's size may be wrong


def _header(file: Bytes, place: int, size: int | None) -> Entry | Damage | None:
    """The next header from a place on, or what is there instead; None at the end."""
    zeros = 0
    while (block := _block(file, place)) == _ZEROS and zeros < _END:
        zeros += 1
        place += BLOCK
    if len(block) < BLOCK:
        return None if zeros or place == size else Damage(place, "it ends too early")
    if not _is_sound(block):
        return None if zeros > 1 else Damage(place, "a header is damaged")  # behind the end lies something else
    try:
        return _entry(file, block, place + BLOCK)
    except ValueError:
        return Damage(place, "a header is damaged")


def _block(file: Bytes, place: int) -> bytes:
    file.seek(place)
    return file.read(BLOCK)


def _is_sound(block: bytes) -> bool:
    """Whether a header's checksum is right, of bytes as they are or, as some have made it, as signed ones."""
    try:
        told = _number(block[_SUM])
    except ValueError:
        return False
    # A third of the time of sum(block), which a million headers show.
    off = zlib.adler32(block) % 65536 - 1 - sum(block[_SUM]) + 8 * ord(" ") - told
    return told > 0 and (off % _ADLER == 0 or off % _ADLER == 256 * sum(one > 127 for one in block) % _ADLER)


def _entry(file: Bytes, block: bytes, place: int) -> Entry:
    """The entry of a header whose next block is at a place.

    Raises:
        ValueError: a number is none.
    """
    name, length, time, kind, link, mark, before = _FIELDS.unpack(block)
    called = _word(name)
    if mark == b"ustar\0" and before[0]:
        called = f"{_word(before)}/{called}"
    kind = kind.decode("latin-1")
    if kind == "\0" and called[-1:] == "/":  # folders of before there was a kind for them
        kind = _FOLDER
    elif kind in _FILES:
        kind = FILE
    elif kind == SPARSE:
        more = block[482]
        while more and len(block) == BLOCK:  # further maps of where its data lie
            block = _block(file, place)
            more = len(block) == BLOCK and block[504]
            place += BLOCK
    size = 0 if kind in _WITHOUT_DATA else _sized(_number(length))
    return Entry(called, kind, place, size, _moment(_number(time)), zlib.crc32(block), _word(link))


def _number(field: bytes) -> int:
    """A number in octal digits or, as GNU tar writes it, in bytes."""
    if field[:1] >= b"\x80":
        value = int.from_bytes(field, "big", signed=field[0] == 255)
        return value if field[0] == 255 else value - (0x80 << 8 * (len(field) - 1))
    return int(field.partition(b"\0")[0].strip() or b"0", 8)


def _sized(number: int) -> int:
    if not 0 <= number < _LARGEST:
        raise ValueError("no size")
    return number


def _word(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape") if field[0] else ""


def _moment(seconds: int, fraction: int = 0) -> int:
    first, last = _SECONDS
    return seconds * 1_000_000 + fraction if first <= seconds <= last else 0


def _behind(entry: Entry) -> int:
    """Where the next header is."""
    return entry.place + -(-entry.size // BLOCK) * BLOCK


def _told(file: Bytes, entry: Entry) -> dict[bytes, bytes]:
    """What an entry records of the next one, by pax's keywords.

    Raises:
        ValueError: it is too long, cut off, or not in pax's records.
    """
    if entry.size > _LONGEST:
        raise ValueError("too long")
    file.seek(entry.place)
    data = file.read(entry.size)
    if entry.kind in "LK":
        return {b"path" if entry.kind == "L" else b"linkpath": data.partition(b"\0")[0]}
    found, place = dict[bytes, bytes](), 0
    while place < len(data) and data[place]:
        space = data.find(b" ", place, place + 20)
        length = int(data[place : max(space, place)])
        keyword, is_, value = data[space + 1 : place + length - 1].partition(b"=")
        if length < 5 or not is_ or place + length > len(data):
            raise ValueError("no record")
        found[keyword] = value
        place += length
    return found


def _with(entry: Entry, said: dict[bytes, bytes]) -> Entry:
    """An entry with what the one before it records.

    Raises:
        ValueError: a number is none.
    """
    if not said:
        return entry
    if path := said.get(b"GNU.sparse.name") or said.get(b"path"):
        entry = entry._replace(name=_word(path))
    if link := said.get(b"linkpath"):
        entry = entry._replace(link=_word(link))
    if (size := said.get(b"size")) and entry.kind not in _WITHOUT_DATA:
        entry = entry._replace(size=_sized(int(size)))
    if time := said.get(b"mtime"):
        seconds, _, fraction = time.partition(b".")
        micro = int(fraction.ljust(6, b"0")[:6])
        entry = entry._replace(modified=_moment(int(seconds), -micro if time[:1] == b"-" else micro))
    if any(keyword.startswith(b"GNU.sparse.") for keyword in said):
        entry = entry._replace(kind=SPARSE)
    return entry


def _next(file: Bytes, place: int) -> int | None:
    """Where, from a place on, the next header with a mark is; None where there is none."""
    while True:
        file.seek(place)
        blocks = file.read(_LOOK)
        marks = blocks[257::BLOCK]  # of each block the first letter of `ustar`
        number = marks.find(b"u")
        while number >= 0:
            start = number * BLOCK
            if blocks[start + 257 : start + 262] == b"ustar" and _is_sound(blocks[start : start + BLOCK]):
                return place + start
            number = marks.find(b"u", number + 1)
        if len(blocks) < _LOOK:
            return None
        place += _LOOK
