"""Photos in a tar, plain or packed."""

import errno
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from posixpath import dirname, join, normpath

from petrieve.extractor.sources.ahead import batched
from petrieve.extractor.sources.annotations.annotations import Annotations, together
from petrieve.extractor.sources.annotations.beside import Beside, is_sheet
from petrieve.extractor.sources.annotations.webdataset import ENDINGS, Siblings
from petrieve.extractor.sources.blob import Blob
from petrieve.extractor.sources.bounds import max_bytes
from petrieve.extractor.sources.entry_names import EntryNames, bad, clean, ending_of, rest, told_bad
from petrieve.extractor.sources.formats import SUFFIXES, is_photo
from petrieve.extractor.sources.source import Read
from petrieve.extractor.sources.tars.headers import (
    BLOCK,
    HARD_LINK,
    OTHERS,
    SPARSE,
    SYMBOLIC_LINK,
    Damage,
    Entry,
    entries,
    is_tar,
)
from petrieve.extractor.sources.tars.unpacked import Bytes, opened
from petrieve.store.errors import Undecodable
from petrieve.store.photo import Photo
from petrieve.store.rows import PASSING, unreadable

PART = 256  # photos that are read together
SPAN = 1 << 22  # bytes that are read at once, where photos lie side by side: a disk or a network answers the sooner
GAP = 1 << 16  # bytes between two photos that are read with them
HEAD = 64  # bytes by which a photo is told
UNREAD = "xz"  # how a tar may be packed that is not read here
CUT = "the tar ends within it"
MORE = "in {} more places"
CHANGED = OSError(errno.EBUSY, "the tar has changed since it was listed")
_VERSION = re.compile(r"tar ([0-9a-f]{8})@(\d+)(?: of .*)?")
Placed = tuple[int, Photo]  # the place of its data


@dataclass(frozen=True)
class Tar:
    """The photos of a tar, plain or packed."""

    blob: Blob
    root: str
    before: str = ""
    packing: str | None = None
    passed: Counter[str] = field(default_factory=Counter)
    beside: Beside = field(default_factory=Beside)
    _siblings: Siblings = field(default_factory=Siblings)

    def parts(self) -> Iterator["Entries"]:
        """Its photos in the order in which they lie: PART at a time, of a packed one all together."""
        photos = self._photos()
        some = batched(photos, len(photos) or 1 if self.packing else PART)
        return self.beside.noted(map(self.part, some), self.passed)

    def annotations(self, listed: Sequence[Photo]) -> Annotations | None:
        """Annotations from files beside the photos, and from sheets."""
        said = self._siblings.annotations(self.blob.path), self.beside.annotations(self.blob.path, listed, self.passed)
        return together(words for words in said if words) if any(said) else None

    def part(self, photos: Sequence[Photo]) -> "Entries":
        """Some of its photos that a store knows."""
        return Entries(self.blob, self.packing, tuple(photos))

    def _photos(self) -> list[Photo]:
        if self.packing == UNREAD:
            self.passed[f"{UNREAD} file (pack it by gzip or zstd)"] += 1
            return []
        names = EntryNames(self.passed)
        found: list[Placed] = []
        links: list[Entry] = []
        lost = Counter[str]()  # why something cannot be listed
        try:
            with opened(self.blob, self.packing) as file:
                for one in self._entries(file):
                    if isinstance(one, Damage):
                        lost[f"{one.what}, at byte {one.place:,}" if not lost else MORE] += 1
                    elif one.kind in (HARD_LINK, SYMBOLIC_LINK):
                        links.append(one)
                    elif uri := self._uri(one, names, file):
                        found.append((one.place, self._photo(one, uri)))
        except (OSError, Undecodable) as error:
            lost = Counter([str(error) if isinstance(error, Undecodable) else f"{PASSING}{error.strerror}"])
        found += self._linked(links, names, dict(self._by_name(found)) if links else {})
        names.note(self.blob.path)
        photos = self._stamped([photo for _, photo in sorted(found, key=itemgetter(0))])
        self._siblings.settle(photos, self.before, self.passed)
        return photos + [rest(self.root, self.before, self.blob, _in_words(lost)) for _ in list(lost)[:1]]

    def _entries(self, file: Bytes) -> Iterator[Entry | Damage]:
        if self.packing and not is_tar(file.read(BLOCK)):
            self.passed[f"{self.packing} file without a tar in it"] += 1
            return
        yield from entries(file, None if self.packing else self.blob.size)

    def _uri(self, entry: Entry, names: EntryNames, file: Bytes) -> str | None:
        """The name of the photo that an entry is, without the uri's prefix; None if it is not a photo."""
        if (uri := names.visible(entry.name)) is None:
            return None
        if entry.kind in OTHERS:
            self.passed[OTHERS[entry.kind]] += 1
            return None
        ending = ending_of(uri)
        if ending in SUFFIXES:
            return names.apart(uri)
        if entry.kind != SPARSE:
            file.seek(entry.place)
            if is_photo(file.read(min(entry.size, HEAD))):
                return names.apart(uri)
            if is_sheet(uri):
                file.seek(entry.place)
                self.beside.hold(uri, entry.size, file.read)
                return None
            if ending in ENDINGS and self._siblings.room_for(uri, entry.size):
                file.seek(entry.place)
                self._siblings.add(names.apart(uri), file.read(entry.size))
                return None
        names.pass_over(uri)
        return None

    def _photo(self, entry: Entry, uri: str) -> Photo:
        if ".." in entry.name and ".." in entry.name.split("/"):
            return self._bad(uri, "its name leads out of the archive")
        if entry.kind == SPARSE:
            return self._bad(uri, "a file with holes, which is not read from a tar: unpack it")
        if entry.size > max_bytes():
            return self._bad(uri, f"over {max_bytes() >> 20} MB")
        if not self.packing and entry.place + entry.size > self.blob.size:
            return self._bad(uri, CUT)
        version = f"tar {entry.checksum:08x}@{entry.place}"
        return Photo(self.root, self.before + uri, entry.size, entry.modified, version=version)

    def _bad(self, uri: str, reason: str) -> Photo:
        return bad(self.root, self.before + uri, self.blob, reason)

    def _by_name(self, found: Iterable[Placed]) -> Iterator[tuple[str, Placed]]:
        return ((placed[1].uri[len(self.before) :], placed) for placed in found)

    def _linked(self, links: Iterable[Entry], names: EntryNames, found: dict[str, Placed]) -> Iterator[Placed]:
        """Photos by a further name: links to what was found, where that is a photo."""
        for link in links:
            if (uri := names.visible(link.name)) is None:
                continue
            soft = link.kind == SYMBOLIC_LINK
            target = _behind(link.name, link.link) if soft else clean(link.link)
            if placed := found.get(target):
                uri = names.apart(uri)
                found[uri] = placed[0], replace(placed[1], uri=self.before + uri)
                yield found[uri]
            elif soft:
                self.passed["symbolic link"] += 1
            elif ending_of(uri) in SUFFIXES:
                reason = f"a link to {link.link!r}, which is not a photo in the tar"
                yield link.place, self._bad(names.apart(uri), reason)
            else:
                names.pass_over(uri)

    def _stamped(self, photos: list[Photo]) -> list[Photo]:
        """The photos, with the tar's time where their own is missing, as in reproducible tars."""
        same = len({photo.modified for photo in photos}) < 2
        of = f" of {self.blob.version or self.blob.modified}"
        return [
            replace(photo, version=f"{photo.version}{of}")
            if (same or not photo.modified) and not told_bad(photo)
            else photo
            for photo in photos
        ]


def _in_words(lost: Counter[str]) -> str:
    first = next(iter(lost))
    if first.startswith(PASSING):
        return first
    more = f", and {MORE.format(lost[MORE])}" if lost[MORE] else ""
    return f"the tar is damaged: {first}{more}; what lay there is lost"


def _behind(name: str, link: str) -> str:
    """The name inside the tar that a symbolic link leads to; empty where it leads out."""
    target = normpath(join(dirname(clean(name)), link))
    return "" if target[:1] == "/" or target[:2] == ".." else target


@dataclass(frozen=True, slots=True)
class Entries:
    """Photos that are entries of a tar."""

    blob: Blob
    packing: str | None
    photos: tuple[Photo, ...]

    def read(self, wanted: Collection[str]) -> Iterator[Read]:
        """The bytes of the photos with these uris in the order in which they lie, or why they cannot be read."""
        placed = list[Placed]()
        for photo in self.photos:
            if photo.uri in wanted:
                if known := told_bad(photo):
                    yield known
                elif found := _VERSION.fullmatch(photo.version or ""):
                    placed.append((int(found[2]), photo))
                else:
                    yield unreadable(photo, CHANGED)
        placed.sort(key=itemgetter(0))
        try:
            with opened(self.blob, self.packing) as file:
                for span in spans(placed, 0 if self.packing else SPAN):
                    yield from _read(file, span)
        except OSError as error:
            yield from (unreadable(photo, error) for _, photo in placed)


def spans(placed: Iterable[Placed], most: int) -> Iterator[list[Placed]]:
    """Photos in order, grouped as they are read at once: names of the same bytes, or at most `most` bytes."""
    span: list[Placed] = []
    end = 0
    for place, photo in placed:
        far = place > end + GAP or place + photo.size > span[0][0] + most if span else False
        if far and place != span[-1][0]:
            yield span
            span = []
        span.append((place, photo))
        end = max(end, place + photo.size)
    if span:
        yield span


def _read(file: Bytes, span: Sequence[Placed]) -> Iterator[Read]:
    """The photos of a span; the header before each tells that it is still the one that was listed."""
    try:
        pieces = _pieces(file, span)
    except (OSError, Undecodable, MemoryError) as error:
        yield from (unreadable(photo, error) for _, photo in span)
        return
    for (_, photo), (header, data) in zip(span, pieces, strict=True):
        if f"{zlib.crc32(header):08x}" != (photo.version or "")[4:12]:
            yield unreadable(photo, CHANGED)
        elif len(data) < photo.size:
            yield unreadable(photo, OSError(errno.EIO, CUT))
        else:
            yield photo, data


def _pieces(file: Bytes, span: Sequence[Placed]) -> list[tuple[bytes, bytes]]:
    """The header and the data of each photo of a span, read at once; of a single one, which may be large, uncopied."""
    first = span[0][0] - BLOCK
    file.seek(first)
    if len(span) == 1:
        return [(file.read(BLOCK), file.read(span[0][1].size))]
    read = file.read(max(place + photo.size for place, photo in span) - first)
    places = [(place - first, photo.size) for place, photo in span]
    return [(read[place - BLOCK : place], read[place : place + size]) for place, size in places]
