"""Who writes to a store: one run at a time."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from petrieve.store.errors import PetrieveError
from petrieve.store.files import remove_abandoned
from petrieve.store.folder import Store
from petrieve.store.key import Key
from petrieve.store.lease import Held, leased
from petrieve.store.tables import cut_off, remove_leftovers


@contextmanager
def writing(store: Store) -> Iterator[Held]:
    """Hold the store for writing. The system frees it when the process ends, however it ends; a bucket, soon after.

    Raises:
        PetrieveError: another run holds it, or nothing can be written there.
    """
    lock = store.lock
    with leased(lock) if isinstance(lock, Key) else _locked(store, lock) as held:
        if held.after_a_failure:
            if isinstance(lock, Key):
                cut_off(store)
            remove_leftovers(store)
        yield held
        if held.after_a_failure:  # workers of that run may have written on for a while
            remove_leftovers(store)


@contextmanager
def _locked(store: Store, file: Path) -> Iterator[Held]:
    """Hold the lock of a store on a disk."""
    from filelock import FileLock, Timeout

    folder, left = file.parent, list[bytes]()
    made = not folder.exists()
    lock = FileLock(file, timeout=0, on_acquired=lambda lock: left.append(_signed(lock)))
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
        held = Held(any(left))
        yield held
        if not held.leaves:
            with suppress(OSError):
                os.truncate(file, 0)
    finally:
        if made and not store.card.exists():  # a run that failed before its first embedding leaves no trace
            file.unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()
        lock.release()


def _signed(lock: int) -> bytes:
    """The lock's file before this run: empty after a run that came to its end. Now it names the holder.

    The lock is held on a full disk too.
    """
    with suppress(OSError):
        before = os.pread(lock, 1, 0)
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()} {socket.gethostname()}".encode())
        return before
    return b""


def writer(store: Store) -> int | None:
    """The process on this machine that writes to a store on a disk; None where there is none."""
    try:
        pid, host = Path(str(store.lock)).read_text().split()
        if host != socket.gethostname():
            return None
        with suppress(PermissionError):  # alive, and somebody else's
            os.kill(int(pid), 0)
    except (OSError, ValueError):
        return None
    return int(pid)


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
