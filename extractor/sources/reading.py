"""The bytes of photos that a store knows, by their paths."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from extractor.sources.places import container_of, read_at, read_known
from store.cache import Cache
from store.errors import Undecodable
from store.known import photos_at
from store.photo import Photo
from store.rows import Unreadable


@dataclass(eq=False)
class Reader:
    """Reads photos by their paths; those in archives by what a cache knows of them, so that these are not listed."""

    cache: Cache | None = None
    photos: dict[str, Photo | None] = field(default_factory=dict)  # those in archives that were asked for, by path

    def know(self, paths: Iterable[str]) -> None:
        """Look all of these up at once, which takes as long as one alone."""
        folders: dict[str, bool] = {}
        inside = []
        for path in paths:
            folder = os.path.dirname(path)
            if folder not in folders:
                folders[folder] = container_of(path) is not None
            if folders[folder] and path not in self.photos:
                inside.append(path)
        if inside:
            found = photos_at(self.cache, inside) if self.cache else {}
            self.photos.update((path, found.get(path)) for path in inside)

    def __call__(self, path: str) -> bytes:
        """The bytes of the photo at a path.

        Raises:
            OSError: it cannot be opened, or changes while it is read.
            Undecodable: no regular file, or over `max_bytes`; or what holds it holds it no longer.
        """
        self.know([path])
        photo = self.photos.get(path)
        if photo is None:
            return read_at(path)
        found = read_known(photo)
        if isinstance(found, Unreadable):
            raise Undecodable(found.reason)
        return found[1]
