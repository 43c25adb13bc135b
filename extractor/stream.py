"""Photos → results, in their order: read and decode beside the trunk, batch by batch."""

import errno
import hashlib
import os
import stat
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from extractor.cache import Cache
from extractor.errors import PetrieveError
from extractor.photos import Photo
from extractor.pixels import canonical_view, decode_small
from extractor.rows import PASSING, Embedded, Unreadable
from extractor.trunk import Trunk
from extractor.upright import NO_MEMORY, Undecodable

if TYPE_CHECKING:
    from torch import Tensor

# Beyond the largest photo that can be decoded (200 megapixels), uncompressed.
MAX_BYTES = 1 << 30
# Seconds between two times that a file can bear on Linux at 100 Hz. A later change must show: what has changed just
# now is read when it has grown so old.
TICK = 0.01
# Batches for each worker: one in its hands, and one that waits while the last one is committed.
AHEAD = 2
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, eq=False)
class View:
    """A decoded photo on its way to the trunk."""

    photo: Photo
    digest: bytes
    width: int
    height: int
    pixels: "Tensor"  # uint8 (3, 224, 224)


@dataclass(frozen=True)
class Copy:
    """A photo whose bytes are embedded already, in this row of the cache."""

    photo: Photo
    digest: bytes
    row: int


Item = TypeVar("Item")
Made = TypeVar("Made")
Loaded = View | Copy | Unreadable
Result = Embedded | Unreadable


def results(
    photos: Iterable[Photo],
    *,
    trunk: Callable[[], Trunk],
    cache: Cache,
    rows: Mapping[bytes, int],
    batch: int,
    workers: int = CORES,
) -> Generator[list[Result], None, None]:
    """Results in the order of `photos`, as many at a time as are ready: those of whole batches of `batch` photos.

    So many `workers` put one batch each through the trunk. `rows` says which row of `cache` holds the embedding of
    which digest. `trunk` is called when a photo is neither there nor unreadable.
    """
    once = Lock()

    def network(pixels: "Tensor") -> "Tensor":
        with once:
            loaded = trunk()
        return loaded(_filled(pixels, batch))[: len(pixels)]

    with pool(workers, "embed") as embedders, pool(CORES, "decode") as decoders:

        def made(photos: Sequence[Photo]) -> list[Result]:
            return _embedded(list(decoders.map(lambda photo: load(photo, rows), photos)), network, cache)

        yield from _ready(embedders, made, _batches(photos, batch), depth=AHEAD * workers)


@contextmanager
def pool(threads: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Threads that do their arithmetic alone; what waits for them is dropped when nobody wants it any more.

    Threads that share a batch wait for each other at every layer: on two cores, 42 to 55 photos/s instead of 59 to 62.
    """
    torch = sys.modules.get("torch")  # what is cached is found without it
    shared = torch.get_num_threads() if torch else 0
    alone = partial(torch.set_num_threads, 1) if torch else None
    workers = ThreadPoolExecutor(threads, name, alone)
    try:
        yield workers
    finally:
        workers.shutdown(cancel_futures=True)
        if torch:  # the setting of one thread is the default of the next
            torch.set_num_threads(shared)


def load(photo: Photo, rows: Mapping[bytes, int]) -> Loaded:
    """A photo's canonical view; or the row that has its embedding; or why it cannot be read.

    Its size and time are those of the bytes that were read, which may be later than when it was found.
    """
    try:
        data, status = read(photo.path)
        photo = replace(photo, size=status.st_size, modified=status.st_mtime_ns // 1000)
        digest = hashlib.blake2b(data, digest_size=16).digest()
        if digest in rows:
            return Copy(photo, digest, rows[digest])
        pixels, width, height = decode_small(data)
        return View(photo, digest, width, height, canonical_view(pixels))
    except OSError as error:
        return Unreadable(photo, f"{PASSING}{error.strerror}")
    except Undecodable as error:
        return Unreadable(photo, str(error))
    except MemoryError:
        return Unreadable(photo, NO_MEMORY)


def read(path: str) -> tuple[bytes, os.stat_result]:
    """The bytes of a file, and its size and time when they were its whole content.

    Raises:
        OSError: it cannot be opened, or it changes while it is read.
        Undecodable: no regular file, or over MAX_BYTES.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise Undecodable("not a regular file")
    # Without O_NONBLOCK, opening a pipe that has just taken the file's place would wait for ever.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        before = os.fstat(file.fileno())
        time.sleep(max(0.0, min(TICK, before.st_mtime + TICK - time.time())))
        if before.st_size > MAX_BYTES:
            raise Undecodable(f"over {MAX_BYTES >> 20} MB")
        data = file.read(before.st_size + 1)
        after = os.fstat(file.fileno())
    if (len(data), after.st_size, after.st_mtime_ns) != (before.st_size, before.st_size, before.st_mtime_ns):
        raise OSError(errno.EBUSY, "it changed while it was read")
    return data, after


def _ready(
    workers: ThreadPoolExecutor, make: Callable[[Item], list[Made]], items: Iterable[Item], *, depth: int
) -> Iterator[list[Made]]:
    """What `make` makes of `items`, in order and as much at a time as is ready; at most `depth` are under way."""
    waiting: deque[Future[list[Made]]] = deque()
    for item in items:
        waiting.append(workers.submit(make, item))
        if len(waiting) == depth:
            yield _taken(waiting)
    while waiting:
        yield _taken(waiting)


def _taken(waiting: "deque[Future[list[Made]]]") -> list[Made]:
    made = list(waiting.popleft().result())
    while waiting and waiting[0].done():
        made += waiting.popleft().result()
    return made


def _batches(photos: Iterable[Photo], size: int) -> Iterator[list[Photo]]:
    left = iter(photos)
    while batch := list(islice(left, size)):
        yield batch


def _embedded(items: list[Loaded], network: "Callable[[Tensor], Tensor]", cache: Cache) -> list[Result]:
    views = [item for item in items if isinstance(item, View)]
    made: dict[str, Result] = {one.photo.path: one for one in _through_trunk(views, network)}
    made |= {one.photo.path: one for one in _copied([i for i in items if isinstance(i, Copy)], cache)}
    return [item if isinstance(item, Unreadable) else made[item.photo.path] for item in items]


def _filled(views: "Tensor", size: int) -> "Tensor":
    """The views (N, 3, 224, 224), the last one repeated: in float32 the size of a batch shows in the last bits."""
    import torch

    return torch.cat([views, views[-1:].expand(size - len(views), -1, -1, -1)])


def _through_trunk(views: list[View], network: "Callable[[Tensor], Tensor]") -> Iterator[Embedded]:
    if not views:
        return
    import torch

    embeddings = network(torch.stack([view.pixels for view in views])).numpy()  # (N, 1024)
    for view, embedding in zip(views, embeddings, strict=True):
        yield Embedded(view.photo, view.digest, view.width, view.height, embedding)


def _copied(copies: list[Copy], cache: Cache) -> Iterator[Embedded]:
    found = cache.rows(sorted({copy.row for copy in copies}))
    for copy in copies:
        original = found[copy.row]
        if original.digest != copy.digest:
            raise PetrieveError(f"the cache's row for {copy.photo.path} is another photo's", "embed into a new store")
        yield Embedded(copy.photo, copy.digest, original.width, original.height, original.embedding)
