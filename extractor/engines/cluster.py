"""Which cluster a run is on: joined, or started on this machine; with the code that its workers need."""

import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from store.errors import PetrieveError, first_line

INSTALL = 'pip install "petrieve[ray]"'
LOCAL, RAY, ADDRESS = "local", "ray", "ray://"
# Our packages, which go to the workers from where they are installed here; never the folder that one works in.
PACKAGES = ("classifier", "extractor", "gallery", "index", "store")
# What says how buckets are reached and how photos are read. Credentials are each node's own.
SETTINGS = ("PETRIEVE_MAX_MEGAPIXELS", "PETRIEVE_ZIP_ENCODING", "OMP_WAIT_POLICY", "OPENBLAS_THREAD_TIMEOUT")


def here(on: str, device: str, precision: str) -> tuple[str, str]:
    """The device and the precision of this machine's own trunk in a run on a cluster, or on this machine alone.

    Raises:
        PetrieveError: it is neither `local` nor `ray` nor an address of a cluster.
    """
    if on == LOCAL:
        return device, precision
    if on != RAY and not on.startswith(ADDRESS):
        raise PetrieveError(f"nothing runs on {on!r}", "use `--on local`, `--on ray` or `--on ray://HOST:10001`")
    return "cpu", "float32" if precision == "auto" else precision


@contextmanager
def joined(on: str) -> Iterator[None]:
    """A cluster for as long as it is wanted: the one at this address; for `ray` the one that this machine is part of,
    else one of this machine alone, which nobody else reaches.

    Raises:
        PetrieveError: Ray is not installed, or there is no cluster, or it has another Python or Ray.
    """
    try:
        import ray
        from ray._private import worker as rays_own
    except ImportError as error:
        raise PetrieveError("a run on a cluster needs Ray, which is not installed", f"`{INSTALL}`") from error
    settings: dict[str, Any] = {"runtime_env": _environment(), "log_to_driver": False, "logging_level": "error"}
    warnings.filterwarnings("ignore", "lance is not fork-safe")  # Ray's own processes are started, and use none of it
    try:
        if on == RAY and not _is_part_of_cluster():
            ray.init(address="local", include_dashboard=False, _node_ip_address="127.0.0.1", **settings)
        else:
            ray.init(address=on if on != RAY else "auto", **settings)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise PetrieveError(f"cannot join the cluster {on}: {first_line(error)}", "see that it is there") from error
    rays_own._worker_logs_enabled = False  # it would write of workers that end between the results on stdout
    try:
        yield
    finally:
        ray.shutdown()


def _is_part_of_cluster() -> bool:
    """Whether a cluster runs here, or a job of one is what runs."""
    from ray._private.services import find_gcs_addresses

    return bool(os.environ.get("RAY_ADDRESS") or find_gcs_addresses())  # type: ignore[no-untyped-call]


def _environment() -> Mapping[str, Any]:
    folders = [str(Path(sys.modules[__name__].__file__ or "").parents[2] / name) for name in PACKAGES]
    return {
        "py_modules": folders,
        "excludes": ["**/__pycache__"],
        "env_vars": {name: os.environ[name] for name in SETTINGS if name in os.environ},
    }
