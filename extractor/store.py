"""The store: the folder that holds the cache and the head; and how its files are written."""

import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from extractor.errors import PetrieveError

FORMAT = 2  # of everything in a store; raised when an older release could misread it
WITH_VIEWS = 3  # the same with augmented views, which an older release would take for photos
OLD_FORMAT = 1  # without checksums; `embed` brings it up to date
FORMATS = (OLD_FORMAT, FORMAT, WITH_VIEWS)
# A file half written by a killed process is removed when it is older: no write takes so long.
ABANDONED_SECONDS = 3600


@dataclass(frozen=True)
class Store:
    """A store's folder. Nothing is made or opened by naming one."""

    path: Path

    @property
    def embeddings(self) -> Path:
        """The table of embeddings."""
        return self.path / "embeddings.lance"

    @property
    def unreadable(self) -> Path:
        """The table of photos that could not be embedded."""
        return self.path / "unreadable.lance"

    @property
    def index(self) -> Path:
        """The index, where there are too many photos to compare each."""
        return self.path / "index.safetensors"

    @property
    def head(self) -> Path:
        """The head."""
        return self.path / "head.safetensors"

    @property
    def ranges(self) -> Path:
        """What the trunk's maps reach, for int8."""
        return self.path / "int8.safetensors"

    @property
    def card(self) -> Path:
        """What the whole store depends on: format, fingerprint, weights, augmented views."""
        return self.path / "store.json"

    @property
    def lock(self) -> Path:
        """What a run that writes holds; it names the last one that did."""
        return self.path / ".lock"


def read_card(store: Store) -> dict[str, Any] | None:
    """The store's card: `format`, `fingerprint`, `weights`, `manifests`, `views` (augmented ones a photo), `recipe`.

    None where there is no store yet.

    Raises:
        PetrieveError: the card is damaged, or the store has another format.
    """
    try:
        card = dict(json.loads(store.card.read_bytes()))
        format_ = int(card["format"])
        if format_ in FORMATS:
            _check(card)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise PetrieveError(
            f"{store.card} is damaged", f"remove the store {store.path} and run `cli.py embed` again"
        ) from error
    if format_ not in FORMATS:
        mend = "update Petrieve" if format_ > FORMAT else "embed the photos anew"
        raise PetrieveError(
            f"store {store.path} has format {format_}, this release reads {FORMAT} and {WITH_VIEWS}",
            f"{mend}, or name another `--store`",
        )
    return card


def _check(card: dict[str, Any]) -> None:
    if card.pop("digest", None) not in (None, _digest(card)):  # those of earlier releases have none
        raise ValueError("it says something else than was written")
    card["fingerprint"], card["weights"] = str(card["fingerprint"]), str(card["weights"])
    card["manifests"] = dict(card.get("manifests", {}))
    card["views"], card["recipe"] = int(card.get("views", 0)), str(card.get("recipe", ""))


def write_card(
    store: Store,
    *,
    fingerprint: str,
    weights: str,
    manifests: dict[str, str] | None = None,
    views: int = 0,
    recipe: str = "",
) -> None:
    """Say what the store's embeddings come from; with its card a store is complete.

    `manifests` are digests of the files that name the pieces of its tables, by their paths in the store.
    """
    card: dict[str, Any] = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "weights": weights,
        "manifests": manifests or {},
    }
    if views:
        card |= {"format": WITH_VIEWS, "views": views, "recipe": recipe}
    write_file(store.card, json.dumps({**card, "digest": _digest(card)}, indent=1).encode())


def _digest(card: dict[str, Any]) -> str:
    """Changes with everything that a card says."""
    return hashlib.blake2b(json.dumps(card).encode(), digest_size=8).hexdigest()


def write_file(path: Path, *data: bytes | memoryview) -> None:
    """Write `data`, one part after the other, to `path` whole or not at all: a reader sees the old file or the new one.

    A link is followed; what is no regular file (a pipe, a terminal) is written to as it is.

    Raises:
        OSError: it cannot be written; the error names `path`.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(b"".join(data))
        return
    temporary = path.with_name(f".{path.name[:200]}.{uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.writelines(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        raise


def write_named(file: Path, data: bytes) -> None:
    """Write a file that the user has named, as `write_file` does.

    Raises:
        PetrieveError: it cannot be written.
    """
    try:
        write_file(file, data)
    except OSError as error:
        raise PetrieveError(
            f"cannot write {file}: {error.strerror}", "name a file in a folder that is there"
        ) from error


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
        remove_abandoned(store)
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


def remove_abandoned(store: Store) -> None:
    """Remove what `write_file` could not, because its process was killed."""
    for file in store.path.glob(".*.*." + "[0-9a-f]" * 32):
        with suppress(OSError):
            if time.time() - file.stat().st_mtime > ABANDONED_SECONDS:
                file.unlink()


def _remove_empty(store: Store) -> None:
    store.lock.unlink(missing_ok=True)
    with suppress(OSError):
        store.path.rmdir()
