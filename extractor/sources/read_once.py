"""Photos of archives that are read from their start on, or in large pieces: read in one go, and kept for a while."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock

from petrieve.extractor.sources.source import Part, Read
from petrieve.extractor.sources.subfolder import Within
from petrieve.extractor.sources.tables.rows import Rows
from petrieve.extractor.sources.tars.entries import Entries
from petrieve.store.photo import Photo
from petrieve.store.rows import Unreadable

MAX_BYTES = 256 << 20  # bytes of photos in memory
MAX_OPEN = 8  # archives that are open at a time


def is_costly(part: Part) -> bool:
    """Whether reading one photo of a part means reading others before it, or with it."""
    if isinstance(part, Within):
        return is_costly(part.part)
    return isinstance(part, Rows) or (isinstance(part, Entries) and part.packing is not None)


@dataclass(frozen=True, eq=False)
class _Wanted:
    part: Part
    uris: frozenset[str]


@dataclass(eq=False)
class ReadOnce:
    """The wanted photos of such parts: reading one keeps those before it in memory.

    If they are asked for in the order in which they lie, each part is read once, however many threads ask.
    """

    _wanted: dict[str, _Wanted] = field(default_factory=dict)  # by path of a photo
    _under_way: OrderedDict[_Wanted, Iterator[Read]] = field(default_factory=OrderedDict)
    _held: OrderedDict[str, Read] = field(default_factory=OrderedDict)
    _bytes: int = 0
    _lock: Lock = field(default_factory=Lock)

    def want(self, part: Part, photos: Sequence[Photo]) -> None:
        """Photos of a part that will be asked for."""
        wanted = _Wanted(part, frozenset(photo.uri for photo in photos))
        self._wanted.update((photo.path, wanted) for photo in photos)

    def __contains__(self, path: str) -> bool:
        """Whether the photo at a path is wanted."""
        return path in self._wanted

    def read(self, path: str) -> Read | None:
        """A wanted photo, by its path; None if its part does not give it."""
        with self._lock:
            if path in self._held:
                self._held.move_to_end(path)
                return self._held[path]
            wanted = self._wanted[path]
            for left in (self._under_way.pop(wanted, iter(())), wanted.part.read(wanted.uris)):
                for read in left:
                    if self._hold(read) == path:
                        self._under_way[wanted] = left
                        if len(self._under_way) > MAX_OPEN:
                            self._under_way.popitem(last=False)
                        return read
        return None

    def _hold(self, read: Read) -> str:
        """Keep a photo in place of those that were asked for the longest ago; its path."""
        path = _photo(read).path
        self._bytes += _size(read) - (_size(self._held.pop(path)) if path in self._held else 0)
        self._held[path] = read
        while self._bytes > MAX_BYTES and len(self._held) > 1:
            self._bytes -= _size(self._held.popitem(last=False)[1])
        return path


def _photo(read: Read) -> Photo:
    return read.photo if isinstance(read, Unreadable) else read[0]


def _size(read: Read) -> int:
    return 0 if isinstance(read, Unreadable) else len(read[1])
