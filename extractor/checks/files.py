"""Which files stand behind the paths of photos, and whether they are what was embedded."""

import os
import stat
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from extractor.sources.fetching import AT_ONCE
from extractor.sources.folder import READERS
from extractor.sources.objects import object_at
from extractor.sources.places import read_at
from store.errors import Undecodable
from store.photo import digest_of, is_address

Then = tuple[int, int, bytes]  # size, time in microseconds and digest of what was embedded


def files(photos: Mapping[str, Then]) -> list[list[str]]:
    """The names of each file, its own before links to it; first the files that are known by a name of their own.

    `photos` says what was embedded, by path: what is gone or no longer that is left out. A file whose bytes another one
    had is read again, because size and time may stay where bytes change.
    """
    with ThreadPoolExecutor(AT_ONCE if any(map(is_address, photos)) else READERS) as threads:
        names = defaultdict(list)
        for (path, then), status in zip(photos.items(), threads.map(_status, photos), strict=True):
            if status and _is_as(status, then, path):
                names[status.file].append(path)
        each = sorted((sorted(some, key=_own_first) for some in names.values()), key=lambda some: _own_first(some[0]))
        digests = [photos[some[0]][2] for some in each]
        times = Counter(digests)
        same = threads.map(
            lambda path, digest: times[digest] == 1 or _holds(path, digest), [some[0] for some in each], digests
        )
        return [some for some, is_same in zip(each, same, strict=True) if is_same]


@dataclass(frozen=True)
class _Status:
    size: int
    modified: int  # microseconds
    # What all names of a file have in common: links of both kinds, folders by two paths, mounts, letters' case.
    file: Hashable


def _status(path: str) -> _Status | None:
    if is_address(path):
        found = object_at(path)
        return _Status(found.size, found.modified, path) if found else None
    try:
        status = os.stat(path)
    except OSError:
        return None
    # Some network file systems give each file the number 0.
    file = (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)
    return _Status(status.st_size, status.st_mtime_ns // 1000, file) if stat.S_ISREG(status.st_mode) else None


def _is_as(status: _Status, then: Then, path: str) -> bool:
    """Whether size and time are as then; asked for one object, a bucket tells the second alone."""
    tick = 1_000_000 if is_address(path) else 1
    return (status.size, status.modified // tick) == (then[0], then[1] // tick)


def _own_first(path: str) -> tuple[bool, str]:
    return not is_address(path) and os.path.realpath(path) != path, path


def _holds(path: str, digest: bytes) -> bool:
    try:
        return digest_of(read_at(path)) == digest
    except (OSError, Undecodable, MemoryError):
        return False
