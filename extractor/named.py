"""The embeddings of photos that are named one by one, in that order."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, TypeAlias

from petrieve.extractor.engines.local import results
from petrieve.extractor.find import chosen, find_parts, photos_of
from petrieve.extractor.query import QUERY_BATCH, cached_photos, not_looked_up, of_parts
from petrieve.extractor.sources.memory import MEMORY, InMemory, in_memory
from petrieve.extractor.sources.places import Place, container_of
from petrieve.extractor.sources.source import Part
from petrieve.extractor.trunks.choice import Compute
from petrieve.extractor.trunks.trunk import Trunk
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError
from petrieve.store.photo import Photo, is_address
from petrieve.store.rows import Embedded, Unreadable

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

Named: TypeAlias = "Place | bytes | Image.Image"


def embeddings_of(
    photos: "Sequence[Named]",
    cache: Cache | None,
    compute: Compute,
    *,
    trunk: Callable[[], Trunk],
) -> "np.ndarray":
    """The embeddings (N, D) float32 of view 0 of photos, as by `query` where there is a cache, in the order given.

    Photos that the cache has are not opened again, nor are the files that they are in.

    Raises:
        PetrieveError: a photo cannot be read, of which the first is named, or a place is not a photo.
        ValueError: there is no photo.
        TypeError: one is not a photo at all.
    """
    import numpy as np

    if not photos:
        raise ValueError("there are 0 photos, and at least 1 is needed")
    memory: dict[int, InMemory] = {}
    paths: list[str] = []
    for number, one in enumerate(photos):
        if isinstance(one, str | os.PathLike):
            paths.append(_path(one))
        else:
            memory[number] = in_memory(one, str(number))
            paths.append(memory[number].photo.path)
    places = dict.fromkeys(path for number, path in enumerate(paths) if number not in memory)
    there = cached_photos(places, cache) if cache is not None and compute.precision == "auto" else {}
    found = {path: one for path, one in there.items() if _is_as_then(one.photo)}
    parts = [*find_parts([path for path in places if path not in found]), *memory.values()]
    _check_photos(paths, {*found, *photos_of(parts)})
    made = _made(parts, trunk) if cache is None else of_parts(parts, cache, compute, trunk=trunk)
    found |= {one.photo.path: one for one in _sound(made)}
    return np.stack([found[path].embedding for path in paths])


def _is_as_then(photo: Photo) -> bool:
    """Whether a photo is as the cache knows it, by size and time: of one in an archive or a bucket that is assumed."""
    if is_address(photo.path) or container_of(photo.path):
        return True
    try:
        status = os.stat(photo.path)
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns // 1000) == (photo.size, photo.modified)


def _path(place: Place) -> str:
    """The address or absolute path of one photo: no pattern."""
    named = os.fspath(place)
    return named if is_address(named) else os.path.abspath(named)


def _made(parts: Sequence[Part], trunk: Callable[[], Trunk]) -> Iterator[Embedded | Unreadable]:
    """The results of the photos of listed sources in their order, without a store."""
    import torch  # noqa: F401  before the threads begin, which are to compute with one each

    wanted = chosen(parts, photos_of(parts))
    with closing(results(wanted, trunk=trunk, there=not_looked_up, batch=QUERY_BATCH, once=False)) as ready:
        for some in ready:
            yield from some


def _check_photos(paths: Iterable[str], there: Collection[str]) -> None:
    """Refuse a folder or an archive before its photos are embedded."""
    for path in paths:
        if path not in there:
            raise PetrieveError(f"{path} is not a photo", "name photos one by one")


def _sound(results: Iterable[Embedded | Unreadable]) -> Iterator[Embedded]:
    """The results; an unreadable photo is an error."""
    for one in results:
        if isinstance(one, Unreadable):
            name = f"photo {one.photo.uri} of the list" if one.photo.root == MEMORY else one.photo.path
            raise PetrieveError(f"cannot embed {name}: {one.reason}", "leave it out")
        yield one
