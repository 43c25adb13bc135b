"""Photos → results, in their order: read and decode beside the trunk, batch by batch."""

import errno
import hashlib
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
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
# Batches decoded ahead of the trunk: enough to even out slow photos, 2.4 MB each on the CPU.
AHEAD = 4
# Copies and unreadable photos need no trunk; a commit holds at most so many of them.
MOST = 1024
# Decoding takes 4 % of the time of a trunk on two cores; more threads than cores win nothing.
THREADS = min(16, os.cpu_count() or 1)


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
) -> Iterator[list[Result]]:
    """Batches of results in the order of `photos`: `batch` new embeddings each, and what lies between them.

    `rows` says which row of `cache` holds the embedding of which digest. `trunk` is called when a photo is
    neither there nor unreadable.
    """
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="decode")
    try:
        loaded = _ahead(pool, lambda photo: load(photo, rows), photos, depth=AHEAD * batch)
        for items in _batches(loaded, batch):
            yield _embedded(items, trunk, cache)
    finally:  # also when the reader stops early: what waits is dropped
        pool.shutdown(cancel_futures=True)


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


def _ahead(
    pool: ThreadPoolExecutor, make: Callable[[Item], Made], items: Iterable[Item], *, depth: int
) -> Iterator[Made]:
    """`map(make, items)`, in order, with at most `depth` of them under way."""
    waiting: deque[Future[Made]] = deque()
    for item in items:
        waiting.append(pool.submit(make, item))
        if len(waiting) == depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _batches(loaded: Iterable[Loaded], size: int) -> Iterator[list[Loaded]]:
    items: list[Loaded] = []
    views = 0
    for item in loaded:
        items.append(item)
        views += isinstance(item, View)
        if views == size or len(items) == MOST:
            yield items
            items, views = [], 0
    if items:
        yield items


def _embedded(items: list[Loaded], trunk: Callable[[], Trunk], cache: Cache) -> list[Result]:
    views = [item for item in items if isinstance(item, View)]
    made: dict[str, Result] = {one.photo.path: one for one in _through_trunk(views, trunk)}
    made |= {one.photo.path: one for one in _copied([i for i in items if isinstance(i, Copy)], cache)}
    return [item if isinstance(item, Unreadable) else made[item.photo.path] for item in items]


def _through_trunk(views: list[View], trunk: Callable[[], Trunk]) -> Iterator[Embedded]:
    if not views:
        return
    import torch

    embeddings = trunk()(torch.stack([view.pixels for view in views])).numpy()  # (N, 1024)
    for view, embedding in zip(views, embeddings, strict=True):
        yield Embedded(view.photo, view.digest, view.width, view.height, embedding)


def _copied(copies: list[Copy], cache: Cache) -> Iterator[Embedded]:
    found = cache.rows(sorted({copy.row for copy in copies}))
    for copy in copies:
        original = found[copy.row]
        if original.digest != copy.digest:
            raise PetrieveError(f"the cache's row for {copy.photo.path} is another photo's", "embed into a new store")
        yield Embedded(copy.photo, copy.digest, original.width, original.height, original.embedding)
