"""The codes of a cache, made slice by slice: by whoever has a core to spare, and the same whoever that is.

A code's last bit depends on how a product is split among threads, so that each slice is encoded by one.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, TypeVar

from petrieve.index.codes import inverted as lists
from petrieve.index.codes.exact import Truth
from petrieve.store.rows import unit_length
from petrieve.store.slices import Slice, read

if TYPE_CHECKING:
    import numpy as np

# Rows of a slice: 35 MB of codes, half a minute of one core where there are 16,384 lists.
ROWS = 131_072
Waiting = TypeVar("Waiting")
Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Job:
    """What encoding takes beside a slice: nothing in it is tied to a process. Q queries of D numbers."""

    kind: str  # FAISS's factory string
    fitted: "dict[str, np.ndarray]"  # the numbers of a trained index without photos
    ids: "np.ndarray"  # int64 (N,), ascending: the rows that are to have a code
    queries: "np.ndarray"  # float32 (Q, D), of unit length
    wanted: int  # of each query's nearest


@dataclass(frozen=True, eq=False)
class Encoded:
    """The codes of one slice's n photos in lists, and what in it is nearest to each query."""

    sizes: "np.ndarray"  # int64, of each list
    ids: "np.ndarray"  # int64 (n,), list by list
    codes: "np.ndarray"  # uint8 (n, bytes of a code)
    similarities: "np.ndarray"  # float32 (Q, `wanted`)
    nearest: "np.ndarray"  # int64 (Q, `wanted`), ids; -1 where there are no more


Encode = Callable[[Job, Sequence[Slice]], Iterator[Encoded]]


def encode(job: Job, one: Slice, *, stopped: Callable[[], bool] = lambda: False) -> Encoded:
    """The codes of a slice, by one thread; or of its first rows, once it is `stopped`.

    Raises:
        PetrieveError: it cannot be read.
    """
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(1)
    made = lists.filled(job.kind, job.fitted, job.queries.shape[1])
    truth = Truth(job.queries, job.wanted)
    for ids, embeddings in read(one):
        if stopped():
            break
        places = np.searchsorted(job.ids, ids).clip(max=len(job.ids) - 1)
        coded = job.ids[places] == ids
        if coded.any():
            ids, unit = ids[coded], unit_length(embeddings[coded])
            made.add_with_ids(unit, ids)
            truth.show(unit, ids)
    found = lists.numbers(made)
    return Encoded(found["sizes"], found["ids"], found["codes"], *truth.found())


def encoded(job: Job, slices: Sequence[Slice]) -> Iterator[Encoded]:
    """The codes of slices, in their order, by as many threads as this machine has cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ended = Event()
    with ThreadPoolExecutor(cores) as threads:
        try:
            begin = partial(encode, job, stopped=ended.is_set)
            yield from in_order(partial(threads.submit, begin), Future.result, slices, depth=cores + 1)
        finally:
            ended.set()  # after Ctrl-C nobody waits for half a minute
            threads.shutdown(wait=False, cancel_futures=True)


def in_order(
    begin: Callable[[Slice], Waiting], end: Callable[[Waiting], Made], slices: Sequence[Slice], *, depth: int
) -> Iterator[Made]:
    """What comes of slices, in their order; at most `depth` are under way, or done and not yet asked for."""
    waiting: deque[Waiting] = deque()
    for one in slices:
        waiting.append(begin(one))
        if len(waiting) == depth:
            yield end(waiting.popleft())
    while waiting:
        yield end(waiting.popleft())
