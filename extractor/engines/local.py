"""Photos → results, in their order: read and decode beside the trunk, batch by batch."""

import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from extractor.pixels.augment import views_of
from extractor.pixels.decode import decode_small
from extractor.pixels.pillow import NO_MEMORY, Undecodable
from extractor.sources.folder import read
from extractor.trunks.trunk import Trunk
from store.cache import Cache
from store.errors import PetrieveError
from store.photo import Photo, digest_of
from store.rows import PASSING, Embedded, Unreadable

if TYPE_CHECKING:
    from torch import Tensor

# Batches for each worker: one in its hands, and one that waits while the last one is committed.
AHEAD = 2
# Photos that a batch is made of at least, whatever the number of their views: so many fill a CPU's batches to the last.
PHOTOS = 8
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, eq=False)
class View:
    """A decoded photo on its way to the trunk."""

    photo: Photo
    digest: bytes
    width: int
    height: int
    pixels: "Tensor"  # uint8 (V, 3, 224, 224), of the views that are not embedded yet
    rows: tuple[int, ...] = ()  # of the cache, with the embeddings of the views before these


@dataclass(frozen=True)
class Copy:
    """A photo whose bytes are embedded already, in these rows of the cache, one for each view."""

    photo: Photo
    digest: bytes
    rows: tuple[int, ...]


Item = TypeVar("Item")
Made = TypeVar("Made")
Loaded = View | Copy | Unreadable
Result = Embedded | Unreadable


def results(
    photos: Iterable[Photo],
    *,
    trunk: Callable[[], Trunk],
    cache: Cache,
    rows: Mapping[bytes, tuple[int, ...]],
    batch: int,
    workers: int = CORES,
    views: int = 0,
) -> Generator[list[Result], None, None]:
    """Results in the order of `photos`, as many at a time as are ready: those of whole batches of `batch` views.

    Each photo has its canonical view and so many augmented `views`. So many `workers` put one batch each through the
    trunk. `rows` says which rows of `cache` hold the embeddings of which digest. `trunk` is called when a photo is
    neither there with all its views nor unreadable.
    """
    once = Lock()

    def network(pixels: "Tensor") -> "Tensor":
        with once:
            loaded = trunk()
        return loaded(_filled(pixels, batch))[: len(pixels)]

    with pool(workers, "embed") as embedders, pool(CORES, "decode") as decoders:

        def made(photos: Sequence[Photo]) -> list[Result]:
            return _embedded(list(decoders.map(lambda photo: load(photo, rows, views), photos)), network, cache)

        at_once = max(min(batch, PHOTOS), batch // (1 + views))
        yield from _ready(embedders, made, _batches(photos, at_once), depth=AHEAD * workers)


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


def load(photo: Photo, rows: Mapping[bytes, tuple[int, ...]], views: int = 0) -> Loaded:
    """A photo's canonical view and so many augmented ones; or the rows that have them; or why it cannot be read.

    It is decoded once for all views that have no row.

    Its size and time are those of the bytes that were read, which may be later than when it was found.
    """
    try:
        data, status = read(photo.path)
        photo = replace(photo, size=status.st_size, modified=status.st_mtime_ns // 1000)
        digest = digest_of(data)
        there = rows.get(digest, ())[: 1 + views]
        if len(there) > views:
            return Copy(photo, digest, there)
        pixels, width, height = decode_small(data)
        return View(photo, digest, width, height, views_of(pixels, digest, range(len(there), 1 + views)), there)
    except OSError as error:
        return Unreadable(photo, f"{PASSING}{error.strerror}")
    except Undecodable as error:
        return Unreadable(photo, str(error))
    except MemoryError:
        return Unreadable(photo, NO_MEMORY)


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
    there = _there([item for item in items if isinstance(item, View | Copy)], cache)
    views = [item for item in items if isinstance(item, View)]
    made = {one.photo.path: one for one in _through_trunk(views, network, there)}
    made |= {path: one for path, one in there.items() if path not in made}
    return [item if isinstance(item, Unreadable) else made[item.photo.path] for item in items]


def _filled(views: "Tensor", size: int) -> "Tensor":
    """The views (N, 3, 224, 224), the last one repeated, to whole batches of this size.

    In float32 the size of a batch shows in the last bits.
    """
    import torch

    return torch.cat([views, views[-1:].expand(-len(views) % size, -1, -1, -1)])


def _through_trunk(
    views: list[View], network: "Callable[[Tensor], Tensor]", there: Mapping[str, Embedded]
) -> Iterator[Embedded]:
    """Each photo with the embeddings of its views, behind those that are there."""
    if not views:
        return
    import numpy as np
    import torch

    embeddings = network(torch.cat([view.pixels for view in views])).numpy()  # (N, 1024)
    ends = np.cumsum([len(view.pixels) for view in views])
    for view, made in zip(views, np.split(embeddings, ends[:-1]), strict=True):
        before = list(there[view.photo.path].views) if view.rows else []
        first, *others = [*before, *made]
        yield Embedded(view.photo, view.digest, view.width, view.height, first, others)


def _there(items: Sequence[View | Copy], cache: Cache) -> dict[str, Embedded]:
    """What the cache's rows hold of these photos, as theirs, by path."""
    found = cache.rows(sorted({row for item in items for row in item.rows}))
    copied = {}
    for item in items:
        if not item.rows:
            continue
        original = found[item.rows[0]]
        if original.digest != item.digest:
            raise PetrieveError(f"the cache's row for {item.photo.path} is another photo's", "embed into a new store")
        copied[item.photo.path] = replace(original, photo=item.photo)
    return copied
