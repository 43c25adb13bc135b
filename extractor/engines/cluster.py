"""The cluster of a run: joined, or started on this machine; with the code that its workers need."""

import logging
import os
import secrets
import shutil
import signal
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from petrieve.store.buckets import ENDPOINTS
from petrieve.store.errors import PetrieveError, first_line, not_installed

LOCAL, RAY, ADDRESS = "local", "ray", "ray://"
# Our packages that workers run: a copy of those installed here, never the working directory. Weights go separately.
PACKAGES, LEFT = ("extractor", "index", "store"), ("__pycache__", "bundled")
# Settings that workers get: how buckets are reached and photos are read. Credentials are each node's own.
SETTINGS = (
    *ENDPOINTS,
    *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "AWS_SKIP_SIGNATURE"),
    *("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_USE_EMULATOR", "AZURITE_BLOB_STORAGE_URL", "STORAGE_EMULATOR_HOST"),
    *("PETRIEVE_MAX_MEGAPIXELS", "PETRIEVE_ZIP_ENCODING", "OMP_WAIT_POLICY", "OPENBLAS_THREAD_TIMEOUT", "LANCE_LOG"),
)
# Settings of Ray's: ours override a job's own environment; `uv run` does not interfere; and a call after the cluster is
# gone starts no new one here, which would listen on all interfaces.
JOINING = {
    "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",
}
# For a cluster of this machine alone: everything listens on the loopback, as by default on Windows and macOS
# (`ENABLE_RAY_CLUSTER` in Ray 2.60's ray_constants.py), and nothing is reported.
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
LOOPBACK = "127.0.0.1"
OURS, HELD = "petrieve-", "held"  # how our folders' names begin, and the lock file in each
TRIES = 3
STARTING = 60.0  # seconds after which such a file is locked, or its process is gone
WAIT, ASKING = 10.0, 60.0  # seconds: for a connection, and for a process on the cluster that asks for nodes


def here(on: str, device: str, precision: str) -> tuple[str, str]:
    """The device and the precision of this machine's own trunk in a run on a cluster, or on this machine alone.

    Raises:
        PetrieveError: it is neither `local` nor `ray` nor an address of a cluster.
    """
    check_on(on)
    if on == LOCAL:
        return device, precision
    return "cpu", "float32" if precision == "auto" else precision


def check_on(on: str) -> None:
    """Refuse an unknown place to run on.

    Raises:
        PetrieveError: it is neither `local` nor `ray` nor an address of a cluster.
    """
    if on not in (LOCAL, RAY) and not (on.startswith(ADDRESS) and on.removeprefix(ADDRESS)):
        raise PetrieveError(f"nothing runs on {on!r}", 'use `on="local"`, `on="ray"` or `on="ray://HOST:10001"`')


@contextmanager
def joined(on: str) -> Iterator[None]:
    """Join a cluster in a `with` block: the one at this address; for `ray` the one that this machine is part of, else a
    new one of this machine alone, which nobody else reaches.

    Raises:
        PetrieveError: Ray is not installed, or there is no cluster, or it has another Python or Ray.
    """
    where = _address() if on == RAY else on
    alone = where == LOCAL
    token = {"RAY_AUTH_TOKEN": os.environ.get("RAY_AUTH_TOKEN") or _token()}
    with _environment(JOINING | (ALONE | token if alone else {})), own_folder() as folder:
        try:
            import ray
        except ImportError as error:
            raise not_installed("a run on a cluster", "Ray", "ray") from error
        _join(where, folder, alone=alone)
        try:
            yield
        finally:
            ray.shutdown()


def _join(where: str, folder: Path, *, alone: bool) -> None:
    import ray
    from ray._private import worker as rays_own

    warnings.filterwarnings("ignore", "Ray Client connection timed out")
    logging.getLogger("ray.util.client.logsclient").disabled = True  # it says that it tries to reach a lost cluster
    warnings.filterwarnings("ignore", "lance is not fork-safe")  # Ray's own processes are started, and use none of it
    settings: dict[str, Any] = {"runtime_env": _code(folder), "log_to_driver": False, "logging_level": "error"}
    if alone:  # Ray's own place is open to all users of the machine
        settings |= {"include_dashboard": False, "_temp_dir": str(folder)}
    elif not _listens(where):  # Ray would try for minutes, and complain line by line
        raise PetrieveError(f"nothing listens at {where}", "see that the cluster runs and can be reached from here")
    for left in reversed(range(TRIES)):
        try:
            with _signals():
                ray.init(address=where, **settings)
            break
        except Exception as error:  # Ray raises plain ones too, as where a node takes too long to start
            # The cluster is there, but the process that it starts for each client came too late: it is busy or new.
            if left and isinstance(error, ConnectionAbortedError):
                continue
            raise _no_cluster(where, error) from error
    rays_own._worker_logs_enabled = False  # it would write of workers that end between the results on stdout
    if alone and ray.nodes()[0]["NodeManagerAddress"] != LOOPBACK:  # type: ignore[no-untyped-call]
        ray.shutdown()
        raise PetrieveError(
            "this process has imported Ray before, whose cluster others would reach",
            "set RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 before it is imported",
        )


def want(places: int, each: Mapping[str, int]) -> None:
    """Ask the cluster's autoscaler, if any, for N places with these resources each; 0 takes it back."""
    import ray

    # A driver that joined by Ray's client is outside the cluster, and cannot ask by itself.
    if ray.util.client.ray.is_connected():  # type: ignore[no-untyped-call]
        ray.get(ray.remote(_want).options(num_cpus=0).remote(places, each), timeout=ASKING)
    else:
        _want(places, each)


def _want(places: int, each: Mapping[str, int]) -> None:
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[dict(each)] * places)


def _address() -> str:
    """The address of the cluster that a job runs on, or that `ray start` has noted here; `local` if there is none.

    For the latter it is `auto`, so that Ray takes its token; a note of a cluster that is gone is ignored.
    """
    if address := os.environ.get("RAY_ADDRESS"):
        return address
    word = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")
    return "auto" if word.exists() and _listens(word.read_text().strip()) else LOCAL


def _listens(address: str) -> bool:
    """Whether something listens at `HOST:PORT`; `auto` and the like are not checked."""
    host, _, port = address.removeprefix(ADDRESS).rpartition(":")
    if not port.isdecimal():
        return True
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=WAIT).close()
    except (OSError, OverflowError):
        return False
    return True


def _no_cluster(where: str, error: Exception) -> PetrieveError:
    """The error for a cluster that cannot be joined."""
    said = str(error)
    if "ersion mismatch" in said:
        there, here = said.partition("This process")[::2]
        other = [f"{name} {_after(name, there)} (here {_after(name, here)})" for name in ("Ray", "Python")]
        return PetrieveError(f"the cluster {where} has {' and '.join(other)}", "install the same here")
    # Ray's client does not learn why it is refused.
    if any(word in said.lower() for word in ("token", "unauthenticated", "client connection timeout")):
        return PetrieveError(
            f"the cluster {where} asks for its token",
            "set RAY_AUTH_MODE=token, and copy its ~/.ray/auth_token here or name it in RAY_AUTH_TOKEN",
        )
    if isinstance(error, ConnectionAbortedError) and said.strip():  # the head's traceback, whose last line says why
        error = ConnectionAbortedError(said.strip().splitlines()[-1])
    return PetrieveError(f"cannot join the cluster {where}: {first_line(error)}", "see that it runs and can be reached")


def _after(name: str, said: str) -> str:
    """The version that a message names: `Ray: 2.60.0`."""
    return (said.partition(f"{name}: ")[2].split() or ["?"])[0]


def _code(folder: Path) -> Mapping[str, Any]:
    """The workers' environment: a copy of our packages, made here, before all that is installed on their node."""
    home, copy = Path(__file__).parents[2], folder / "code" / "petrieve"
    try:
        for name in PACKAGES:
            shutil.copytree(home / name, copy / name, ignore=shutil.ignore_patterns(*LEFT))
        shutil.copy(home / "__init__.py", copy)
    except OSError as error:  # for several files `shutil` raises a list, whose last entry has the reason
        why = error.args[0][-1][-1] if isinstance(error, shutil.Error) else error.strerror or error
        raise PetrieveError(
            f"cannot copy the workers' code to {folder.parent}: {why}",
            "make room, or name another folder in RAY_TMPDIR",
        ) from error
    settings = {name: os.environ[name] for name in SETTINGS if name in os.environ}
    return {"working_dir": str(folder / "code"), "env_vars": settings}


@cache
def _token() -> str:
    """The token of clusters that this process starts: Ray keeps the first one that it has read."""
    return secrets.token_hex(32)


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Set these environment variables in a `with` block, then restore all; Ray itself sets its token mode there."""
    before = {name: os.environ.get(name) for name in (*wanted, "RAY_AUTH_MODE")}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({name: value} if value is not None else {})


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder of our own below /tmp, like Ray's, because the paths of sockets must be short.

    Folders of killed runs are removed.
    """
    from filelock import FileLock

    place = os.environ.get("RAY_TMPDIR", "/tmp")
    _remove_left(Path(place))
    made = TemporaryDirectory(prefix=OURS, dir=place, ignore_cleanup_errors=True)
    with made as folder, FileLock(Path(folder, HELD)):
        yield Path(folder)


def _remove_left(place: Path) -> None:
    """Remove this user's folders whose process is gone: the system has freed the locks in them."""
    from filelock import FileLock, Timeout

    for held in place.glob(f"{OURS}*/{HELD}"):
        with suppress(OSError, Timeout):  # another user's, or of a run that goes on
            old = time.time() - held.lstat().st_mtime > STARTING and not held.parent.is_symlink()
            if old and held.lstat().st_uid == held.parent.stat().st_uid == os.getuid():
                with FileLock(held, timeout=0):
                    shutil.rmtree(held.parent, ignore_errors=True)


@contextmanager
def _signals() -> Iterator[None]:
    """Keep the process's handler of SIGTERM: Ray would end the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
