"""Which files stand behind the paths of photos, and whether they are what was embedded."""

import os
import stat
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor

from petrieve.extractor.sources.buckets.fetching import AT_ONCE
from petrieve.extractor.sources.buckets.objects import object_at
from petrieve.extractor.sources.folder import READERS
from petrieve.extractor.sources.places import container_of, found_at
from petrieve.extractor.sources.reading import Reader
from petrieve.store.errors import Undecodable
from petrieve.store.photo import UNTOLD, digest_of, is_address

Seen = tuple[int, int, Hashable]  # size, time in microseconds, and what all names of a photo have in common
Then = tuple[int, int, bytes]  # size, time in microseconds and digest of what was embedded


def files(photos: Mapping[str, Then], read: Reader | None = None) -> list[list[str]]:
    """The names of each file, its own before links to it; files known by a name of their own come first.

    `photos` says what was embedded, by path. Files that are gone or have changed are left out. Files that had the same
    bytes are read again: bytes can change while size and time stay.
    """
    read = read or Reader()
    with ThreadPoolExecutor(AT_ONCE if any(map(is_address, photos)) else READERS) as threads:
        names = defaultdict(list)
        for (path, then), seen in zip(photos.items(), threads.map(_seen, photos), strict=True):
            if seen and _is_as(seen, then, path):
                names[seen[2]].append(path)
        each = sorted((sorted(some, key=_own_first) for some in names.values()), key=lambda some: _own_first(some[0]))
        digests = [photos[some[0]][2] for some in each]
        times = Counter(digests)
        twins = read.know(some[0] for some, digest in zip(each, digests, strict=True) if times[digest] > 1)
        same = dict(zip(twins, threads.map(lambda path: _holds(path, photos[path][2], read), twins), strict=True))
        return [some for some in each if same.get(some[0], True)]


def _seen(path: str) -> Seen | None:
    """Size, time and identity of the file at a path now; None if it is gone."""
    if container_of(path):
        return _inside(path)
    if is_address(path):
        found = object_at(path)
        return (found.size, found.modified, path) if found else None
    try:
        status = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_size, status.st_mtime_ns // 1000, _file(path, status)


def _inside(path: str) -> Seen | None:
    """The same for a photo in an archive: under each name of the archive it is one photo."""
    try:
        photo, held = found_at(path), container_of(path)
        if not photo or not held:
            return None
        file = held[0] if is_address(held[0]) else _file(held[0], os.stat(held[0]))
        return photo.size, photo.modified, (file, held[1])
    except OSError:
        return None


def _file(path: str, status: os.stat_result) -> Hashable:
    """The identity that all names of a file share: links of both kinds, two paths of one folder, mounts, case."""
    # Some network file systems give each file the number 0.
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)


def _is_as(seen: Seen, then: Then, path: str) -> bool:
    """Whether size and time are unchanged; for a single object a bucket gives the time in whole seconds."""
    tick = 1_000_000 if is_address(path) else 1
    return seen[0] in (then[0], UNTOLD) and seen[1] // tick == then[1] // tick


def _own_first(path: str) -> tuple[bool, str]:
    return not is_address(path) and os.path.realpath(path) != path, path


def _holds(path: str, digest: bytes, read: Reader) -> bool:
    try:
        return digest_of(read(path)) == digest
    except (OSError, Undecodable, MemoryError):
        return False
