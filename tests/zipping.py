"""Zips as tools write them, and as no tool should: byte by byte, so that each field can have any value."""

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from petrieve.extractor.sources.blob import blob_at
from petrieve.extractor.sources.source import Source
from petrieve.extractor.sources.zips.entries import Zip
from petrieve.store.rows import Unreadable

STREAMED, ENCRYPTED, UTF8 = 8, 1, 0x800
LINK = 0o120777


@dataclass(frozen=True)
class Item:
    """An entry; what is None is as it should be."""

    name: bytes
    data: bytes
    method: int = 0
    flags: int = 0
    system: int = 3
    mode: int = 0o100644
    moment: int = 0x5B7A6000
    extra: bytes = b""
    zip64: bool = False
    crc: int | None = None
    size: int | None = None
    own_name: bytes | None = None  # in its own header
    at: int | None = None  # where the directory says that it is


def packed(item: Item) -> bytes:
    if item.method != 8:
        return item.data
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(item.data) + stream.flush()


def _fields(item: Item, *, offset: int | None) -> tuple[bytes, bytes]:
    """What an entry's header and its line in the directory have in common, and its extra fields."""
    body, size = packed(item), len(item.data) if item.size is None else item.size
    crc = zlib.crc32(item.data) if item.crc is None else item.crc
    sizes, extra = (len(body), size), item.extra
    if offset is None and item.flags & STREAMED:
        crc, sizes = 0, (0, 0)
    elif item.zip64:
        longer = [size, len(body), *([] if offset is None else [offset])]
        extra += struct.pack(f"<2H{len(longer)}Q", 1, 8 * len(longer), *longer)
        sizes = 0xFFFFFFFF, 0xFFFFFFFF
    name = item.name if offset is not None or item.own_name is None else item.own_name
    time, date = item.moment & 0xFFFF, item.moment >> 16
    fields = struct.pack("<5H3L2H", 20, item.flags, item.method, time, date, crc, *sizes, len(name), len(extra))
    return fields, name + extra


def header(item: Item) -> bytes:
    fields, names = _fields(item, offset=None)
    return b"PK\3\4" + fields + names


def body(item: Item) -> bytes:
    """What stands in the file for an entry."""
    made = header(item) + packed(item)
    if item.flags & STREAMED:
        sizes = struct.pack("<2Q" if item.zip64 else "<2L", len(packed(item)), len(item.data))
        made += b"PK\7\10" + struct.pack("<L", zlib.crc32(item.data)) + sizes
    return made


def line(item: Item, offset: int) -> bytes:
    """An entry's line in the directory."""
    fields, names = _fields(item, offset=offset)
    where = 0xFFFFFFFF if item.zip64 else offset
    return b"PK\1\2" + bytes([20, item.system]) + fields + struct.pack("<3H2L", 0, 0, 0, item.mode << 16, where) + names


def end(count: int, length: int, offset: int, comment: bytes = b"", *, zip64: bool = False, disk: int = 0) -> bytes:
    made = b""
    if zip64:
        made = b"PK\6\6" + struct.pack("<Q2H2L4Q", 44, 45, 45, 0, 0, count, count, length, offset)
        made += b"PK\6\7" + struct.pack("<LQL", 0, offset + length, 1)
        count, length, offset = 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF
    return made + b"PK\5\6" + struct.pack("<4H2LH", disk, disk, count, count, length, offset, len(comment)) + comment


def zipped(
    items: Sequence[Item],
    *,
    before: bytes = b"",
    counted: bool = True,
    comment: bytes = b"",
    zip64: bool = False,
    directory: bool = True,
) -> bytes:
    """A zip; `before` stands before it, and its offsets have `counted` that or not."""
    made, lines = bytearray(before), b""
    away = 0 if counted else len(before)
    for item in items:
        one = replace(item, zip64=item.zip64 or zip64)
        lines += line(one, len(made) - away if item.at is None else item.at)
        made += body(one)
    if directory:
        start = len(made) - away
        made += lines + end(len(items), len(lines), start, comment, zip64=zip64)
    return bytes(made)


def picture(colour: str, kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (9, 8), colour).save(data, kind)
    return data.getvalue()


RED, BLUE, GREEN = picture("red"), picture("blue", "JPEG"), picture("green", "GIF")
Held = dict[str, bytes | str]


def held(source: Source) -> Held:
    """What a source gives of each photo, by uri: its bytes, or why they cannot be read."""
    found: Held = {}
    for part in source.parts():
        for photo in part.photos:
            assert photo.uri not in found, f"{photo.uri} is there twice"
            found[photo.uri] = ""
        for read in part.read({photo.uri for photo in part.photos}):
            photo, got = (read.photo, read.reason) if isinstance(read, Unreadable) else read
            assert not isinstance(got, bytes) or (photo.size == len(got) and found[photo.uri] == "")
            found[photo.uri] = got
    return found


def zip_at(path: Path) -> Zip:
    blob = blob_at(str(path))
    assert blob
    return Zip(blob, str(path))


def of(data: bytes, folder: Path, name: str = "a.zip") -> Held:
    (folder / name).write_bytes(data)
    return held(zip_at(folder / name))
