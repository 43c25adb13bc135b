"""How a store's files, and those that the user names, are written: whole or not at all."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from petrieve.store.errors import PetrieveError, first_line
from petrieve.store.key import Key, Where

# A file half written by a killed process is removed when it is older: no write takes so long.
ABANDONED_SECONDS = 3600
# How a cell begins that a spreadsheet may take for a formula: OWASP, "CSV Injection".
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def write_file(path: Where, *data: bytes | memoryview) -> None:
    """Write `data`, one part after the other, to `path` whole or not at all: a reader sees the old file or the new one.

    A link is followed; what is not a regular file (a pipe, a terminal) is written to as it is.

    Raises:
        OSError: it cannot be written; the error names `path`.
        PetrieveError: it lies in a bucket, and cannot be written there, or another run has written it meanwhile.
    """
    if isinstance(path, Key):
        path.write(b"".join(data))
        return
    with _whole(path) as file:
        file.writelines(data)


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of `path` when all is written; as by `write_file`."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    temporary = path.with_name(f".{path.name[:200]}.{uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        raise


def write_named(file: Path, data: bytes) -> None:
    """Write a file that the user has named, as `write_file` does.

    Raises:
        PetrieveError: it cannot be written.
    """
    with named(file) as opened:
        opened.write(data)


@contextmanager
def named(file: Path) -> Iterator[BinaryIO]:
    """A file that the user has named, to write to: it is there when all is written, or not at all.

    Raises:
        PetrieveError: it cannot be written.
    """
    try:
        with _whole(file) as opened:
            yield opened
    except OSError as error:
        raise PetrieveError(
            f"cannot write {file}: {error.strerror or first_line(error)}", "name a file in a folder that is there"
        ) from error


def remove_abandoned(folder: Where) -> None:
    """Remove what `write_file` could not, because its process was killed: in a bucket that leaves nothing."""
    if isinstance(folder, Key):
        return
    for file in folder.glob("**/.*.*." + "[0-9a-f]" * 32):
        with suppress(OSError):
            if time.time() - file.stat().st_mtime > ABANDONED_SECONDS:
                file.unlink()


def remove_files(files: Sequence[Where]) -> None:
    """Remove files, of a disk or of one bucket; those that are not there are no trouble."""
    if keys := [file for file in files if isinstance(file, Key)]:
        keys[0].remove(keys)
    for file in files:
        if isinstance(file, Path):
            file.unlink(missing_ok=True)


def remove_folder(folder: Where) -> None:
    """Remove all that lies in a folder, and itself."""
    if isinstance(folder, Key):
        folder.remove_all()
    else:
        shutil.rmtree(folder)


def size_bytes(folder: Where) -> int:
    """How large all files below a folder are."""
    if isinstance(folder, Key):
        return sum(said["size"] for _, said in folder.files())
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
