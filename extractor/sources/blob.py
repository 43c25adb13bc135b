"""A file or an object that is read at places, and what tells that it has not changed."""

import os
import stat
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO, cast

from petrieve.extractor.sources.buckets.objects import bytes_of, object_at
from petrieve.extractor.sources.buckets.remote import Remote
from petrieve.store.photo import is_address

VERSIONS = "_versions"  # the folder that a table of Lance is known by
HEAD = 512  # first bytes, which tell what a file is: a tar says so in its first 265


@dataclass(frozen=True, slots=True)
class Blob:
    """A file, an object, or a folder that is one table: size and time are those of when it was looked at."""

    path: str
    size: int  # bytes
    modified: int  # microseconds since 1970, UTC
    version: str | None = None  # what else tells that it has not changed

    def open(self) -> BinaryIO:
        """Its bytes, from any place.

        Raises:
            OSError: it cannot be opened.
        """
        if is_address(self.path):
            return cast(BinaryIO, Remote(self.path, self.size, self.version))
        # Without O_NONBLOCK, opening a pipe that has just taken the file's place would wait for ever.
        return open(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK), "rb")

    def head(self) -> bytes:
        """Its first bytes.

        Raises:
            OSError: it cannot be opened.
        """
        if is_address(self.path):
            return _head(self) if self.size else b""
        with self.open() as file:
            return file.read(HEAD)


@lru_cache(maxsize=64)  # several callers ask, and each answer is a wait
def _head(blob: Blob) -> bytes:
    return bytes_of(blob.path, within=(0, HEAD), version=blob.version)[1]


def blob_at(path: str) -> Blob | None:
    """The file or table of Lance at this path, or the object at this address; None if there is none.

    Raises:
        OSError: it cannot be asked for.
    """
    if is_address(path):
        found = object_at(path)
        return Blob(path, found.size, found.modified, found.version) if found else None
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            return Blob(path, 0, os.stat(os.path.join(path, VERSIONS)).st_mtime_ns // 1000)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Blob(path, status.st_size, status.st_mtime_ns // 1000) if stat.S_ISREG(status.st_mode) else None


def is_table(path: str) -> bool:
    """Whether the folder at this path is a table of Lance."""
    return os.path.isdir(os.path.join(path, VERSIONS))
