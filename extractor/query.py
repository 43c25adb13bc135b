"""The embeddings of photos that stay outside the store."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cache as once
from functools import partial
from typing import TYPE_CHECKING

from petrieve.extractor.engines.local import few, results
from petrieve.extractor.find import chosen, find_parts, photos_of
from petrieve.extractor.pixels.augment import RECIPE, check_views
from petrieve.extractor.sources.memory import in_memory
from petrieve.extractor.sources.places import Place, container_of, paths_of
from petrieve.extractor.sources.source import Part
from petrieve.extractor.trunks.choice import Compute, asking_trunk, asks
from petrieve.extractor.trunks.saved_weights import array_net
from petrieve.extractor.trunks.trunk import Trunk
from petrieve.store.cache import Cache
from petrieve.store.contents import Content
from petrieve.store.errors import PetrieveError
from petrieve.store.known import known
from petrieve.store.photo import Photo, digest_of, is_address, path_of
from petrieve.store.rows import Embedded, Unreadable, microseconds

if TYPE_CHECKING:
    from PIL import Image

# The batch of a look-up, so that a single photo does not wait for a full one. NumPy embeds as many, one by one, in
# about the time that torch takes to start.
QUERY_BATCH = 8
AS_IS = Compute()


def query(
    sources: Place | Sequence[Place],
    cache: Cache,
    compute: Compute = AS_IS,
    *,
    views: int = 0,
) -> Iterator[Embedded | Unreadable]:
    """The embeddings of photos that need not be in the cache, in the order in which `embed` would list them.

    Each comes with N augmented `views`. Cached embeddings are taken as they are, without torch unless weights or device
    are given and must be checked. If a precision is given, all are computed in it. Without any of the three, up to
    QUERY_BATCH new photos are embedded on NumPy, in float32. Nothing is written to the store.

    Raises:
        PetrieveError: a source, the weights or the device cannot be used, or the weights are not the cache's.
    """
    parts = find_parts(paths_of(sources))
    yield from of_parts(parts, cache, compute, views=views)


def of_parts(
    parts: Sequence[Part],
    cache: Cache,
    compute: Compute = AS_IS,
    *,
    views: int = 0,
    trunk: Callable[[], Trunk] | None = None,
) -> Iterator[Embedded | Unreadable]:
    """What `query` gives, for photos of listed sources; by a loaded `trunk`, if given."""
    check_views(views)
    photos = list(photos_of(parts).values())
    trunk = trunk or once(partial(asking_trunk, cache, compute))
    # Augmented views of another recipe are passed over.
    wanted = chosen(parts, [photo.path for photo in photos])
    there, holds_all = _lookup(wanted, photos, cache, views if cache.made.recipe in ("", RECIPE) else 0)
    if views and cache.made.recipe not in ("", RECIPE):
        there, holds_all = partial(_canonical, there), False
    if compute.precision != "auto":
        there = not_looked_up
    if asks(cache, compute):
        trunk()
    elif not holds_all and not views and len(photos) <= QUERY_BATCH and (network := array_net(cache.made)):
        yield from _whole(list(few(wanted, network=network, there=there)), cache)
        return
    elif not holds_all:
        import torch  # noqa: F401  before the threads begin, which are to compute with one each
    batch = max(1, min(QUERY_BATCH, len(photos)))
    with closing(results(wanted, trunk=trunk, there=there, batch=batch, views=views, once=False)) as ready:
        for some in ready:
            yield from _whole(some, cache)


def query_one(
    source: "Place | bytes | Image.Image",
    cache: Cache,
    compute: Compute = AS_IS,
    *,
    trunk: Callable[[], Trunk] | None = None,
    name: str = "photo",
) -> Embedded:
    """The embedding of one photo, as by `query`; an archive is not opened for a photo that the cache has.

    The photo may also be the bytes of a file or a Pillow image, which then has this `name`.

    Raises:
        PetrieveError: also if the photo cannot be read, or `source` is a folder or an archive.
        TypeError: it is not a photo at all.
    """
    ask = partial(of_parts, cache=cache, compute=compute, trunk=trunk)
    if not isinstance(source, str | os.PathLike):
        return _one(ask([in_memory(source, name)]), "the photo")
    if os.path.isdir(source):
        raise PetrieveError(f"{source} is a folder", "name one photo")
    place = os.fspath(source)
    (path, *others) = [place] if is_address(place) else paths_of(place)  # of one photo, a name is no pattern
    inside = compute.precision == "auto" and (container_of(path) or is_address(path))
    if inside and (there := cached_photos([path], cache)):
        if asks(cache, compute):
            (trunk or partial(asking_trunk, cache, compute))()
        return next(iter(there.values()))
    parts = find_parts([path, *others])
    if (count := len(photos_of(parts))) != 1:
        raise PetrieveError(f"{source} holds {count:,} photos", "name one photo")
    return _one(ask(parts), os.fspath(source))


def _one(results: Iterator[Embedded | Unreadable], name: str) -> Embedded:
    (result,) = results
    if isinstance(result, Unreadable):
        raise PetrieveError(f"cannot embed {name}: {result.reason}", "name another photo")
    return result


def cached_photos(paths: Iterable[str], cache: Cache) -> dict[str, Embedded]:
    """Photos as the cache has them, of those at these paths, by path."""
    rows = [row for row in cache.known_of(dict.fromkeys(paths)) if row["digest"]]
    views = cache.views_of({row["digest"] for row in rows})
    there = [row for row in rows if row["digest"] in views]
    photos = [Photo(row["root"], row["uri"], row["size"], microseconds(row["modified"])) for row in there]
    digests = [row["digest"] for row in there]
    return {
        photo.path: Embedded(photo, digest, 0, 0, views[digest]) for photo, digest in zip(photos, digests, strict=True)
    }


def locations(photos: Sequence[Photo], cache: Cache) -> list[dict[str, str]]:
    """For each photo `photo`, its path below its root, and `root`: as the cache and its exports have them."""
    rows = cache.known_of({photo.path: None for photo in photos})
    there = {path_of(row["root"], row["uri"]): (row["uri"], row["root"]) for row in rows}
    found = (there.get(photo.path, (photo.uri, photo.root)) for photo in photos)
    return [{"photo": uri, "root": root} for uri, root in found]


def same_photo(photo: Embedded, cache: Cache) -> list[str]:
    """The paths under which the cache holds this very photo: its own; else those with the same bytes."""
    rows = cache.known_of({photo.photo.path: photo.digest})
    paths = sorted(path_of(row["root"], row["uri"]) for row in rows)
    return [photo.photo.path] if photo.photo.path in paths else paths


def _lookup(
    wanted: Sequence[tuple[Part, Sequence[Photo]]], photos: Sequence[Photo], cache: Cache, views: int
) -> tuple[Callable[[bytes], Content | None], bool]:
    """A function from a digest to its cached embeddings; and whether the cache has all these photos, if known."""
    if len(photos) <= QUERY_BATCH:
        read = [one for part, some in wanted for one in part.read({photo.uri for photo in some})]
        contents = [cache.content_of(digest_of(one[1])) for one in read if not isinstance(one, Unreadable)]
        return cache.content_of, all(one is not None and one.views > views for one in contents)
    there = known(cache)
    return there.embeddings.of, all(photo.path in there and there.views_of(photo.path) > views for photo in photos)


def not_looked_up(digest: bytes) -> None:
    """Nothing is there: all is to be computed anew."""


def _canonical(there: Callable[[bytes], Content | None], digest: bytes) -> Content | None:
    """What the cache has of a content, without augmented views."""
    found = there(digest)
    return found and found._replace(views=1)


def _whole(results: Sequence[Embedded | Unreadable], cache: Cache) -> Iterator[Embedded | Unreadable]:
    """The results, completed with the cached embeddings of their contents."""
    import numpy as np

    stored = cache.views_of({one.digest for one in results if isinstance(one, Embedded) and one.first})
    for one in results:
        if isinstance(one, Embedded) and one.first:
            before = stored[one.digest][: one.first]
            one = replace(one, views=np.concatenate([before, one.views]) if len(one.views) else before, first=0)
        yield one
