"""Photos below a folder in an archive, called as they would be if that folder were unpacked."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from petrieve.extractor.sources.annotations.annotations import Annotations
from petrieve.extractor.sources.archives import Archive
from petrieve.extractor.sources.folder import is_folder
from petrieve.extractor.sources.source import Part, Read
from petrieve.store.photo import Photo
from petrieve.store.rows import Unreadable


@dataclass(frozen=True)
class Below:
    """The photos of an archive whose names begin with the one of a folder in it; or the photo of this name."""

    whole: Archive
    name: str

    @property
    def root(self) -> str:
        """The folder."""
        return f"{self.whole.root}/{self.name}"

    @property
    def passed(self) -> Counter[str]:
        """What the whole archive holds beside photos."""
        return self.whole.passed

    def parts(self) -> Iterator[Part]:
        """Its photos in a stable order."""
        above = self.name.rpartition("/")[0]  # the folder of the one photo of this name
        for part in self.whole.parts():
            if some := [photo for photo in part.photos if photo.uri.startswith(f"{self.name}/")]:
                yield within(self.whole, some, self.name)
            if some := [photo for photo in part.photos if photo.uri == self.name]:
                yield within(self.whole, some, above) if above else self.whole.part(some)
            if some := [photo for photo in part.photos if is_folder(photo.path)]:  # what is not listed may lie here
                yield self.whole.part(some)

    def annotations(self, listed: Sequence[Photo]) -> Annotations | None:
        """The annotations of the whole archive."""
        return self.whole.annotations(listed)


@dataclass(frozen=True, slots=True)
class Within:
    """Photos of an archive, with uris relative to a folder in it."""

    photos: tuple[Photo, ...]
    part: Part  # the same photos in the same order, with uris relative to the archive
    start: int  # of their uris here in those of the archive

    def read(self, wanted: Collection[str]) -> Iterator[Read]:
        """The bytes of the photos with these uris, in order, or why they cannot be read."""
        for read in self.part.read({photo.uri for photo in self.part.photos if photo.uri[self.start :] in wanted}):
            if isinstance(read, Unreadable):
                yield replace(read, photo=self._here(read.photo))
            else:
                yield self._here(read[0]), read[1]

    def _here(self, photo: Photo) -> Photo:
        return replace(photo, root=self.photos[0].root, uri=photo.uri[self.start :])


def within(archive: Archive, photos: Sequence[Photo], name: str) -> Within:
    """Photos of an archive below a folder in it that has this name."""
    start, root = len(name) + 1, f"{archive.root}/{name}"
    here = tuple(replace(photo, root=root, uri=photo.uri[start:]) for photo in photos)
    return Within(here, archive.part(photos), start)


def narrowed(part: Part, photos: Sequence[Photo]) -> Part:
    """The part with only these photos, which may be annotated: what is read of it keeps that."""
    changed: dict[str, Any] = {"photos": tuple(photos)}
    if isinstance(part, Within):
        inner = []
        for photo in photos:
            above, folder = photo.root[: -part.start], photo.root[1 - part.start :]
            inner.append(replace(photo, root=above, uri=f"{folder}/{photo.uri}"))
        changed["part"] = narrowed(part.part, inner)
    return cast(Part, replace(cast(Any, part), **changed))


def known_within(archive: Archive, photos: Sequence[Photo], name: str) -> Within:
    """The same for known photos, whose uris are relative to that folder."""
    return within(archive, [replace(one, root=archive.root, uri=f"{name}/{one.uri}") for one in photos], name)
