"""The content of a file that is packed as a whole, read from its start on."""

import errno
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import Protocol

from petrieve.extractor.sources.blob import Blob
from petrieve.store.errors import Undecodable, first_line

# By the first bytes of a file. What Arrow does not unpack, xz, is named and not read.
PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\xfd7zXZ\0": "xz"}
CHUNK = 1 << 18  # bytes that are unpacked at a time
FINE = 512  # and near damage, so that all whole bytes before it come out


class Bytes(Protocol):
    """Bytes that are read at places."""

    def seek(self, place: int, /) -> object:
        """Go to a place."""
        ...

    def read(self, size: int, /) -> bytes:
        """So many bytes from there; fewer only where it ends."""
        ...


@contextmanager
def opened(blob: Blob, packing: str | None) -> Iterator[Bytes]:
    """The bytes of a file, from any place; of a packed one, what it holds, from places that only go forward.

    Raises:
        OSError: it cannot be opened, or later not be read.
        Undecodable: later, where the packing is damaged or cut off.
    """
    if packing is None:
        with blob.open() as file:
            yield file
    else:
        with closing(_chunks(blob, packing)) as chunks:
            yield _Forward(chunks)


class _Forward:
    """Chunks as a file; those that are passed are dropped."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = b""
        self._first = 0  # where the chunks in memory begin
        self._place = 0

    def seek(self, place: int) -> None:
        if place < self._first:  # in a file that has changed, known places may overlap
            raise OSError(errno.EBUSY, "what is packed has changed since it was listed")
        self._place = place

    def read(self, size: int) -> bytes:
        while self._first + len(self._held) < self._place:
            if not (chunk := next(self._chunks, b"")):
                return b""
            self._first += len(self._held)
            self._held = chunk
        if self._place + size > self._first + len(self._held):
            self._hold(self._place + size)
        start = self._place - self._first
        self._place += size
        return self._held[start : start + size]

    def _hold(self, end: int) -> None:
        """Read chunks up to an end, or to the end of the file."""
        pieces = [self._held[self._place - self._first :]]
        there = self._first + len(self._held)
        try:
            while there < end and (chunk := next(self._chunks, b"")):
                pieces.append(chunk)
                there += len(chunk)
        finally:
            self._held, self._first = b"".join(pieces), self._place


def _chunks(blob: Blob, packing: str) -> Generator[bytes, None, None]:
    given = 0
    try:
        for chunk in _read(blob, packing, CHUNK):
            given += len(chunk)
            yield chunk
    except OSError as error:
        if error.errno:  # the file cannot be read
            raise
        damage = f"it cannot be unpacked any further: {first_line(error)}"
    else:
        return
    # Arrow gives nothing of a chunk in which the damage lies.
    try:
        for chunk in _read(blob, packing, FINE):
            if given > 0:
                given -= len(chunk)
            else:
                yield chunk
    except OSError:
        pass
    raise Undecodable(damage)


def _read(blob: Blob, packing: str, step: int) -> Iterator[bytes]:
    import pyarrow as pa

    with blob.open() as file, pa.CompressedInputStream(pa.PythonFile(file, "r"), packing) as stream:
        while chunk := stream.read(step):
            yield chunk
