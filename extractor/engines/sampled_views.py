"""Views of some of a run's photos, drawn as by chance and always the same."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import nsmallest
from operator import itemgetter
from typing import TYPE_CHECKING

from petrieve.extractor.engines.local import View, load
from petrieve.extractor.sources.ahead import batched
from petrieve.extractor.sources.source import Part
from petrieve.store.photo import Photo

if TYPE_CHECKING:
    from torch import Tensor

    Views = Iterator[Tensor]
Row = tuple[int, Photo]
Work = Iterable[tuple[Part, Sequence[Photo]]]


def sampled_views(
    listed: Callable[[], Iterable[Row]], in_parts: Callable[[Iterable[Row]], Work], at_once: int
) -> "Views":
    """The canonical views (3, 224, 224) of photos in an order that their names alone decide.

    `listed()` yields all photos, each with the number of its part, as often as it is called; `in_parts` groups some of
    them into parts. `at_once` photos are read at a time, since each reading of a packed archive begins at its first
    byte.
    """
    taken, most = 0, 8 * at_once  # a bound on memory; more are drawn only where these cannot be read
    while some := nsmallest(most, enumerate(listed()), key=_digest)[taken:]:
        for batch in batched(some, at_once):
            views = _views(in_parts(row for _, row in sorted(batch, key=itemgetter(0))))
            yield from (views[photo.path] for _, (_, photo) in batch if photo.path in views)
        taken, most = most, 8 * most


def _digest(row: tuple[int, Row]) -> tuple[bytes, str]:
    photo = row[1][1]
    return hashlib.blake2b(photo.uri.encode()).digest(), photo.path


def _views(parts: Work) -> "dict[str, Tensor]":
    """The canonical views of these photos by path; undecodable photos are left out."""
    read = (one for part, photos in parts for one in part.read({photo.uri for photo in photos}))
    seen = (load(one, there=lambda _: None) for one in read)
    return {
        one.photo.path: one.seen.pixels[0] for one in seen if isinstance(one.seen, View) and one.seen.pixels is not None
    }
