"""The photos that appear in a folder, embedded as they come: the trunk is loaded once."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing

from petrieve.extractor.engines.local import results
from petrieve.extractor.sources.folder import find
from petrieve.extractor.sources.places import parts_of
from petrieve.extractor.trunks.choice import Compute, asking_trunk
from petrieve.extractor.trunks.trunk import Trunk
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError
from petrieve.store.photo import Photo
from petrieve.store.rows import Embedded, Unreadable

# Between two looks at the folder; longer where a look itself takes long.
SECONDS = 0.25
# An unreadable photo may be half written: it must stand still for this long before it is reported.
PATIENCE = 5.0


def watch(
    folder: str | os.PathLike[str],
    cache: Cache,
    compute: Compute,
) -> Iterator[Embedded | Unreadable]:
    """The embedding of each photo that appears in a folder, or changes there, from this call on, without end.

    Nothing is written.

    Raises:
        PetrieveError: it is not a folder, cannot be listed or is no longer there, or the weights or the device cannot
            be used.
    """
    disk = _disk(folder)
    if disk is None or not os.path.isdir(folder):
        raise PetrieveError(
            f"{os.fspath(folder)} is not a folder", "check the path, and name the folder in which photos appear"
        )
    before = _there(folder, disk)
    trunk = asking_trunk(cache, compute)
    return _appearing(folder, disk, before, lambda photo: _embedded(photo, trunk))


def _embedded(photo: Photo, trunk: Trunk) -> Embedded | Unreadable:
    with closing(results(parts_of([photo]), trunk=lambda: trunk, there=lambda _: None, batch=1, workers=1)) as ready:
        ((made,),) = ready
    return made


def _appearing(
    folder: str | os.PathLike[str],
    disk: int,
    done: dict[str, Photo],
    embedded: Callable[[Photo], Embedded | Unreadable],
) -> Iterator[Embedded | Unreadable]:
    """The photos that are not `done`, each as soon as its size and time have stood still between two looks.

    A photo that changes, also one that was there before, appears again. An unreadable one is tried a second time when
    it has stood still for longer, and then reported.
    """
    seen: dict[str, tuple[Photo, float]] = {}  # since when a photo is as it is
    tried: dict[str, Photo] = {}
    while True:
        started = time.perf_counter()
        now = _there(folder, disk)
        seen = {
            path: seen[path] if path in seen and seen[path][0] == photo else (photo, started)
            for path, photo in now.items()
        }
        done, tried = ({path: photo for path, photo in one.items() if path in now} for one in (done, tried))
        for path, (photo, since) in seen.items():
            still = started - since
            if photo == done.get(path) or not still or (photo == tried.get(path) and still < PATIENCE):
                continue
            result = embedded(photo)
            if result.photo != photo:  # it has changed since that look
                continue
            if isinstance(result, Embedded) or still >= PATIENCE:
                done[path] = photo
                yield result
            else:
                tried[path] = photo
        time.sleep(max(SECONDS, time.perf_counter() - started))


def _there(folder: str | os.PathLike[str], disk: int) -> dict[str, Photo]:
    """The photos that are in the folder now.

    Raises:
        PetrieveError: it cannot be listed, is gone, or its disk is.
    """
    while _disk(folder) == disk:
        try:
            return {photo.path: photo for photo in find(folder)}
        except PetrieveError as error:
            if not isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):  # it went since that look
                raise
        time.sleep(SECONDS)
    raise PetrieveError(
        f"{os.fspath(folder)} is no longer the folder that was watched", "bring it back, and watch it again"
    )


def _disk(folder: str | os.PathLike[str]) -> int | None:
    """The disk that a folder is on: another one where it was unmounted. None where there is no such folder."""
    try:
        return os.stat(folder).st_dev
    except OSError:
        return None
