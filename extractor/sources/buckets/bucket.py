"""Photos that are objects of a bucket."""

from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from petrieve.extractor.sources.ahead import batched
from petrieve.extractor.sources.annotations.annotations import Annotations
from petrieve.extractor.sources.annotations.beside import is_sheet
from petrieve.extractor.sources.annotations.names import ARCHIVE
from petrieve.extractor.sources.blob import Blob
from petrieve.extractor.sources.bounds import max_bytes
from petrieve.extractor.sources.buckets.fetching import Fetch, fetching
from petrieve.extractor.sources.buckets.objects import Object, bytes_of, objects_below
from petrieve.extractor.sources.entry_names import LITTER, ending_of
from petrieve.extractor.sources.formats import SUFFIXES, is_photo
from petrieve.extractor.sources.non_photos import PART, Others
from petrieve.extractor.sources.source import Part, Read
from petrieve.extractor.sources.unchanged import Listings
from petrieve.store.buckets import parted
from petrieve.store.errors import Undecodable
from petrieve.store.photo import Photo
from petrieve.store.rows import unreadable


@dataclass(frozen=True, slots=True)
class Bucket:
    """The photos below a prefix of a bucket, or one; where archives alone lie below it, what these hold.

    Objects are known by their endings: none is opened to see.
    """

    root: str  # an address, without the last slash
    there: Blob | None = None  # the object with just this address, where there is one
    passed: Counter[str] = field(default_factory=Counter)
    listings: Listings | None = None
    others: Others = field(default_factory=Others)

    def parts(self) -> Iterator[Part]:
        """Its photos in the bucket's order, PART at a time."""
        parts = map(Objects, batched(self._photos(self.others), PART))
        return self.others.parts(self.root, parts, self.passed, self.listings)

    def annotations(self, listed: Sequence[Photo]) -> Annotations | None:
        """Annotations from sheets beside its photos, and from its archives."""
        return self.others.annotations(self.root, listed, self.passed)

    def _photos(self, others: Others) -> Iterator[Photo]:
        if (one := self.there) and one.size and (_is_named_like_photo(self.root) or is_photo(one.head()[:64])):
            folder, _, name = self.root.rpartition("/")
            yield Photo(folder, name, one.size, one.modified, version=one.version)
            return
        above = f"{self.root}/"
        start = len(parted(above)[1])
        seen: dict[str, bool] = {}  # whether what lies in a folder is passed over
        for found in objects_below(above):
            uri = found.key[start:]
            folder, _, name = uri.rpartition("/")
            if folder not in seen:
                seen[folder] = _is_passed_over(folder, seen, others)
            if seen[folder] or not name or name[0] == "." or (found.size == 0 and "." not in name):
                continue  # such as a "folder" that a console has made, an object without bytes
            if _is_named_like_photo(name):
                yield Photo(self.root, uri, found.size, found.modified, version=found.version)
            elif is_named_like_archive(name):
                others.archives[above + uri] = _blob(above + uri, found)
            elif is_sheet(name):
                others.sheets.append(above + uri)
            else:
                others.counts[ending_of(name) or "without ending"] += 1


def is_named_like_archive(name: str) -> bool:
    """Whether the ending of an object's name is that of a file that photos are in."""
    return ARCHIVE.search(name) is not None and not name.lower().endswith(".lance")  # a folder of many objects


@dataclass(frozen=True, slots=True)
class Objects:
    """Photos that are objects."""

    photos: tuple[Photo, ...]

    def read(self, wanted: Collection[str]) -> Iterator[Read]:
        """The bytes of the photos with these uris, in order, or why they cannot be read; requests begin at once.

        Raises:
            PetrieveError: the credentials have ended.
        """
        some = [photo for photo in self.photos if photo.uri in wanted]
        return _taken(deque(fetching().ahead(partial(read_object, photo), photo.size) for photo in some))


def read_object(photo: Photo) -> Read:
    """A photo as it is now beside its bytes, or why it cannot be read.

    Raises:
        PetrieveError: the credentials have ended.
    """
    try:
        if photo.size > max_bytes():
            raise Undecodable(f"over {max_bytes() >> 20} MB")
        now, data = bytes_of(photo.path)
    except (OSError, Undecodable, MemoryError) as error:
        return unreadable(photo, error)
    if now.version == photo.version:  # a listing has the milliseconds of its time too
        return replace(photo, size=len(data)), data
    return replace(photo, size=len(data), modified=now.modified, version=now.version), data


def _taken(coming: deque[Fetch[Read]]) -> Iterator[Read]:
    while coming:
        yield coming.popleft().result()


def _blob(address: str, found: Object) -> Blob:
    """An archive as listed, with its time in whole seconds: asked for alone, an object has no more."""
    return Blob(address, found.size, found.modified - found.modified % 1_000_000, found.version)


def _is_named_like_photo(name: str) -> bool:
    return name[name.rfind(".") :].lower() in SUFFIXES


def _is_passed_over(folder: str, seen: dict[str, bool], others: Others) -> bool:
    """Whether a folder or one above it is hidden, or one of LITTER, which `others` counts."""
    above, _, name = folder.rpartition("/")
    if above and above not in seen:
        seen[above] = _is_passed_over(above, seen, others)
    if above and seen[above]:
        return True
    if name.casefold() in LITTER:
        others.counts[name] += 1
        return True
    return name[:1] == "."
