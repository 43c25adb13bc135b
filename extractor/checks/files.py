"""Which files stand behind the paths of photos, and whether they are what was embedded."""

import os
import stat
from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from extractor.sources.folder import READERS
from extractor.sources.places import read_at
from store.errors import Undecodable
from store.photo import digest_of

Then = tuple[int, int, bytes]  # size, time in microseconds and digest of what was embedded


def files(photos: Mapping[str, Then]) -> list[list[str]]:
    """The names of each file, its own before links to it; first the files that are known by a name of their own.

    `photos` says what was embedded, by path: what is gone or no longer that is left out. A file whose bytes another one
    had is read again, because size and time may stay where bytes change.
    """
    with ThreadPoolExecutor(READERS) as threads:
        names = defaultdict(list)
        for (path, then), status in zip(photos.items(), threads.map(_status, photos), strict=True):
            if status and (status.st_size, status.st_mtime_ns // 1000) == then[:2]:
                names[_file(path, status)].append(path)
        each = sorted((sorted(some, key=_own_first) for some in names.values()), key=lambda some: _own_first(some[0]))
        digests = [photos[some[0]][2] for some in each]
        times = Counter(digests)
        same = threads.map(
            lambda path, digest: times[digest] == 1 or _holds(path, digest), [some[0] for some in each], digests
        )
        return [some for some, is_same in zip(each, same, strict=True) if is_same]


def _status(path: str) -> os.stat_result | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _file(path: str, status: os.stat_result) -> object:
    """What all names of a file have in common: links of both kinds, folders by two paths, mounts, letters' case."""
    # Some network file systems give each file the number 0.
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)


def _own_first(path: str) -> tuple[bool, str]:
    return os.path.realpath(path) != path, path


def _holds(path: str, digest: bytes) -> bool:
    try:
        return digest_of(read_at(path)) == digest
    except (OSError, Undecodable, MemoryError):
        return False
