"""Archives that are not opened, because they have not changed since they were listed: a store knows their photos."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

from petrieve.extractor.sources.ahead import batched
from petrieve.extractor.sources.annotations.annotations import Annotations
from petrieve.extractor.sources.archives import Archive, archive
from petrieve.extractor.sources.blob import Blob
from petrieve.extractor.sources.entry_names import told_bad
from petrieve.extractor.sources.source import Part, Read
from petrieve.extractor.sources.zips.directory import named_in
from petrieve.store.errors import Undecodable
from petrieve.store.known import Known
from petrieve.store.listings import Listing, Tally, tally
from petrieve.store.photo import Photo, Stamp, as_text
from petrieve.store.rows import unreadable

if TYPE_CHECKING:
    import numpy as np

# Seconds within which a changed file may change again and keep its time: FAT keeps every other second.
FRESH = 2.0
PHOTOS_AT_ONCE = 10_000  # photos that are in memory at a time


@dataclass(eq=False)
class Listings:
    """What archives held when they were listed, by their paths: then, and in this run."""

    then: Mapping[str, Listing]
    there: Known
    now: dict[str, Listing] = field(default_factory=dict)

    def archive(self, blob: Blob, root: str, before: str = "") -> Archive | None:
        """The photos inside a file, as by `archive`; where it has not changed, as the store knows them.

        Raises:
            OSError: it cannot be opened.
        """
        listing = self.then.get(blob.path)
        if listing and listing.stamp == _stamp(blob):
            photos = partial(self._photos, blob, root, before)
            if listing.photos.is_of(tally(photos(), len(before))):
                return UnchangedArchive(blob, root, before, photos, Counter(listing.passed))
        found = archive(blob, root, before)
        return found and OpenedArchive(found, blob, len(before), self.now)

    def _photos(self, blob: Blob, root: str, before: str) -> Iterator[Photo]:
        """The photos in a file that the store knows, with uris relative to this root."""
        container = as_text(blob.path)
        for name, size, modified, version in self.there.inside(container, self._places[container]):
            yield Photo(root, before + name, size, modified, version=version)

    @cached_property
    def _places(self) -> "dict[str, np.ndarray]":
        return self.there.places_in({as_text(path) for path in self.then})


def opened(blob: Blob, root: str, before: str, listings: Listings | None) -> Archive | None:
    """The photos inside a file, as they were listed before where that is known.

    Raises:
        OSError: it cannot be opened.
    """
    return listings.archive(blob, root, before) if listings else archive(blob, root, before)


def _stamp(blob: Blob) -> Stamp:
    """A stamp that changes with the file, and with how the names in it are read."""
    names = f"{blob.version or ''} names in {encoding}" if (encoding := named_in()) else blob.version
    return blob.size, blob.modified, names


@dataclass(frozen=True)
class OpenedArchive:
    """An archive whose content is noted once it is listed."""

    whole: Archive
    blob: Blob
    start: int  # where the names in it begin in the uris of its photos
    now: dict[str, Listing]

    @property
    def root(self) -> str:
        """As the archive has it."""
        return self.whole.root

    @property
    def passed(self) -> Counter[str]:
        """As the archive has it."""
        return self.whole.passed

    def parts(self) -> Iterator[Part]:
        """All its photos."""
        found, whole = Tally(), time.time() - self.blob.modified / 1e6 > FRESH
        for part in self.whole.parts():
            found += tally(part.photos, self.start)
            # What could not be reached when it was listed is tried again.
            whole = whole and not any((bad := told_bad(photo)) and bad.may_pass for photo in part.photos)
            yield part
        if whole:
            self.now[self.blob.path] = Listing(_stamp(self.blob), found, dict(self.passed))

    def annotations(self, listed: Sequence[Photo]) -> Annotations | None:
        """As the archive has it."""
        return self.whole.annotations(listed)

    def part(self, photos: Sequence[Photo]) -> Part:
        """As the archive has it."""
        return self.whole.part(photos)


@dataclass(frozen=True)
class UnchangedArchive:
    """An archive that has not changed."""

    blob: Blob
    root: str
    before: str
    photos: Callable[[], Iterator[Photo]]
    passed: Counter[str]

    def parts(self) -> Iterator[Part]:
        """All its photos, some at a time."""
        return map(self.part, batched(self.photos(), PHOTOS_AT_ONCE))

    def annotations(self, _: Sequence[Photo]) -> Annotations | None:
        """None: none of its photos is new."""
        return None

    def part(self, photos: Sequence[Photo]) -> "UnopenedPart":
        """Some of its photos."""
        return UnopenedPart(self.blob, self.root, self.before, tuple(photos))


@dataclass(frozen=True, slots=True)
class UnopenedPart:
    """Photos of an archive that is opened when they are read."""

    blob: Blob
    root: str
    before: str
    photos: tuple[Photo, ...]

    def read(self, wanted: Collection[str]) -> Iterator[Read]:
        """The bytes of the photos with these uris, in order, or why they cannot be read."""
        try:
            found = archive(self.blob, self.root, self.before)
            why: Exception = Undecodable(f"{self.blob.path} is no longer an archive of photos")
        except OSError as error:
            found, why = None, error
        if found:
            yield from found.part(self.photos).read(wanted)
        else:
            yield from (unreadable(photo, why) for photo in self.photos if photo.uri in wanted)
