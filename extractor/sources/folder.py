"""Which photos a source holds, and what is known of each without decoding it."""

import errno
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter

from petrieve.extractor.sources.ahead import in_order
from petrieve.extractor.sources.annotations.annotations import Annotations
from petrieve.extractor.sources.annotations.beside import is_sheet
from petrieve.extractor.sources.archives import holds_photos
from petrieve.extractor.sources.blob import HEAD, VERSIONS
from petrieve.extractor.sources.bounds import max_bytes
from petrieve.extractor.sources.entry_names import LITTER, ending_of
from petrieve.extractor.sources.formats import SUFFIXES, is_photo
from petrieve.extractor.sources.non_photos import PART, Others
from petrieve.extractor.sources.source import Part, Read
from petrieve.extractor.sources.unchanged import Listings
from petrieve.store.errors import PetrieveError, Undecodable, remedy_of
from petrieve.store.photo import Bare, Photo, as_text
from petrieve.store.rows import unreadable

READERS = 4  # files of a part at a time: a disk or a network answers several as soon as one
# Seconds between two times that a file can have on Linux at 100 Hz. A later change must show: a file that has just
# changed is read when it is this old.
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
        root, parts = as_text(self.root), _parts(_runs(self.root, self.others))
        return self.others.parts(root, parts, self.passed, self.listings)

    def annotations(self, listed: Sequence[Photo]) -> Annotations | None:
        """Annotations from sheets beside its photos, and from its archives."""
        return self.others.annotations(self.root, listed, self.passed)


@dataclass(frozen=True, slots=True)
class Files:
    """Photos that are files."""

    photos: Sequence[Photo]

    def read(self, wanted: Collection[str]) -> Iterator[Read]:
        """The bytes of the photos with these uris, in order, or why they cannot be read."""
        with ThreadPoolExecutor(READERS, "read") as readers:
            chosen = [photo for photo in self.photos if photo.uri in wanted]
            for some in in_order(readers, read_photo, chosen, depth=READERS):
                yield from some


def read_photo(photo: Photo) -> Read:
    """A photo as it is now beside its bytes, or why it cannot be read."""
    try:
        data, status = read(photo.path)
        return replace(photo, size=status.st_size, modified=status.st_mtime_ns // 1000), data
    except (OSError, Undecodable, MemoryError) as error:
        return unreadable(photo, error)


def find(source: str | os.PathLike[str]) -> Iterator[Photo]:
    """The photos of a folder, recursively and in a stable order; or the one photo that `source` is.

    Hidden files and folders, folders that systems keep for themselves, and files that are no photos are passed over. A
    file counts as a photo by its ending or, with any other ending, by its first bytes. Links are followed, each folder
    once. A folder that cannot be listed comes as a photo whose uri ends in a slash, and which cannot be read. Labels
    are not read here.

    Raises:
        PetrieveError: `source` does not exist, is neither a file nor a folder, or is a folder that cannot be listed.
    """
    return (photo for run in _runs(source, Others()) for photo in run)


def _runs(source: str | os.PathLike[str], others: Others) -> Iterator[Bare]:
    """The same in columns, a folder's photos at a time; `others` counts what is passed over and not hidden.

    Raises:
        PetrieveError: as there.
    """
    path = os.path.abspath(source)
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            inner = _inside(path, as_text(path), "", others)
    except OSError as error:
        raise PetrieveError(f"cannot open {path}: {error.strerror}", remedy_of(error)) from None
    if stat.S_ISDIR(status.st_mode):
        yield from _walk(path, inner, {_identity(path, status)}, others)
    elif stat.S_ISREG(status.st_mode):
        folder, name = os.path.split(path)
        yield _one(as_text(folder), as_text(name), _size_time(status))
    else:
        raise PetrieveError(f"{path} is neither a file nor a folder", "name a photo or a folder of photos")


def _parts(runs: Iterable[Bare]) -> Iterator[Files]:
    """The same photos, PART at a time."""
    left = Bare("", [], [], [])
    for run in runs:
        whole = left + run if left else run
        full = len(whole) - len(whole) % PART
        yield from (Files(whole[start : start + PART]) for start in range(0, full, PART))
        left = whole[full:]
    if left:
        yield Files(left)


def is_folder(path: str) -> bool:
    """Whether the photo with this path or uri is a folder that could not be listed."""
    return path.endswith("/")


def _walk(path: str, inner: list[Bare | str], visited: set[Hashable], others: Others) -> Iterator[Bare]:
    """What lies below a folder, which holds this. Folders can be nested deeper than calls in Python."""
    root = as_text(path)
    waiting = [(path, "", iter(inner))]
    while waiting:
        folder, above, left = waiting[-1]
        for one in left:
            if isinstance(one, Bare):
                yield one
                continue
            place, uri = os.path.join(folder, one), f"{above}{as_text(one)}/"
            try:
                identity = _identity(place, os.stat(place))
                if identity not in visited:
                    visited.add(identity)
                    waiting.append((place, uri, iter(_inside(place, root, uri, others, below=True))))
                    break
            except (FileNotFoundError, NotADirectoryError):  # it went between the listing and the look at it
                pass
            except OSError:
                yield _one(root, uri, _asked(partial(os.stat, place)) or UNKNOWN)
        else:
            waiting.pop()


def _inside(folder: str, root: str, above: str, others: Others, *, below: bool = False) -> list[Bare | str]:
    """What a folder holds, in the order of names: photos, whose uris begin with `above`, and the names of folders.

    `others` counts the rest: also the whole folder, if it lies `below` a source and is a table or a store.

    Raises:
        OSError: it cannot be listed.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # relative to it, look-ups take three quarters of the time
    try:
        entries = _entries(handle, others)
        if below and _is_one_thing(folder, entries, others):
            return []
        return _looked_at(folder, entries, root, above, others)
    finally:
        os.close(handle)


def _looked_at(folder: str, entries: list[os.DirEntry[str]], root: str, above: str, others: Others) -> list[Bare | str]:
    """The same for its entries, from the last one on; none is kept: once its size was read, each takes 1 kB."""
    found: list[Bare | str] = []
    run = Bare(root, [], [], [])
    while entries:
        entry = entries.pop()
        name = entry.name
        status = _at_once(entry)
        if status is None and _is(entry.is_dir):
            found += [run, name] if run else [name]
            run = Bare(root, [], [], [])
        elif status or (_looks_like_photo(folder, entry, others) and (status := _asked(entry.stat))):
            run.uris.append(above + (name if name.isascii() else as_text(name)))
            run.sizes.append(status[0])
            run.moments.append(status[1])
    return [*found, run] if run else found


def _entries(handle: int, others: Others) -> list[os.DirEntry[str]]:
    with os.scandir(handle) as found:
        entries = [entry for entry in found if entry.name[0] != "."]
    litter = [entry for entry in entries if entry.name.casefold() in LITTER and _is(entry.is_dir)]
    if litter:
        others.counts.update(entry.name for entry in litter)
        entries = [entry for entry in entries if entry not in litter]
    return sorted(entries, key=attrgetter("name"), reverse=True)


def _is_one_thing(path: str, entries: list[os.DirEntry[str]], others: Others) -> bool:
    """Whether a folder with these entries is a table of Lance, or a store, which holds no photos; `others` count it."""
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
    except OSError:  # a link to itself
        return False


def _at_once(entry: os.DirEntry[str]) -> SizeTime | None:
    """Size and time of a photo of the usual kind: a file that is not a link, with a photo's ending; else None."""
    name = entry.name
    if name[name.rfind(".") :].lower() not in SUFFIXES:
        return None
    try:
        return None if entry.is_dir() else _size_time(entry.stat())
    except OSError:
        return None


def _one(root: str, uri: str, known: SizeTime) -> Bare:
    return Bare(root, [uri], [known[0]], [known[1]])


def _asked(status: Callable[..., os.stat_result]) -> SizeTime | None:
    """Size and time of what a name stands for; UNKNOWN where they cannot be asked for, None if it has gone."""
    try:
        return _size_time(status())
    except OSError:  # a dangling link: a photo whose reading will say so
        try:
            return _size_time(status(follow_symlinks=False))
        except FileNotFoundError:
            return None
        except OSError:
            return UNKNOWN


def _looks_like_photo(folder: str, entry: os.DirEntry[str], others: Others) -> bool:
    name = entry.name
    if name[name.rfind(".") :].lower() in SUFFIXES:
        return True
    if not _is(entry.is_file):
        return False
    path = os.path.join(folder, name)
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError:
        return False
    if is_photo(head[:64]):
        return True
    if holds_photos(head):
        others.archives[path] = None
    elif is_sheet(name):
        others.sheets.append(path)
    else:
        others.counts[ending_of(name) or "without ending"] += 1
    return False


def read(path: str) -> tuple[bytes, os.stat_result]:
    """The bytes of a file, and its size and time when they were its whole content.

    Raises:
        OSError: it cannot be opened, it changes while it is read, or it is a folder.
        Undecodable: not a regular file, or over `max_bytes`.
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
