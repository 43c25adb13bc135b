"""Views of some of a run's photos, drawn as by chance and always the same."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from extractor.engines.local import View, load
from extractor.sources.source import Part

if TYPE_CHECKING:
    from torch import Tensor


def drawn(parts: Iterable[Part]) -> "Iterator[Tensor]":
    """The canonical views (3, 224, 224) of photos in an order that their names alone decide."""
    listed = [(photo, part) for part in parts for photo in part.photos]
    for photo, part in sorted(listed, key=lambda one: (hashlib.blake2b(one[0].uri.encode()).digest(), one[0].path)):
        for read in part.read({photo.uri}):
            seen = load(read, there=lambda _: None).seen
            if isinstance(seen, View) and seen.pixels is not None:
                yield seen.pixels[0]
