"""Who writes to a store: one run at a time."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from store.errors import PetrieveError
from store.files import remove_abandoned
from store.folder import Store


@contextmanager
def writing(store: Store) -> Iterator[None]:
    """Hold the store for writing. The system frees it when the process ends, however it ends.

    Raises:
        PetrieveError: another run holds it, or nothing can be written there.
    """
    from filelock import FileLock, Timeout

    made = not store.path.exists()
    lock = FileLock(store.lock, timeout=0, on_acquired=_sign)
    try:
        store.path.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise PetrieveError(
            f"{_holder(store)} is writing to the store {store.path}", "wait for it, or name another `--store`"
        ) from error
    except OSError as error:
        raise PetrieveError(
            f"cannot write to the store {store.path}: {error.strerror}", "make it writable, or name another `--store`"
        ) from error
    try:
        remove_abandoned(store.path)
        yield
    finally:
        if made and not store.card.exists():  # a run that failed before its first embedding leaves no trace
            _remove_empty(store)
        lock.release()


def _sign(lock: int) -> None:
    """Write into the lock's file who holds it; a full disk is no reason to go without the lock."""
    with suppress(OSError):
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()} {socket.gethostname()}".encode())


def _holder(store: Store) -> str:
    """Who holds the store's lock: named, unless that could be the dead process that held it before."""
    try:
        pid, host = store.lock.read_text().split()
        if host == socket.gethostname():
            with suppress(PermissionError):  # alive, and somebody else's
                os.kill(int(pid), 0)
    except (OSError, ValueError):
        return "another run"
    return f"another run (process {pid} on {host})"


def _remove_empty(store: Store) -> None:
    store.lock.unlink(missing_ok=True)
    with suppress(OSError):
        store.path.rmdir()
