"""The store: the folder that holds the cache and the head; and how its files are written."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from extractor.errors import PetrieveError

FORMAT = 2  # of everything in a store; raised when an older release could misread it


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
    def head(self) -> Path:
        """The head."""
        return self.path / "head.safetensors"

    @property
    def ranges(self) -> Path:
        """What the trunk's maps reach, for int8."""
        return self.path / "int8.safetensors"

    @property
    def card(self) -> Path:
        """What the whole store depends on: format, fingerprint, weights."""
        return self.path / "store.json"


def read_card(store: Store) -> dict[str, Any] | None:
    """The store's card: `format`, `fingerprint`, `weights`; None where there is no store yet.

    Raises:
        PetrieveError: the card is damaged, or a newer release wrote it.
    """
    try:
        card = json.loads(store.card.read_bytes())
        format_, _, _ = int(card["format"]), str(card["fingerprint"]), str(card["weights"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise PetrieveError(
            f"{store.card} is damaged", f"remove the store {store.path} and run `cli.py embed` again"
        ) from error
    if format_ != FORMAT:
        raise PetrieveError(
            f"store {store.path} has format {format_}, this release reads {FORMAT}",
            "update Petrieve, or name another `--store`",
        )
    return dict(card)


def write_card(store: Store, *, fingerprint: str, weights: str) -> None:
    """Say what the store's embeddings come from; with its card a store is complete."""
    card = {"format": FORMAT, "fingerprint": fingerprint, "weights": weights}
    write_file(store.card, json.dumps(card, indent=1).encode())


def write_file(path: Path, data: bytes) -> None:
    """Write `data` to `path` whole or not at all: a reader sees the old file or the new one.

    A link is followed; what is no regular file (a pipe, a terminal) is written to as it is.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    temporary = path.with_name(f".{path.name[:200]}.{uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
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
        PetrieveError: another run holds it.
    """
    from filelock import FileLock, Timeout

    made = not store.path.exists()
    store.path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(store.path / ".lock", timeout=0)
    try:
        with lock:
            yield
    except Timeout as error:
        raise PetrieveError(
            f"another run is writing to the store {store.path}", "wait for it, or name another `--store`"
        ) from error
    finally:
        if made and not store.card.exists():  # a run that failed before its first embedding leaves no trace
            _remove_empty(store)


def _remove_empty(store: Store) -> None:
    (store.path / ".lock").unlink(missing_ok=True)
    with suppress(OSError):
        store.path.rmdir()
