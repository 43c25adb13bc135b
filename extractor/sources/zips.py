"""Photos in a zip."""

import zipfile
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from extractor.sources.ahead import batched
from extractor.sources.blob import Blob
from extractor.sources.formats import SUFFIXES
from extractor.sources.words import Words
from store.errors import Undecodable
from store.photo import Photo, as_text
from store.rows import Unreadable, unreadable

PART = 256


@dataclass(frozen=True)
class Zip:
    """The photos of a zip."""

    blob: Blob
    root: str
    before: str = ""
    passed: Counter[str] = field(default_factory=Counter)

    def parts(self) -> Iterator["Entries"]:
        """Its photos in the order in which they lie, PART at a time."""
        return (Entries(self.blob, self.before, some) for some in batched(self._photos(), PART))

    def words(self) -> Words | None:
        """Nothing yet."""
        return None

    def part(self, photos: Sequence[Photo]) -> "Entries":
        """Some of its photos as they are known from before."""
        return Entries(self.blob, self.before, tuple(photos))

    def _photos(self) -> Iterator[Photo]:
        with self.blob.open() as file, zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                name = entry.filename
                if name.endswith("/"):
                    continue
                if name[name.rfind(".") :].lower() in SUFFIXES:
                    yield self._photo(entry)
                else:
                    self.passed[name[name.rfind(".") :]] += 1

    def _photo(self, entry: zipfile.ZipInfo) -> Photo:
        moment = datetime(*entry.date_time, tzinfo=UTC)
        return Photo(
            self.root,
            self.before + as_text(entry.filename),
            entry.file_size,
            int(moment.timestamp()) * 1_000_000,
            version=f"zip {entry.CRC:08x}@{entry.header_offset}",
        )


@dataclass(frozen=True, slots=True)
class Entries:
    """Photos that are entries of a zip."""

    blob: Blob
    before: str
    photos: tuple[Photo, ...]

    def read(self, wanted: Collection[str]) -> Iterator[tuple[Photo, bytes] | Unreadable]:
        """The bytes of the photos with these uris, in order, or why they cannot be read."""
        with self.blob.open() as file, zipfile.ZipFile(file) as archive:
            for photo in self.photos:
                if photo.uri in wanted:
                    try:
                        data = archive.read(photo.uri.removeprefix(self.before))
                        yield replace(photo, size=len(data)), data
                    except (OSError, Undecodable, zipfile.BadZipFile) as error:
                        yield unreadable(photo, error)
