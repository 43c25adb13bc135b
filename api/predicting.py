"""How photos that somebody asks about are read, and what a head says of them."""

import os
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

from petrieve.api.results import Prediction
from petrieve.classifier import head, predict
from petrieve.extractor import query
from petrieve.extractor.find import find_parts
from petrieve.extractor.sources.memory import in_memory
from petrieve.extractor.sources.places import paths_of
from petrieve.extractor.sources.source import Part
from petrieve.store.cache import Cache
from petrieve.store.rows import Embedded, Unreadable

if TYPE_CHECKING:
    from petrieve.api.photos import Photo

PART = 4096  # photos that are predicted at a time: each part is held against the whole store


def parts_of(photos: "Sequence[Photo]") -> list[Part]:
    """Where these photos are read; those in memory are called by their place in the list."""
    found: list[Part] = []
    for placed, some in groupby(enumerate(photos), lambda one: isinstance(one[1], str | os.PathLike)):
        if placed:
            found += find_parts(paths_of([one for _, one in some]))  # type: ignore[misc]
        else:
            found += [in_memory(one, str(number)) for number, one in some]  # type: ignore[arg-type]
    return found


def predicted(
    cache: Cache, fitted: head.Head, results: Iterator[Embedded | Unreadable], max_error: str | float | None
) -> Iterator[Prediction]:
    """What the head says of each photo; embeddings of very many are never in memory at once."""
    while found := list(islice(results, PART)):
        embedded = [one for one in found if isinstance(one, Embedded)]
        told = iter(predict.predict(cache, fitted, embedded, max_error))
        for one, place in zip(found, query.locations([one.photo for one in found], cache), strict=True):
            said: dict[str, Any] = {"error": one.reason} if isinstance(one, Unreadable) else next(told)
            yield Prediction(photo=place["photo"], root=place["root"], **said)
