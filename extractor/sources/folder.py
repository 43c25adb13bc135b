"""Which photos a source holds, and what is known of each without decoding it."""

import errno
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from operator import attrgetter

from petrieve.extractor.sources.ahead import in_order
from petrieve.extractor.sources.archives import holds_photos
from petrieve.extractor.sources.as_before import Listings
from petrieve.extractor.sources.blob import HEAD, VERSIONS
from petrieve.extractor.sources.bounds import max_bytes
from petrieve.extractor.sources.formats import SUFFIXES, is_photo
from petrieve.extractor.sources.inside import LITTER, ending_of
from petrieve.extractor.sources.others import Others
from petrieve.extractor.sources.said.beside import is_sheet
from petrieve.extractor.sources.said.words import Words
from petrieve.extractor.sources.source import Part
from petrieve.store.errors import PetrieveError, Undecodable
from petrieve.store.photo import Photo, as_text
from petrieve.store.rows import Unreadable, unreadable

READERS = 4  # files of a part at a time: a disk or a network answers several as soon as one
# Seconds between two times that a file can bear on Linux at 100 Hz. A later change must show: what has changed just
# now is read when it has grown so old.
TICK = 0.01
SizeTime = tuple[int, int]  # size in bytes and time of change in microseconds
UNKNOWN: SizeTime = (0, 0)
STORE = {"store.json", "photos.lance"}  # what a store is known by


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of photos and all that lies below it, or one photo; in a folder of archives alone, what these hold."""

    root: str  # absolute
    passed: Counter[str] = field(default_factory=Counter)
    listings: Listings | None = None
    others: Others = field(default_factory=Others)

    def parts(self) -> Iterator[Part]:
        """Its photos in a stable order, PART at a time."""
        return self.others.parts(as_text(self.root), find(self.root, self.others), Files, self.passed, self.listings)

    def words(self, listed: Sequence[Photo]) -> Words | None:
        """What sheets beside its photos say of them, and before that what its archives do."""
        return self.others.words(self.root, listed, self.passed)


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


def read_photo(photo: Photo) -> tuple[Photo, bytes] | Unreadable:
    """A photo as it is now beside its bytes, or why it cannot be read."""
    try:
        data, status = read(photo.path)
        return replace(photo, size=status.st_size, modified=status.st_mtime_ns // 1000), data
    except (OSError, Undecodable, MemoryError) as error:
        return unreadable(photo, error)


def find(source: str | os.PathLike[str], others: Others | None = None) -> Iterator[Photo]:
    """The photos of a folder, recursively and in a stable order; or the one photo that `source` is.

    Hidden files and folders are passed over; folders that systems keep for themselves, and files that are no photos,
    are told to `others`. A file counts as a photo by its ending or, with any other ending, by its first bytes. Links
    are followed, each folder once. A folder that cannot be listed comes as a photo whose uri ends in a slash, and which
    cannot be read. What its names and folders say of a photo is not asked here.

    Raises:
        PetrieveError: `source` does not exist, is neither a file nor a folder, or is a folder that cannot be listed.
    """
    path = os.path.abspath(source)
    others = others or Others()
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            entries = _entries(path, others)
    except OSError as error:
        raise PetrieveError(f"cannot open {path}: {error.strerror}", "check the path and its permissions") from error
    if stat.S_ISDIR(status.st_mode):
        yield from _walk(path, entries, {_identity(path, status)}, others)
    elif stat.S_ISREG(status.st_mode):
        folder, name = os.path.split(path)
        yield Photo(as_text(folder), as_text(name), *_size_time(status))
    else:
        raise PetrieveError(f"{path} is neither a file nor a folder", "name a photo or a folder of photos")


def is_folder(path: str) -> bool:
    """Whether the photo with this path or uri is a folder that could not be listed."""
    return path.endswith("/")


def _walk(path: str, entries: list[os.DirEntry[str]], visited: set[Hashable], others: Others) -> Iterator[Photo]:
    """What lies in a folder with these entries. There may be more folders in each other than calls in Python."""
    root = as_text(path)
    waiting = [("", _let_go(entries))]
    while waiting:
        above, left = waiting[-1]
        for entry in left:
            if _is(entry.is_dir):
                uri = f"{above}{as_text(entry.name)}/"
                try:
                    identity = _identity(entry.path, os.stat(entry.path))
                    if identity not in visited:
                        visited.add(identity)
                        inner = _entries(entry.path, others)
                        if not _is_one_thing(entry.path, inner, others):
                            waiting.append((uri, _let_go(inner)))
                            break
                except (FileNotFoundError, NotADirectoryError):  # it went between the listing and the look at it
                    pass
                except OSError:
                    yield Photo(root, uri, *(_asked(entry) or UNKNOWN))
            elif _looks_like_photo(entry, others) and (found := _asked(entry)):
                yield Photo(root, above + as_text(entry.name), *found)
        else:
            waiting.pop()


def _entries(folder: str, others: Others) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        entries = [entry for entry in found if entry.name[0] != "."]
    litter = [entry for entry in entries if entry.name.casefold() in LITTER and _is(entry.is_dir)]
    if litter:
        others.counts.update(entry.name for entry in litter)
        entries = [entry for entry in entries if entry not in litter]
    return sorted(entries, key=attrgetter("name"), reverse=True)


def _let_go(entries: list[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
    """The entries, the last one first; none is kept: once asked for its size, each takes 1 kB."""
    while entries:
        yield entries.pop()


def _is_one_thing(path: str, entries: list[os.DirEntry[str]], others: Others) -> bool:
    """Whether a folder with these entries is a table of Lance, or a store, which holds no photos; `others` are told."""
    names = STORE.union([VERSIONS]).intersection(entry.name for entry in entries)
    if VERSIONS in names:
        others.archives[path] = None
    elif names >= STORE:
        others.counts[os.path.basename(path)] += 1
    return VERSIONS in names or names >= STORE


def _identity(path: str, status: os.stat_result) -> Hashable:
    """What tells a folder from all others; some file systems give each the inode 0."""
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)


def _size_time(status: os.stat_result) -> SizeTime:
    return status.st_size, status.st_mtime_ns // 1000


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link to itself is nothing
        return False


def _asked(entry: os.DirEntry[str]) -> SizeTime | None:
    """Size and time of what an entry names; UNKNOWN where they cannot be asked for, None if it has gone."""
    try:
        return _size_time(entry.stat())
    except OSError:  # a dangling link: a photo whose reading will say so
        try:
            return _size_time(entry.stat(follow_symlinks=False))
        except FileNotFoundError:
            return None
        except OSError:
            return UNKNOWN


def _looks_like_photo(entry: os.DirEntry[str], others: Others) -> bool:
    name = entry.name
    if name[name.rfind(".") :].lower() in SUFFIXES:
        return True
    if not _is(entry.is_file):
        return False
    try:
        with open(entry.path, "rb") as file:
            head = file.read(HEAD)
    except OSError:
        return False
    if is_photo(head[:64]):
        return True
    if holds_photos(head):
        others.archives[entry.path] = None
    elif is_sheet(name):
        others.sheets.append(entry.path)
    else:
        others.counts[ending_of(name) or "without ending"] += 1
    return False


def read(path: str) -> tuple[bytes, os.stat_result]:
    """The bytes of a file, and its size and time when they were its whole content.

    Raises:
        OSError: it cannot be opened, it changes while it is read, or it is a folder.
        Undecodable: no regular file, or over `max_bytes`.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        os.scandir(path).close()  # says why it cannot be listed
        raise OSError(errno.EBUSY, "it can be listed again")
    if not stat.S_ISREG(mode):
        raise Undecodable("not a regular file")
    # Without O_NONBLOCK, opening a pipe that has just taken the file's place would wait for ever.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        before = os.fstat(file.fileno())
        time.sleep(max(0.0, min(TICK, before.st_mtime + TICK - time.time())))
        if before.st_size > max_bytes():
            raise Undecodable(f"over {max_bytes() >> 20} MB")
        data = file.read(before.st_size + 1)
        after = os.fstat(file.fileno())
    if (len(data), after.st_size, after.st_mtime_ns) != (before.st_size, before.st_size, before.st_mtime_ns):
        raise OSError(errno.EBUSY, "it changed while it was read")
    return data, after
