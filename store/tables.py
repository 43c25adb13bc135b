"""Lance tables: how they are kept small over many commits, and how their trouble is said."""

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.errors import PetrieveError, first_line
from store.folder import Store

if TYPE_CHECKING:
    import lance

# Below this many small pieces a table opens and reads as fast as one piece.
FRAGMENTS = 64
# Rows of a merged piece, which is written anew at each merging until it is full, and of which a part is held in memory
# then: with pieces of 16,384 rows a run's peak grew by 420 MB within its first 20,000 photos, with these by 80.
PIECE, PART = 4096, 256
# What Lance remembers of versions and files; of its own accord it takes up to 1 GB.
REMEMBERED_BYTES = 16 << 20
# A manifest lists all pieces, so the cost of many commits grows with their square unless they are merged on the way.
COMMITS_BETWEEN_MERGES = 256
# A reader keeps what it sees so long, counted from when a run first wrote something newer.
KEPT_SECONDS = 3600


def opened(path: Path) -> "lance.LanceDataset":
    """The table at `path`. Lance would take s3:x for a bucket."""
    import lance

    return lance.dataset(os.path.abspath(path), metadata_cache_size_bytes=REMEMBERED_BYTES)


def is_made(path: Path) -> bool:
    """Whether there is a table at `path`, and not folders without a version: what a run leaves that is killed there."""
    return any((path / "_versions").glob("*.manifest"))


def manifests(store: Store, tables: Iterable[Path]) -> dict[str, str]:
    """Digests of the files that name the pieces of the tables' newest versions, by their paths in the store."""
    found = {}
    for table in tables:
        # Lance's names count down, so that the newest is first.
        for file in sorted((table / "_versions").glob("*.manifest"))[:1]:
            found[str(file.relative_to(store.path))] = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
    return found


def check_manifests(store: Store, tables: Iterable[Path], then: Mapping[str, str]) -> None:
    """Hold the tables' manifests against what the last run left (`then`), unless one has written since.

    Lance keeps no checksum of them: with one bit of such a file changed, 33 of 80 rows were gone and none was missed.

    Raises:
        PetrieveError: one is another.
    """
    for name, digest in manifests(store, tables).items():
        if then.get(name, digest) != digest:
            file = store.path / name
            mend = "remove that file and run `cli.py embed` again, which makes up for what it held"
            raise PetrieveError(
                f"{file} is damaged: it is not as the last run left it",
                mend if len(list(file.parent.glob("*.manifest"))) > 1 else "run `cli.py embed` with a new `--store`",
            )


def merge_pieces(table: "lance.LanceDataset") -> None:
    """Merge the pieces that many commits leave, where there are many."""
    if len(table.get_fragments()) > FRAGMENTS:
        table.optimize.compact_files(target_rows_per_fragment=PIECE, batch_size=PART)


def let_go(table: "lance.LanceDataset") -> None:
    """Remove the versions that have had a successor for an hour, and files that a killed run left.

    A version's own age says nothing: a reader may have opened it, a year old, a moment before this run.
    """
    versions: list[Any] = table.versions()
    until = time.time() - KEPT_SECONDS
    old = [one["version"] for one, next_ in pairwise(versions) if next_["timestamp"].timestamp() < until]
    if old:  # nobody else writes: what no version names, nobody needs
        table.cleanup_old_versions(versions=old, delete_unverified=True)


@contextmanager
def readable(store: Store) -> Iterator[None]:
    """Lance's trouble with reading, said as ours.

    Raises:
        PetrieveError: a table is damaged, or its version is no longer there.
    """
    try:
        yield
    except BaseException as error:
        # A panic of Lance's Rust on a damaged file is no Exception, and its type cannot be imported.
        if not isinstance(error, OSError | ValueError | RuntimeError) and type(error).__name__ != "PanicException":
            raise
        raise PetrieveError(
            f"cannot read the embeddings in {store.path}: {first_line(error)}",
            "try again; if it stays so, run `cli.py embed` with a new `--store`",
        ) from error


@contextmanager
def writable(store: Store) -> Iterator[None]:
    """Lance's trouble with writing, said as ours.

    Raises:
        PetrieveError: the disk is full, read-only or gone.
    """
    try:
        yield
    except OSError as error:
        raise PetrieveError(
            f"cannot write to the store {store.path}: {first_line(error).removeprefix('LanceError(IO): ')}",
            "make room, or make it writable, and run the command again: what was committed stays",
        ) from error
