"""A store as a person holds it: where it is, and what of it stays warm between two questions."""

import os
from threading import RLock
from typing import TYPE_CHECKING

from petrieve.api.photos import home
from petrieve.extractor.trunks.fitting import asking_trunk
from petrieve.index import build
from petrieve.index.build import Index
from petrieve.store.cache import Cache

if TYPE_CHECKING:
    from petrieve.extractor.trunks.trunk import Trunk


class Opened:
    """A store at a path or an address, and one of its trunks, by default the first. It may be made only later.

    Each call sees what is in the store then. The trunk and the index are kept from one call to the next, so that a
    second question is quick; several threads may ask at once.
    """

    def __init__(self, path: str | os.PathLike[str], trunk: str | None = None) -> None:
        self.path = home(path)
        self.trunk = trunk
        self._lock = RLock()
        self._index: Index | None = None
        self._trunks: dict[tuple[str, ...], Trunk] = {}

    def __reduce__(self) -> "tuple[type[Opened], tuple[str, str | None]]":
        return type(self), (self.path, self.trunk)  # a worker process opens it for itself

    def __len__(self) -> int:
        return len(self.cache())

    def __bool__(self) -> bool:
        return True  # also an empty one is there

    def __repr__(self) -> str:
        named = f", trunk={self.trunk!r}" if self.trunk else ""
        return f"petrieve.open({self.path!r}{named})"

    def cache(self) -> Cache:
        """What the store holds now, for parts of Petrieve that are not public.

        Raises:
            PetrieveError: there is no store, or it cannot be read, or it holds nothing of the trunk.
        """
        return Cache.open(self.path, self.trunk)

    def index(self) -> Index:
        """What answers for the store as it is now, for parts of Petrieve that are not public.

        Raises:
            PetrieveError: as `cache` does; or the index was built from embeddings of another trunk.
        """
        with self._lock:
            self._index = build.build(self.cache()) if self._index is None else build.follow(self._index)
            return self._index

    def _warm(self, cache: Cache, weights: str | None, device: str, precision: str) -> "Trunk":
        """The trunk that made what a cache holds, loaded once."""
        key = (cache.fingerprint, weights or "", device, precision)
        with self._lock:
            if key not in self._trunks:
                self._trunks[key] = asking_trunk(cache, weights and home(weights), device, precision)
            return self._trunks[key]
