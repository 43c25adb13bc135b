"""Views of some of a run's photos, drawn as by chance and always the same."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from extractor.engines.local import View, load
from extractor.sources.ahead import batched
from extractor.sources.source import Part
from store.photo import Photo

if TYPE_CHECKING:
    from torch import Tensor


def drawn(parts: Iterable[Part], at_once: int) -> "Iterator[Tensor]":
    """The canonical views (3, 224, 224) of photos in an order that their names alone decide.

    So many are read at a time: of a packed archive each reading begins at its first byte.
    """
    listed = [(photo, part) for part in parts for photo in part.photos]
    listed.sort(key=lambda one: (hashlib.blake2b(one[0].uri.encode()).digest(), one[0].path))
    for some in batched(listed, at_once):
        views = _views(some)
        yield from (views[photo.path] for photo, _ in some if photo.path in views)


def _views(some: Sequence[tuple[Photo, Part]]) -> "dict[str, Tensor]":
    """The canonical views of these photos by path, but for those that cannot be decoded."""
    wanted: dict[int, tuple[Part, set[str]]] = {}
    for photo, part in some:
        wanted.setdefault(id(part), (part, set()))[1].add(photo.uri)
    seen = (load(read, there=lambda _: None) for part, uris in wanted.values() for read in part.read(uris))
    return {
        one.photo.path: one.seen.pixels[0] for one in seen if isinstance(one.seen, View) and one.seen.pixels is not None
    }
