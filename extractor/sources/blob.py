"""A file that is read at places, and what tells that it has not changed."""

import os
import stat
from dataclasses import dataclass
from typing import BinaryIO

HEAD = 512  # first bytes, which tell what a file is: a tar says so in its first 265


@dataclass(frozen=True, slots=True)
class Blob:
    """A file: its size and its time are those of when it was looked at."""

    path: str
    size: int  # bytes
    modified: int  # microseconds since 1970, UTC
    version: str | None = None  # what else tells that it has not changed

    def open(self) -> BinaryIO:
        """Its bytes, from any place.

        Raises:
            OSError: it cannot be opened.
        """
        # Without O_NONBLOCK, opening a pipe that has just taken the file's place would wait for ever.
        return open(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK), "rb")

    def head(self) -> bytes:
        """Its first bytes.

        Raises:
            OSError: it cannot be opened.
        """
        with self.open() as file:
            return file.read(HEAD)


def blob_at(path: str) -> Blob | None:
    """The file at this path; None where there is none, or something else.

    Raises:
        OSError: it cannot be asked for.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Blob(path, status.st_size, status.st_mtime_ns // 1000) if stat.S_ISREG(status.st_mode) else None
