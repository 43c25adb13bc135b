"""Work that is done ahead of its consumer, in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Out = TypeVar("Out")


def in_order(
    workers: Executor, make: Callable[[Item], Out], items: Iterable[Item], *, depth: int
) -> Iterator[list[Out]]:
    """The results of `make` for `items`, in order and as many at a time as are ready; at most `depth` are under way.

    If the next item raises, the results before it come first, and then the error.
    """
    waiting: deque[Future[Out]] = deque()
    left = iter(items)
    trouble: Exception | None = None
    while True:
        try:
            item = next(left)
        except StopIteration:
            break
        except Exception as error:
            trouble = error
            break
        waiting.append(workers.submit(make, item))
        if len(waiting) == depth:
            yield _taken(waiting)
    while waiting:
        yield _taken(waiting)
    if trouble:
        raise trouble


def _taken(waiting: "deque[Future[Out]]") -> list[Out]:
    made = [waiting.popleft().result()]
    while waiting and waiting[0].done():
        made.append(waiting.popleft().result())
    return made


def batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """The items, `size` at a time."""
    left = iter(items)
    while some := tuple(islice(left, size)):
        yield some


def more_each_time(items: Iterable[Item]) -> Iterator[tuple[Item, ...]]:
    """The items, eight at first, and then eight times as many each time."""
    left, size = iter(items), 8
    while some := tuple(islice(left, size)):
        yield some
        size *= 8


def one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The items, always one ahead: reading of a part may begin when it is asked for."""
    left = iter(items)
    before = list(islice(left, 1))
    for item in left:
        yield before.pop()
        before = [item]
    yield from before
