"""The codes of a cache, made slice by slice on the machines of a Ray cluster."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index.codes.encode import Encoded, Job, encode, in_order
from store.errors import PetrieveError, first_line
from store.slices import Slice

if TYPE_CHECKING:
    import ray

# Slices under way, or done and not yet merged: 2.2 GB of codes at most. The driver merges one in a tenth of a second,
# a core makes one in half a minute, so that more than 300 cores would wait for the driver.
DEPTH = 64


@contextmanager
def joined(on: str) -> Iterator[None]:
    """A connection to a Ray cluster: `ray` is this machine's own or the one that the environment names; `ray://…`.

    Raises:
        PetrieveError: Ray is not installed, or the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError as error:
        raise PetrieveError("Ray is not installed", "run `pip install petrieve[ray]`") from error
    code = [str(Path(__file__).parents[2] / name) for name in ("index", "store")]
    own: Any = {"runtime_env": {"py_modules": code}, "log_to_driver": False, "logging_level": "error"}
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        if on == "ray":  # the cluster that a job runs in, or one of this machine's cores that nobody else reaches
            ray.init(**own, include_dashboard=False, _node_ip_address="127.0.0.1")
        else:
            ray.init(on, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise PetrieveError(f"cannot join the Ray cluster at {on}: {first_line(error)}", "see that it runs") from error
    try:
        yield
    finally:
        ray.shutdown()


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
