"""Who writes to a store: one run at a time."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from store.errors import PetrieveError
from store.files import remove_abandoned
from store.folder import Store
from store.key import Key
from store.lease import leased
from store.tables import cut_off


@contextmanager
def writing(store: Store) -> Iterator[None]:
    """Hold the store for writing. The system frees it when the process ends, however it ends; a bucket, soon after.

    Raises:
        PetrieveError: another run holds it, or nothing can be written there.
    """
    lock = store.lock
    with leased(lock) if isinstance(lock, Key) else _locked(store, lock) as from_another:
        if from_another:
            cut_off(store)
        yield


@contextmanager
def _locked(store: Store, file: Path) -> Iterator[bool]:
    from filelock import FileLock, Timeout

    folder = file.parent
    made = not folder.exists()
    lock = FileLock(file, timeout=0, on_acquired=_sign)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise PetrieveError(
            f"{_holder(file)} is writing to the store {folder}", "wait for it, or name another `--store`"
        ) from error
    except OSError as error:
        raise PetrieveError(
            f"cannot write to the store {folder}: {error.strerror}", "make it writable, or name another `--store`"
        ) from error
    try:
        remove_abandoned(folder)
        yield False
    finally:
        if made and not store.card.exists():  # a run that failed before its first embedding leaves no trace
            file.unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()
        lock.release()


def _sign(lock: int) -> None:
    """Write into the lock's file who holds it; a full disk is no reason to go without the lock."""
    with suppress(OSError):
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()} {socket.gethostname()}".encode())


def _holder(file: Path) -> str:
    """Who holds the lock of a store: named, unless that could be the dead process that held it before."""
    try:
        pid, host = file.read_text().split()
        if host == socket.gethostname():
            with suppress(PermissionError):  # alive, and somebody else's
                os.kill(int(pid), 0)
    except (OSError, ValueError):
        return "another run"
    return f"another run (process {pid} on {host})"
