"""Photos in a zip: listed by its directory, and read from where that says they lie."""

import errno
import re
from calendar import timegm
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from stat import S_IFMT, S_ISLNK, S_ISREG

from petrieve.extractor.sources.ahead import batched
from petrieve.extractor.sources.annotations.annotations import Annotations, together
from petrieve.extractor.sources.annotations.beside import Beside, entry_of, is_sheet
from petrieve.extractor.sources.annotations.webdataset import ENDINGS, Siblings, names_beside
from petrieve.extractor.sources.blob import Blob, blob_at
from petrieve.extractor.sources.bounds import max_ratio
from petrieve.extractor.sources.entry_names import ARCHIVES, EntryNames, bad, clean, ending_of, rest, told_bad
from petrieve.extractor.sources.formats import SUFFIXES, is_photo
from petrieve.extractor.sources.source import Read
from petrieve.extractor.sources.zips import torn
from petrieve.extractor.sources.zips.directory import Entry, directory, text_of
from petrieve.extractor.sources.zips.unpack import DEFLATED, STORED, Header, Window, content, first_bytes, header
from petrieve.store.errors import Undecodable
from petrieve.store.photo import Photo, Stamp
from petrieve.store.rows import PASSING, Unreadable, unreadable

# What zips begin with: an entry, the end of an empty directory, and the marks of those that were made to be split.
ZIPS = (b"PK\3\4", b"PK\5\6", b"PK00", b"PK\7\10")
PART = 256  # photos that are read together
# Bytes between two photos that are read rather than skipped; and the longest header before a photo's own bytes.
_GAP, _BEFORE = 1 << 18, 1 << 12
HEAD = 64  # bytes that tell a photo
# A photo that unpacks to more than this is refused if that is over `max_ratio` times its packed size. Deflate's highest
# ratio is 1,032; a photo of one colour reaches it at a few megabytes.
_LARGE = 1 << 26
# Entries with these endings are not photos, and are not opened to see: a data set may have one of them beside each.
_NEVER_PHOTOS = frozenset(
    ".txt .json .jsonl .ndjson .csv .tsv .xml .yaml .yml .toml .md .rst .html .htm .log .cls .caption .py .ipynb .sh "
    ".css .js .npy .npz .mat .pkl .pt .pth .h5 .hdf5 .safetensors .onnx .mp4 .mov .avi .mkv .webm .mp3 .wav .pdf "
    ".xmp .thm .svg .exe .dll".split()
)
_METHODS = {9: "deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ", 96: "JPEG", 98: "PPMd", 99: "AES"}
_ENCRYPTED = 1
_STAMP = re.compile(r"zip ([0-9a-f]{8})@(\d+)")
_APART = re.compile(r" \(\d+\)(\.[^./]*)?$")


@dataclass(frozen=True)
class Zip:
    """The photos of a zip."""

    blob: Blob
    root: str
    before: str = ""
    passed: Counter[str] = field(default_factory=Counter)
    beside: Beside = field(default_factory=Beside)
    _siblings: Siblings = field(default_factory=Siblings)
    _texts: list[Photo] = field(default_factory=list)  # what may be siblings, as if they were photos

    def parts(self) -> Iterator["Entries"]:
        """Its photos in the order in which they lie, PART at a time; what cannot be listed is an unreadable one."""
        listed: list[Photo] = []
        for part in self.beside.noted(map(self._part, batched(self._photos(), PART)), self.passed):
            listed += part.photos
            yield part
        if self._texts:
            self._settle(listed)

    def annotations(self, listed: Sequence[Photo]) -> Annotations | None:
        """Annotations from files beside the photos, and from sheets."""
        said = self._siblings.annotations(self.blob.path), self.beside.annotations(self.blob.path, listed, self.passed)
        return together(words for words in said if words) if any(said) else None

    def part(self, photos: Sequence[Photo]) -> "Entries":
        """Some of its photos that a store knows."""
        return replace(self._part(photos), known=True)

    def _part(self, photos: Sequence[Photo]) -> "Entries":
        return Entries(self.blob, self.before, tuple(photos))

    def _photos(self) -> Iterator[Photo]:
        names = EntryNames(self.passed)
        try:
            with self.blob.open() as file:
                window = Window(file, self.blob.size)
                for entry in directory(window) or torn.entries(window):
                    if isinstance(entry, str):
                        yield self._rest(entry)
                    elif photo := self._photo(entry, names, window):
                        yield photo
        except Undecodable as error:
            yield self._rest(str(error))
        except OSError as error:
            yield self._rest(f"{PASSING}{error.strerror}")
        names.note(self.blob.path)

    def _rest(self, reason: str) -> Photo:
        return rest(self.root, self.before, self.blob, reason)

    def _photo(self, entry: Entry, names: EntryNames, window: Window) -> Photo | None:
        uri = None if entry.name[-1:] == "/" else names.visible(entry.name)
        if not uri:
            return None
        if not _is_photo(entry, ending_of(uri), window):
            if is_sheet(uri) and not _refused(entry):
                sheet = self._listed(entry, self.before + uri)
                self.beside.sheets.append(entry_of(self.part([sheet]), sheet, len(self.before)))
            elif ending_of(uri) in ENDINGS and not _refused(entry):
                self._texts.append(self._listed(entry, self.before + names.apart(uri)))
            else:
                names.pass_over(uri)
            return None
        uri = self.before + names.apart(uri)
        if reason := _refused(entry):
            return bad(self.root, uri, self.blob, reason)
        return self._listed(entry, uri)

    def _settle(self, photos: Sequence[Photo]) -> None:
        """Give photos their siblings, which alone are read, in one go; files of no photo are passed over."""
        start = len(self.before)
        names = {name for photo in photos for name in names_beside(photo.uri[start:])}
        wanted = {
            one.uri
            for one in self._texts
            if one.uri[start : one.uri.rfind(".")] in names and self._siblings.room_for(one.uri[start:], one.size)
        }
        self.passed.update(ending_of(one.uri) for one in self._texts if one.uri not in wanted)
        for read in self.part(self._texts).read(wanted):
            if isinstance(read, Unreadable):
                self._siblings.pass_over(read.photo.uri[start:], read.reason)
            else:
                self._siblings.add(read[0].uri[start:], read[1])
        self._siblings.settle(photos, self.before, self.passed)
        self._texts.clear()

    def _listed(self, entry: Entry, uri: str) -> Photo:
        version = f"zip {entry.crc:08x}@{entry.offset}"
        return Photo(self.root, uri, entry.size, _microseconds(entry.moment), version=version)


def ends_as_zip(blob: Blob) -> bool:
    """Whether a file that begins otherwise ends with the directory of a zip."""
    try:
        with blob.open() as file:
            return directory(Window(file, blob.size)) is not None
    except Undecodable:
        return False


def _is_photo(entry: Entry, ending: str, window: Window) -> bool:
    """Whether an entry counts as a photo: by its ending, or with one that tells nothing, by its first bytes."""
    if ending in SUFFIXES:
        return True
    if ending in _NEVER_PHOTOS or ending in ARCHIVES or (entry.mode and not S_ISREG(entry.mode)):
        return False
    window.until = entry.offset + _BEFORE
    return is_photo(first_bytes(window, entry.offset, HEAD))


def _refused(entry: Entry) -> str | None:
    """Why a photo is not read, as far as the directory tells."""
    if ".." in entry.name and ".." in entry.name.split("/"):
        return "its name leads out of the archive"
    if entry.mode and S_IFMT(entry.mode) and not S_ISREG(entry.mode):
        return "it is a link" if S_ISLNK(entry.mode) else "it is not a regular file"
    if entry.flags & _ENCRYPTED:
        return "it is encrypted"
    if entry.method not in (STORED, DEFLATED):
        return _packed_as(entry.method)
    if entry.method == STORED and entry.packed != entry.size:
        return f"the archive says that it takes {entry.packed} bytes and, as it is, {entry.size}"
    if entry.offset + entry.least + entry.packed > entry.limit:
        return "it reaches into what lies behind it in the archive, or beyond its end"
    if entry.size > _LARGE and entry.size > max_ratio() * entry.packed:
        return (
            f"it says that it unpacks to {entry.size >> 20} MB, over {max_ratio()} times what it takes in the archive"
        )
    return None


def _packed_as(method: int) -> str:
    return f"it is packed as {_METHODS.get(method, f'method {method}')}, and neither stored nor deflated"


@lru_cache(maxsize=4096)
def _microseconds(moment: int) -> int:
    """A DOS time, as if it were UTC, in microseconds since 1970; 0 where it is none."""
    date, time = moment >> 16, moment & 0xFFFF
    try:
        day = 1980 + (date >> 9), date >> 5 & 15, date & 31
        return 1_000_000 * timegm((*day, time >> 11, time >> 5 & 63, time % 32 * 2))
    except ValueError:
        return 0


@dataclass(frozen=True, slots=True)
class Entries:
    """Photos that are entries of a zip, in the order in which they lie."""

    blob: Blob
    before: str
    photos: tuple[Photo, ...]
    known: bool = False  # from before: the zip may have changed since

    def read(self, wanted: Collection[str]) -> Iterator[Read]:
        """The bytes of the photos with these uris, in order, or why they cannot be read."""
        chosen = [photo for photo in self.photos if photo.uri in wanted]
        try:
            file = self.blob.open()
        except OSError as error:
            yield from (unreadable(photo, error) for photo in chosen)
            return
        with file:
            window = Window(file, self.blob.size)
            for photo, window.until in zip(chosen, _ahead(chosen), strict=True):
                yield told_bad(photo) or self._read(window, photo)

    def _read(self, window: Window, photo: Photo) -> Read:
        try:
            return photo, self._content(window, photo)
        except Undecodable as error:
            return self._misread(photo, error)
        except (OSError, MemoryError) as error:
            return unreadable(photo, error)

    def _content(self, window: Window, photo: Photo) -> bytes:
        crc, place = _stamped(photo) or (0, -1)
        found = header(window, place) if place >= 0 else None
        if found is None:
            raise Undecodable("it is not where the archive says")
        if not _is_called(found, photo.uri.removeprefix(self.before)):
            raise Undecodable("its header has another name than the archive's directory")
        if found.method not in (STORED, DEFLATED):
            raise Undecodable(_packed_as(found.method))
        return content(window, place + found.length, found.method, photo.size, crc)

    def _misread(self, photo: Photo, error: Exception) -> Unreadable:
        """Why a photo is not as it was listed: its zip, or the entry, may have changed."""
        blob = self.blob
        try:
            if blob_at(blob.path) != blob:
                error = OSError(errno.EBUSY, "the archive changed while it was read")
            elif self.known and _stamps(blob, photo.root, self.before).get(photo.uri) != photo.stamp:
                photo = replace(photo, version=None)
        except OSError as other:
            error = other
        return unreadable(photo, error)


@lru_cache(maxsize=1)
def _stamps(blob: Blob, root: str, before: str) -> dict[str, Stamp]:
    return {photo.uri: photo.stamp for part in Zip(blob, root, before).parts() for photo in part.photos}


def _stamped(photo: Photo) -> tuple[int, int] | None:
    """A photo's CRC and the place of its header."""
    found = _STAMP.fullmatch(photo.version or "")
    return (int(found[1], 16), int(found[2])) if found else None


def _ahead(photos: Sequence[Photo]) -> list[int]:
    """For each photo, the end of what is read at once: the photos close behind it too."""
    places, until, next_place = list[int](), 0, -1
    for photo in reversed(photos):
        if found := _stamped(photo):
            end = found[1] + _BEFORE + photo.size
            until = until if end + _GAP >= next_place >= 0 else end
            next_place = found[1]
        places.append(until)
    return places[::-1]


def _is_called(found: Header, name: str) -> bool:
    """Whether an entry's own header has the name that its uri is made from. One that is not in ASCII passes."""
    if not found.name.isascii():
        return True
    names = (text_of(found.name, found.flags, found.extra), name, _APART.sub(r"\1", name))
    own, *others = (clean(one.replace("\\", "/")) for one in names)
    return own in others
