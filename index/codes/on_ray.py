"""The codes of a cache, made slice by slice on the machines of a Ray cluster."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from petrieve.index.codes.encode import Encoded, Job, encode, in_order
from petrieve.store.errors import PetrieveError
from petrieve.store.slices import Slice

if TYPE_CHECKING:
    import ray

# Slices under way, or done and not yet merged: 2.2 GB of codes at most. The driver merges one in a tenth of a second,
# a core makes one in half a minute, so that more than 300 cores would wait for the driver.
DEPTH = 64


def encoded(job: Job, slices: Sequence[Slice]) -> Iterator[Encoded]:
    """The codes of slices, in their order, by the cluster that this process has joined: a core for each slice.

    Raises:
        PetrieveError: a slice cannot be read there, or a machine is lost again and again.
    """
    import ray

    task, there = ray.remote(encode).options(num_cpus=1, name="encode"), ray.put(job)
    yield from in_order(lambda one: task.remote(there, one), _got, slices, depth=DEPTH)


def _got(waiting: "ray.ObjectRef[Encoded]") -> Encoded:
    import ray

    try:
        made: Any = ray.get(waiting)
        return made  # type: ignore[no-any-return]
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, PetrieveError) else error) from None
