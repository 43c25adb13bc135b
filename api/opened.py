"""A store as a person holds it: where it is, and what of it stays warm between two questions."""

import os
from collections.abc import Callable
from functools import lru_cache, partial
from inspect import isfunction
from threading import RLock
from typing import TYPE_CHECKING, Any

from petrieve.api.photos import home
from petrieve.extractor.trunks.choice import Compute, asking_trunk
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
        self._trunks: dict[tuple[str, Compute], Trunk] = {}

    def __init_subclass__(cls) -> None:
        for name, one in vars(cls).items():
            if isfunction(one):
                one.__qualname__ = f"Store.{name}"  # the one class that a person holds: Python's errors name it

    def __len__(self) -> int:
        return len(self.cache())

    def __bool__(self) -> bool:
        return True  # also an empty one is there

    def __repr__(self) -> str:
        named = f", trunk={self.trunk!r}" if self.trunk else ""
        return f"petrieve.open({self.path!r}{named})"

    def __reduce__(self) -> "tuple[Callable[..., Opened], tuple[Any, ...]]":
        return _opened, (type(self), self.path, self.trunk)

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

    def warm(self, cache: Cache) -> "Callable[[], Trunk]":
        """A function that loads the trunk that made what a cache holds, for parts of Petrieve that are not public."""
        return partial(self._warm, cache, Compute())

    def _warm(self, cache: Cache, compute: Compute) -> "Trunk":
        """The trunk that made what a cache holds, loaded once."""
        key = (cache.fingerprint, compute)
        with self._lock:
            if key not in self._trunks:
                self._trunks[key] = asking_trunk(cache, compute)
            return self._trunks[key]


def compute_of(weights: str | None, device: str, precision: str) -> Compute:
    """What a person asks to compute with; `~` in the name of a file of weights is the home folder."""
    return Compute(weights and home(weights), device, precision)


@lru_cache(maxsize=4)
def _opened(kind: type[Opened], path: str, trunk: str | None) -> Opened:
    """The store that all copies of another are, in this process or the next: what is warm stays so in a search."""
    return kind(path, trunk)
