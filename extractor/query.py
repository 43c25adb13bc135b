"""The embeddings of photos that stay outside the store."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import cache as once
from functools import partial

from extractor.engines.local import results
from extractor.pixels.augment import check_views
from extractor.pixels.pillow import Undecodable
from extractor.plan import find_all
from extractor.sources.folder import Source, paths_of, read
from extractor.trunks.fitting import asks, fitting_trunk
from store.cache import Cache
from store.errors import PetrieveError
from store.photo import Photo, digest_of
from store.rows import Embedded, Known, Unreadable, by_digest

# Of photos that are looked up; a single one need not wait for a full batch.
QUERY_BATCH = 8


def query(
    sources: Source | Sequence[Source],
    cache: Cache,
    *,
    weights: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    views: int = 0,
) -> Iterator[Embedded | Unreadable]:
    """The embeddings of photos that need not be in the cache, in the order that `embed` would take them in.

    Each comes with those of so many augmented `views`. What the cache holds is taken from there, without torch unless
    weights, device or precision are given: those are checked. Nothing is written.

    Raises:
        PetrieveError: a source, the weights or the device cannot be used, or the weights are not the cache's.
    """
    check_views(views)
    wanted = paths_of(sources)
    photos = find_all(wanted)
    known = cache.known() if len(photos) > QUERY_BATCH else cache.known_of({one.path: _digest(one) for one in photos})
    rows = by_digest(known)
    trunk = once(partial(fitting_trunk, cache, cache.store, weights or cache.weights, device, precision))
    if asks(cache, weights, device, precision):
        trunk()
    elif not all(photo.path in known and len(known[photo.path].augmented) >= views for photo in photos):
        import torch  # noqa: F401  before the threads begin, which are to compute with one each
    batch = min(QUERY_BATCH, len(photos))
    with closing(results(photos, trunk=trunk, cache=cache, rows=rows, batch=batch, views=views)) as ready:
        for some in ready:
            yield from some


def query_one(source: Source, cache: Cache, **settings: str | None) -> Embedded:
    """The embedding of one photo, as by `query`.

    Raises:
        PetrieveError: also if the photo cannot be read, or `source` is a folder.
    """
    if os.path.isdir(source):
        raise PetrieveError(f"{source} is a folder", "name one photo")
    (result,) = query(source, cache, **settings)  # type: ignore[arg-type]
    if isinstance(result, Unreadable):
        raise PetrieveError(f"cannot embed {source}: {result.reason}", "name another photo")
    return result


def same_photo(photo: Embedded, known: Mapping[str, Known]) -> list[str]:
    """The paths under which the cache holds this very photo: its own; else those with the same bytes."""
    if photo.photo.path in known:
        return [photo.photo.path]
    return sorted(path for path, row in known.items() if row.digest == photo.digest)


def _digest(photo: Photo) -> bytes | None:
    """What a photo's bytes are known by; None where they cannot be read, which is said later."""
    try:
        return digest_of(read(photo.path)[0])
    except (OSError, Undecodable, MemoryError):
        return None
