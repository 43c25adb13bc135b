"""The photos that appear in a folder, embedded as they come: the trunk is loaded once."""

import os
import time
from collections.abc import Iterator
from contextlib import closing

from extractor.cache import Cache
from extractor.embed import fitting_trunk
from extractor.errors import PetrieveError
from extractor.photos import Photo, find
from extractor.rows import Embedded, Unreadable
from extractor.stream import results
from extractor.trunk import Trunk

# Between two looks at the folder; longer where a look itself takes long.
SECONDS = 0.25


def watch(
    folder: str | os.PathLike[str],
    cache: Cache,
    *,
    weights: str | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> Iterator[Embedded | Unreadable]:
    """The embedding of each photo that appears in a folder, or changes there, from this call on, without end.

    Nothing is written.

    Raises:
        PetrieveError: it is no folder or cannot be listed, or the weights or the device cannot be used.
    """
    if os.path.isfile(folder):
        raise PetrieveError(f"{os.fspath(folder)} is no folder", "name the folder in which photos appear")
    before = _there(folder)
    trunk = fitting_trunk(cache, cache.store, weights or cache.weights, device, precision)
    return _embedded(_appearing(folder, before), trunk, cache)


def _embedded(photos: Iterator[Photo], trunk: Trunk, cache: Cache) -> Iterator[Embedded | Unreadable]:
    for photo in photos:
        with closing(results([photo], trunk=lambda: trunk, cache=cache, rows={}, batch=1, workers=1)) as ready:
            for some in ready:
                yield from some


def _appearing(folder: str | os.PathLike[str], before: dict[str, Photo]) -> Iterator[Photo]:
    """The photos that were not there before, each as soon as its size and time have stood still between two looks.

    One that changes again, also one that was there before, appears again.
    """
    done = dict(before)
    while True:
        started = time.perf_counter()
        now = _there(folder)
        for path, photo in now.items():
            if photo == before.get(path) and photo != done.get(path):
                done[path] = photo
                yield photo
        before, done = now, {path: photo for path, photo in done.items() if path in now}
        time.sleep(max(SECONDS, time.perf_counter() - started))


def _there(folder: str | os.PathLike[str]) -> dict[str, Photo]:
    while True:
        try:
            return {photo.path: photo for photo in find(folder)}
        except FileNotFoundError:  # a photo went between the listing and the look at it
            time.sleep(SECONDS)
