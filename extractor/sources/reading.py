"""The bytes of photos that a store knows, by their paths."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from petrieve.extractor.sources.places import container_of, parts_of, read_at, read_known
from petrieve.extractor.sources.read_once import ReadOnce, is_costly
from petrieve.store.cache import Cache
from petrieve.store.errors import Undecodable
from petrieve.store.known import photos_at
from petrieve.store.photo import Photo


@dataclass(eq=False)
class Reader:
    """Reads photos by their paths; archives are not listed, since a cache knows their photos."""

    cache: Cache | None = None
    photos: dict[str, Photo | None] = field(default_factory=dict)  # those in archives that were asked for, by path
    held: ReadOnce = field(default_factory=ReadOnce)

    def __reduce__(self) -> "tuple[type[Reader], tuple[()]]":
        return Reader, ()  # a copy, or one in another process, opens its own files

    def know(self, paths: Iterable[str]) -> list[str]:
        """Look these paths up together, in the time of one; returns them in the order in which they are best read.

        An archive that is packed as a whole is then read once for all of them.
        """
        listed = list(dict.fromkeys(paths))
        self._look_up(listed)
        for part, photos in parts_of(photo for path in listed if (photo := self.photos.get(path))):
            if is_costly(part):
                self.held.want(part, photos)
        order = {path: place for place, path in enumerate(self.photos)}  # as the store has them, which is as they lie
        return sorted(listed, key=lambda path: order.get(path, -1))

    def _look_up(self, paths: Iterable[str]) -> None:
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
            self.photos.update(found)
            self.photos.update((path, None) for path in inside if path not in found)

    def __call__(self, path: str) -> bytes:
        """The bytes of the photo at a path.

        Raises:
            OSError: it cannot be opened, or changes while it is read.
            Undecodable: not a regular file, or over `max_bytes`; or its archive no longer holds it.
        """
        if path not in self.held:
            self.know([path])
        photo = self.photos.get(path)
        if photo is None:
            return read_at(path)
        found = self.held.read(path) if path in self.held else read_known(photo)
        if not isinstance(found, tuple):
            raise Undecodable(found.reason if found else "the archive does not hold it")
        return found[1]
