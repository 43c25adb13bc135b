"""Work on large arrays, a piece at a time, on all cores."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from petrieve.store.cores import CORES

Piece = TypeVar("Piece")
Made = TypeVar("Made")

MOST = 8  # pieces at a time: each may take 100 MB of memory


def on_cores(work: Callable[[Piece], Made], pieces: Iterable[Piece]) -> Generator[Made, None, None]:
    """What `work` makes of each piece, in their order: every core takes a piece of its own, ahead of who asks.

    Threads that share a product wait for each other, beside other load for ten times as long as the product takes. So
    each of these computes alone, and so does who asks.
    """
    from threadpoolctl import threadpool_limits

    most = min(CORES, MOST)
    waiting = deque[Future[Made]]()
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(most) as threads:
        try:
            for piece in pieces:
                waiting.append(threads.submit(work, piece))
                if len(waiting) > most:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
