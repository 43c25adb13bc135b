"""Which photos a source holds, and what is known of each without decoding it."""

import errno
import os
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice

from extractor.sources.ahead import in_order
from extractor.sources.formats import SUFFIXES, is_photo
from extractor.sources.names import label_of, split_of
from store.errors import PetrieveError, Undecodable
from store.photo import Photo, as_text
from store.rows import Unreadable, unreadable

Place = str | os.PathLike[str]
PART = 256  # photos that lie together
READERS = 4  # files of a part at a time: a disk or a network answers several as soon as one
# Beyond the largest photo that can be decoded (200 megapixels), uncompressed.
MAX_BYTES = 1 << 30
# Seconds between two times that a file can bear on Linux at 100 Hz. A later change must show: what has changed just
# now is read when it has grown so old.
TICK = 0.01


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of photos and all that lies below it, or one photo."""

    root: str  # absolute

    def parts(self) -> Iterator["Files"]:
        """Its photos in a stable order, PART at a time."""
        return (Files(some) for some in batched(find(self.root), PART))


@dataclass(frozen=True, slots=True)
class Files:
    """Photos that are files."""

    photos: tuple[Photo, ...]

    def read(self, wanted: Collection[str]) -> Iterator[tuple[Photo, bytes] | Unreadable]:
        """The bytes of the photos with these uris, in order, or why they cannot be read."""
        with ThreadPoolExecutor(READERS, "read") as readers:
            chosen = [photo for photo in self.photos if photo.uri in wanted]
            for some in in_order(readers, read_photo, chosen, depth=READERS):
                yield from some


def files_of(photos: Iterable[Photo]) -> list[tuple[Files, Sequence[Photo]]]:
    """Photos that are files as parts, each beside all its photos: within one, no uri is there twice."""
    of_root: dict[str, list[Photo]] = {}
    for photo in photos:
        of_root.setdefault(photo.root, []).append(photo)
    return [(Files(tuple(some)), some) for some in of_root.values()]


def read_photo(photo: Photo) -> tuple[Photo, bytes] | Unreadable:
    """A photo as it is now beside its bytes, or why it cannot be read."""
    try:
        data, status = read(photo.path)
        return replace(photo, size=status.st_size, modified=status.st_mtime_ns // 1000), data
    except (OSError, Undecodable, MemoryError) as error:
        return unreadable(photo, error)


def find(source: str | os.PathLike[str]) -> Iterator[Photo]:
    """The photos of a folder, recursively and in a stable order; or the one photo that `source` is.

    Hidden files and folders are passed over. A file counts as a photo by its ending or, with any other
    ending, by its first bytes. Links are followed, each folder once.

    Raises:
        PetrieveError: `source` does not exist, or is neither a file nor a folder.
    """
    path = os.path.abspath(source)
    try:
        status = os.stat(path)
    except OSError as error:
        raise PetrieveError(f"cannot open {path}: {error.strerror}", "check the path and its permissions") from error
    if stat.S_ISDIR(status.st_mode):
        yield from _walk(path, "", set())
    elif stat.S_ISREG(status.st_mode):
        yield _photo(os.path.dirname(path), "", os.path.basename(path), status)
    else:
        raise PetrieveError(f"{path} is neither a file nor a folder", "name a photo or a folder of photos")


def _walk(root: str, folder: str, visited: set[tuple[int, int]]) -> Iterator[Photo]:
    here = os.path.join(root, folder)
    try:
        status = os.stat(here)
        if (status.st_dev, status.st_ino) in visited:
            return
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(here) as found:
            entries = sorted((e for e in found if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        # A folder that cannot be listed hides photos: going on would report them as missing.
        raise PetrieveError(
            f"cannot list {here}: {error.strerror}", "make it readable, or name other folders"
        ) from error
    for entry in entries:
        if _is(entry.is_dir):
            yield from _walk(root, os.path.join(folder, entry.name), visited)
        elif _looks_like_photo(entry):
            yield _photo(root, folder, entry.name, _status(entry))


def _photo(root: str, folder: str, name: str, status: os.stat_result) -> Photo:
    root, folder, name = as_text(root), as_text(folder), as_text(name)
    return Photo(
        root=root,
        uri=f"{folder}/{name}" if folder else name,
        size=status.st_size,
        modified=status.st_mtime_ns // 1000,
        label=label_of(name, folder),
        split=split_of(root, folder),
    )


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link to itself is nothing
        return False


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat()
    except OSError:  # a dangling link: a photo whose reading will say so
        return entry.stat(follow_symlinks=False)


def _looks_like_photo(entry: os.DirEntry[str]) -> bool:
    if os.path.splitext(entry.name)[1].lower() in SUFFIXES:
        return True
    if not _is(entry.is_file):
        return False
    try:
        with open(entry.path, "rb") as file:
            return is_photo(file.read(64))
    except OSError:
        return False


def read(path: str) -> tuple[bytes, os.stat_result]:
    """The bytes of a file, and its size and time when they were its whole content.

    Raises:
        OSError: it cannot be opened, or it changes while it is read.
        Undecodable: no regular file, or over MAX_BYTES.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise Undecodable("not a regular file")
    # Without O_NONBLOCK, opening a pipe that has just taken the file's place would wait for ever.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        before = os.fstat(file.fileno())
        time.sleep(max(0.0, min(TICK, before.st_mtime + TICK - time.time())))
        if before.st_size > MAX_BYTES:
            raise Undecodable(f"over {MAX_BYTES >> 20} MB")
        data = file.read(before.st_size + 1)
        after = os.fstat(file.fileno())
    if (len(data), after.st_size, after.st_mtime_ns) != (before.st_size, before.st_size, before.st_mtime_ns):
        raise OSError(errno.EBUSY, "it changed while it was read")
    return data, after


def gone(path: str) -> str | None:
    """The date of today if nothing is at this path, or a link to nothing; None if something is."""
    return None if os.path.exists(path) else datetime.now(UTC).date().isoformat()


def batched(photos: Iterable[Photo], size: int) -> Iterator[tuple[Photo, ...]]:
    """The photos, so many at a time."""
    left = iter(photos)
    while some := tuple(islice(left, size)):
        yield some


def paths_of(sources: Place | Sequence[Place]) -> list[str]:
    """One source or several, as absolute paths."""
    listed = [sources] if isinstance(sources, str | os.PathLike) else sources
    return [os.path.abspath(source) for source in listed]
