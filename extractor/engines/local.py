"""Parts of sources → results, in order, on this machine: read and decode beside the trunk, batch by batch."""

import sys
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from threading import Lock
from typing import TYPE_CHECKING

from petrieve.extractor.engines.clock import Clock
from petrieve.extractor.pixels.augment import views_of
from petrieve.extractor.pixels.decode import decode_array, decode_small
from petrieve.extractor.pixels.resize import canonical_array
from petrieve.extractor.sources.ahead import batched, in_order, one_ahead
from petrieve.extractor.sources.source import Part, Read
from petrieve.extractor.trunks.trunk import Trunk
from petrieve.store.contents import Content
from petrieve.store.cores import CORES
from petrieve.store.errors import Undecodable
from petrieve.store.photo import Photo, digest_of
from petrieve.store.rows import Embedded, Unreadable, unreadable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Pixels = Tensor | np.ndarray
    Network = Callable[[Sequence[Pixels]], np.ndarray]  # views (V, 3, 224, 224) of each photo → (sum of V, D)

# Batches for each worker: one under way, and one that waits while the last one is committed.
AHEAD = 2
# The least number of photos in a batch, whatever the number of their views: it fills each of a CPU's batches.
PHOTOS = 8


@dataclass(frozen=True, eq=False)
class View:
    """A decoded photo on its way to the trunk."""

    width: int  # of the photo, upright
    height: int
    pixels: "Pixels | None"  # uint8 (V, 3, 224, 224), of the views that are not embedded yet; None where all are
    first: int  # the number of the first of these
    caveat: str | None  # what is to be known of its pixels


@dataclass(frozen=True, eq=False)
class Loaded:
    """The result of reading a photo; `seen` is None if another photo with the same bytes is under way."""

    photo: Photo
    digest: bytes | None
    seen: View | Unreadable | None


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of a photo, and the digest of its content."""

    photo: Photo
    digest: bytes | None
    result: "Result | None"  # None where it is that of another photo


Result = Embedded | Unreadable


@dataclass
class Claims:
    """The contents that a run has met: of each, the first photo is embedded, and the others wait for it."""

    lock: Lock = field(default_factory=Lock)
    met: set[bytes] = field(default_factory=set)

    def first(self, digest: bytes) -> bool:
        """Whether this content is new to the run."""
        with self.lock:
            new = digest not in self.met
            self.met.add(digest)
            return new


def results(
    parts: Iterable[tuple[Part, Sequence[Photo]]],
    *,
    trunk: Callable[[], Trunk],
    there: Callable[[bytes], Content | None],
    batch: int,
    workers: int = CORES,
    decoders: int = CORES,
    views: int = 0,
    once: bool = True,
    keep_damaged: bool = False,
    clock: Clock | None = None,
) -> Generator[list[Result], None, None]:
    """Results of the photos of each part, as many at a time as are ready, in whole batches of `batch` views.

    A photo has its canonical view and N augmented `views`; `there` gives those that the store has of a digest, and only
    the others are embedded. `workers` batches go through the trunk at a time, `decoders` threads decode beside them,
    and `clock` counts the time of each stage. The trunk is loaded when the first photo lacks a view. A photo with
    damaged pixels is unreadable, unless `keep_damaged`. With `once`, equal bytes are embedded once, and a photo comes
    no earlier than the first with its bytes; else all come in order.
    """
    clock, loading = clock or Clock(), Lock()

    def network(views: "Sequence[Tensor]") -> "np.ndarray":
        import torch

        with loading:
            loaded = trunk()
        pixels = torch.cat(list(views))
        with clock.during("embed"):
            return loaded(_filled(pixels, batch))[: len(pixels)].numpy()

    at_once = max(min(batch, PHOTOS), batch // (1 + views))
    claims = Claims() if once else None
    load_ = clock.timed("decode", partial(load, there=there, views=views, claims=claims, keep_damaged=keep_damaged))
    with pool(workers, "embed") as embedders, pool(decoders, "decode") as loaders:
        # Only this thread reads a part, from end to end: a packed stream cannot be entered in the middle.
        read = chain.from_iterable(one_ahead(part.read({photo.uri for photo in photos}) for part, photos in parts))
        loaded = chain.from_iterable(in_order(loaders, load_, clock.each("read", read), depth=2 * decoders))
        made = partial(_through, network=network)  # type: ignore[arg-type]
        ready = in_order(embedders, made, batched(loaded, at_once), depth=AHEAD * workers)
        yield from _settled((chain.from_iterable(some) for some in ready), once=once)


def few(
    parts: Iterable[tuple[Part, Sequence[Photo]]],
    *,
    network: "Callable[[np.ndarray], np.ndarray]",
    there: Callable[[bytes], Content | None],
) -> Iterator[Result]:
    """Results of a few photos of each part, in order: view 0 alone, on NumPy, before torch could be imported.

    `network` makes an embedding (D,) of a view (3, 224, 224), for photos that are not `there`.
    """
    import numpy as np
    from threadpoolctl import threadpool_limits

    def embeddings(views: "Sequence[np.ndarray]") -> "np.ndarray":
        return np.stack([network(view) for (view,) in views])

    for part, photos in parts:
        for read in part.read({photo.uri for photo in photos}):
            # Threads that share a matrix product wait for each other: under load ten times as long as one thread takes.
            with threadpool_limits(1, "blas"):
                (made,) = _through([load(read, there=there, look=_on_arrays)], embeddings)  # type: ignore[arg-type]
            assert made.result
            yield made.result


@contextmanager
def pool(threads: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Threads that each compute alone; waiting work is dropped when nobody wants it any more.

    Threads that share a batch wait for each other at every layer: on two cores, 42 to 55 photos/s instead of 59 to 62.
    """
    torch = sys.modules.get("torch")  # cached photos need no torch
    shared = torch.get_num_threads() if torch else 0
    alone = partial(torch.set_num_threads, 1) if torch else None
    workers = ThreadPoolExecutor(threads, name, alone)
    try:
        yield workers
    finally:
        workers.shutdown(cancel_futures=True)
        if torch:  # the setting of one thread is the default of the next
            torch.set_num_threads(shared)


def load(
    read: Read,
    *,
    there: Callable[[bytes], Content | None],
    views: int = 0,
    claims: Claims | None = None,
    keep_damaged: bool = False,
    look: "Callable[..., View] | None" = None,
) -> Loaded:
    """A photo's canonical view and N augmented `views`, except those that are there; or why it cannot be decoded.

    It is decoded once for all views, by default for torch.
    """
    if isinstance(read, Unreadable):
        return Loaded(read.photo, None, read)
    photo, data = read
    digest = digest_of(data)
    if claims and not claims.first(digest):
        return Loaded(photo, digest, None)
    return Loaded(photo, digest, _seen(photo, data, digest, there(digest), views, keep_damaged, look or _for_torch))


def _seen(
    photo: Photo,
    data: bytes,
    digest: bytes,
    there: Content | None,
    views: int,
    keep_damaged: bool,
    look: Callable[..., View],
) -> View | Unreadable:
    first = min(there.views, 1 + views) if there else 0
    if there and first > views and there.width and there.height:
        return View(there.width, there.height, None, first, there.caveat)
    try:
        keep_damaged = keep_damaged or there is not None  # once kept, it stays
        return look(data, digest, range(first, 1 + views), keep_damaged)
    except (OSError, Undecodable, MemoryError) as error:
        return unreadable(photo, error)


def _for_torch(data: bytes, digest: bytes, new: range, keep_damaged: bool) -> View:
    """The new views of a photo."""
    made = decode_small(data, keep_damaged=keep_damaged)
    pixels = views_of(made.pixels, digest, new) if new else None
    return View(made.width, made.height, pixels, new.start, made.caveat)


def _on_arrays(data: bytes, digest: bytes, new: range, keep_damaged: bool) -> View:  # noqa: ARG001
    """View 0 of a photo, where it is new; without torch."""
    made = decode_array(data, keep_damaged=keep_damaged)
    return View(made.width, made.height, canonical_array(made.pixels)[None] if new else None, new.start, made.caveat)


def _through(loaded: Sequence[Loaded], network: "Network") -> list[Outcome]:
    """The outcome of each photo, with the embeddings of its views."""
    new = [one.seen.pixels for one in loaded if isinstance(one.seen, View) and one.seen.pixels is not None]
    return list(_paired(loaded, iter(_embeddings(new, network))))


def _paired(loaded: Sequence[Loaded], embeddings: "Iterator[np.ndarray]") -> Iterator[Outcome]:
    """Each photo with its own embeddings: the only place where photos and embeddings meet."""
    import numpy as np

    for one in loaded:
        if not isinstance(one.seen, View):
            yield Outcome(one.photo, one.digest, one.seen)
            continue
        own = next(embeddings) if one.seen.pixels is not None else np.zeros((0, 0), np.float32)
        assert one.digest
        seen = one.seen
        embedded = Embedded(one.photo, one.digest, seen.width, seen.height, own, seen.first, seen.caveat)
        yield Outcome(one.photo, one.digest, embedded)


def _embeddings(views: "Sequence[Pixels]", network: "Network") -> "list[np.ndarray]":
    """The embeddings (V, D) of each photo's views (V, 3, 224, 224)."""
    if not views:
        return []
    import numpy as np

    return np.split(network(views), np.cumsum([len(pixels) for pixels in views])[:-1])


def _filled(views: "Tensor", size: int) -> "Tensor":
    """The views (N, 3, 224, 224), the last one repeated, to whole batches of this size.

    In float32 the size of a batch shows in the last bits.
    """
    import torch

    return torch.cat([views, views[-1:].expand(-len(views) % size, -1, -1, -1)])


def _settled(ready: Iterable[Iterable[Outcome]], *, once: bool) -> Iterator[list[Result]]:
    """The results; the first photo of a content is followed by the others with the same bytes."""
    first: dict[bytes, Result] = {}
    waiting: dict[bytes, list[Photo]] = defaultdict(list)
    for some in ready:
        settled: list[Result] = []
        for one in some:
            if one.result is not None:
                settled.append(one.result)
                if once and one.digest:
                    first[one.digest] = _without_embeddings(one.result)
                    settled += [_again(photo, first[one.digest]) for photo in waiting.pop(one.digest, ())]
            elif one.digest in first:
                settled.append(_again(one.photo, first[one.digest]))
            elif one.digest:
                waiting[one.digest].append(one.photo)
        yield settled


def _without_embeddings(result: Result) -> Result:
    """The part of a result that the next photo with the same bytes needs."""
    if isinstance(result, Unreadable):
        return result
    return replace(result, views=result.views[:0], first=result.first + len(result.views))


def _again(photo: Photo, result: Result) -> Result:
    return replace(result, photo=photo)
