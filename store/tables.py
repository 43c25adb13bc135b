"""Lance tables: how they are opened and written, what of them goes when, and how their trouble is said."""

import hashlib
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from petrieve.store.errors import PetrieveError, first_line
from petrieve.store.files import remove_files
from petrieve.store.folder import FORMAT, Store, read_card
from petrieve.store.key import Key, Where
from petrieve.store.near import copied, copied_manifest
from petrieve.store.rows import LATER

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

# What Lance remembers of versions and files; of its own accord it takes up to 1 GB.
REMEMBERED_BYTES = 16 << 20
# A manifest lists all pieces, so the cost of many commits grows with their square unless they are merged on the way.
COMMITS_BETWEEN_MERGES = 256
COUNTED_FROM = (1 << 64) - 1  # the names of Lance's manifests count down from here
# A reader keeps what it sees so long, counted from when a run first wrote something newer.
KEPT_SECONDS = 3600
FOLDERS = ("data", "_deletions", "_transactions")  # of a table, with the files that a version names
# How many versions are read to see what none names: in a bucket, within a minute. What a run leaves it wrote at its
# end, and then the last will do; clocks of machines that share a disk may differ by as much.
VERSIONS_READ, CLOCKS_SECONDS = 1000, 60


def opened(path: Where, manifest: Where | None = None) -> "lance.LanceDataset":
    """The table at `path`, whose newest version this manifest is of, where that is known.

    Of one in a bucket that this run only reads it is a copy on this machine, unless it is large.
    """
    import lance

    here = path
    if isinstance(path, Key) and path.bucket.copies:
        manifest = manifest or newest(path)
        here = (copied(manifest) if isinstance(manifest, Key) else None) or path
    return lance.dataset(**address(here), metadata_cache_size_bytes=REMEMBERED_BYTES)


def write_table(path: Where, rows: "pa.Table | pa.RecordBatchReader", **settings: Any) -> None:
    """Write a version of the table at `path`, and the table itself where there is none, as `settings` of Lance say.

    Lance puts one with `mode="overwrite"` in the place of whatever another run has committed meanwhile. In a bucket,
    where one may have begun, it is refused then.
    """
    import lance

    if isinstance(path, Key) and settings["mode"] == "overwrite":
        there = opened(path)
        path.bucket.check_writable()
        made = lance.fragment.write_fragments(rows, there, return_transaction=True, **settings)
        lance.LanceDataset.commit(there, made, max_retries=0)
        return
    lance.write_dataset(rows, **address(path), **settings)


def append_pieces(table: "lance.LanceDataset", path: Where, pieces: Sequence[str]) -> None:
    """Let a version of the table name these pieces, Lance's fragments as JSON, which others have written for it."""
    import lance

    if pieces:
        fragments = [lance.FragmentMetadata.from_json(piece) for piece in pieces]
        settings = {name: said for name, said in address(path).items() if name != "uri"}
        lance.LanceDataset.commit(table, lance.LanceOperation.Append(fragments), table.version, **settings)
        table.checkout_latest()  # type: ignore[no-untyped-call]


def make_table(store: Store, path: Where, schema: "pa.Schema") -> None:
    """An empty table, unless there is one: what a run leaves that is killed before the card is written.

    Raises:
        PetrieveError: it is not empty: the store has lost its card.
    """
    import pyarrow as pa

    if newest(path) is None:
        write_table(path, pa.Table.from_batches([], schema), mode="create", enable_stable_row_ids=True)
    elif opened(path).count_rows() and read_card(store) is None:
        raise PetrieveError(
            f"{store.path} holds embeddings, and its {store.card.name} is gone",
            "bring that file back, or run `petrieve embed` with a new `--store`",
        )


def address(path: Where) -> dict[str, Any]:
    """How Lance is told where a table lies."""
    if isinstance(path, Key):
        return {"uri": str(path), "storage_options": path.bucket.options}
    return {"uri": os.path.abspath(path)}  # it would take s3:x for a bucket


def newest(table: Where) -> Where | None:
    """The file that names the pieces of a table's newest version; None where there is no table.

    There may be folders without a version: what a run leaves that is killed while it makes them.
    """
    # Lance's names count down, so that the newest is first.
    folder = table / "_versions"
    if isinstance(folder, Key):  # the first page of very many will do
        return next((file for file, _ in folder.files() if file.name.endswith(".manifest")), None)
    return min(folder.glob("*.manifest"), default=None)


def manifests(store: Store, tables: Iterable[Where]) -> dict[str, str]:
    """Digests of the files that name the pieces of the tables' newest versions, by their paths in the store."""
    return {_named(store, file): _digest(file) for table in tables if (file := newest(table))}


def check_manifests(store: Store, tables: Iterable[Where], then: Mapping[str, str]) -> dict[Where, Where | None]:
    """The tables' newest manifests, held against what the last run left (`then`), unless one has written since.

    Lance keeps no checksum of them: with one bit of such a file changed, 33 of 80 rows were gone and none was missed.

    Raises:
        PetrieveError: one is another.
    """
    found = {}
    for table in tables:
        found[table] = file = newest(table)
        if file and (digest := then.get(_named(store, file))) and digest != _digest(file):
            mend = "remove that file and run `petrieve embed` again, which makes up for what it held"
            raise PetrieveError(
                f"{file} is damaged: it is not as the last run left it",
                mend if _has_others(file) else "run `petrieve embed` with a new `--store`",
            )
    return found


def _named(store: Store, file: Where) -> str:
    """A file by its path in the store."""
    return str(file).removeprefix(f"{store.path}/")


def _digest(manifest: Where) -> str:
    here = copied_manifest(manifest) if isinstance(manifest, Key) and manifest.bucket.copies else manifest
    return hashlib.blake2b(here.read_bytes(), digest_size=16).hexdigest()


def _has_others(manifest: Where) -> bool:
    """Whether the table has earlier versions."""
    return len([file for file in manifest.parent.iterdir() if file.name.endswith(".manifest")]) > 1


def cut_off(store: Store) -> None:
    """Make sure that what a run is still writing that has lost its lease comes to nothing.

    Between the renewal of its lease and the end of its commit it may have slept, for as long as a laptop's lid is shut.
    Lance refuses a commit, but for one with `mode="overwrite"`, that began before a version which restores another.

    Raises:
        PetrieveError: the store cannot be read or written to.
    """
    card = read_card(store)
    for table in store.tables(card.trunks) if card else ():
        if newest(table):
            with writable(store):
                opened(table).restore()  # type: ignore[no-untyped-call]


def let_go(path: Where, table: "lance.LanceDataset") -> None:
    """Remove the versions of a table that have had a successor for an hour, and the files that they alone name.

    A version's own age says nothing: a reader may have opened it, a year old, a moment before this run. What no version
    names stays: it may be under way.
    """
    until = time.time() - KEPT_SECONDS
    if old := [number for (number, _), (_, followed) in pairwise(_versions(path)) if followed < until]:
        table.cleanup_old_versions(versions=old)


def _versions(path: Where) -> list[tuple[int, float]]:
    """The numbers of a table's versions, ascending, and since when there is each, seconds from 1970.

    Lance would read each manifest, one after the other: of 1,500 in a bucket, for half a minute.
    """
    files = [(file.name.removesuffix(".manifest"), since) for file, since in _times(path / "_versions").items()]
    return sorted((COUNTED_FROM - int(name), since) for name, since in files if name.isdigit())


def _times(folder: Where) -> dict[Where, float]:
    """The files in a table's folder, and when each was written, seconds from 1970."""
    if isinstance(folder, Key):
        return {key: said["last_modified"].timestamp() for key, said in folder.files()}
    return {file: file.stat().st_mtime for file in folder.iterdir()} if folder.is_dir() else {}


def remove_leftovers(store: Store) -> None:
    """Remove the files of a store's tables that no version names: runs leave them that end before they commit.

    Only for who holds the store, and has no piece of its own under way. Of a run that has lost its lease, `cut_off` has
    made sure that it can name nothing any more. This one may lose its own meanwhile: so files are listed before it is
    renewed, and only those are removed, at whatever time: what the next run writes has other names.

    Raises:
        PetrieveError: the store cannot be read or written to.
    """
    card = read_card(store)
    tables = store.tables(card.trunks) if card and card.format == FORMAT else []
    found = list[Where]()
    with suppress(PetrieveError), readable(store):  # whoever opens a damaged table says so
        found = [file for table in tables for file in leftovers(table)]
    if found:
        with writable(store):
            remove_files(found)


def leftovers(table: Where) -> list[Where]:
    """The files of a table that no version names, as far as its last versions tell: enough are read, but not all.

    None that was written after a version was can be named by that.
    """
    unnamed = {file: written for name in FOLDERS for file, written in _times(table / name).items()}
    versions = _versions(table)[::-1]
    unread = [*(since + CLOCKS_SECONDS for _, since in versions[1:]), -math.inf]  # since when there are those before
    sure = list[Where]()
    for (number, _), since in list(zip(versions, unread, strict=False))[:VERSIONS_READ]:
        names = _names(table, number)
        unnamed = {file: written for file, written in unnamed.items() if file.name not in names}
        sure = [file for file, written in unnamed.items() if written > since]
        if len(sure) == len(unnamed):
            break
    return sure


def _names(table: Where, number: int) -> set[str]:
    """The files that a version of a table names."""
    import lance

    there = lance.dataset(**address(table), version=number)
    made, pieces = there.read_transaction(number), there.get_fragments()
    every = [piece.metadata for piece in pieces]
    names = [file.path for one in every for file in (*one.files, *(over.data_file for over in one.overlays))]
    names += [deleted for piece in pieces if (deleted := piece.deletion_file())]
    names += [f"{made.read_version}-{made.uuid}.txn"] if made else []
    return {name.rpartition("/")[2] for name in names}


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
            "try again; if it stays so, run `petrieve embed` with a new `--store`",
        ) from error


@contextmanager
def writable(store: Store) -> Iterator[None]:
    """Lance's trouble with writing, said as ours.

    Raises:
        PetrieveError: the disk is full, read-only or gone; or another run has begun to write to a store in a bucket.
    """
    if isinstance(store.path, Key):
        store.path.bucket.check_writable()
    try:
        yield
    except OSError as error:
        why, mend = first_line(error).removeprefix("LanceError(IO): "), "make room, or make it writable"
        if isinstance(store.path, Key):
            store.path.bucket.check_writable()  # another run, or credentials that have ended, may be why
            _, told, status = why.rpartition("status code: ")
            why, mend = f"it answered {status}" if told else why, "see that it can be reached and written to"
        raise PetrieveError(
            f"cannot write to the store {store.path}: {why}",
            f"{mend}, and run the command again: what was committed stays",
        ) from error


def check_columns(there: "pa.Schema", wanted: "pa.Schema") -> None:
    """Refuse a table that lacks what it must hold.

    Raises:
        ValueError: a column is missing, or of another type.
    """
    for column in wanted:
        if column.name in LATER and column.name not in there.names:
            continue
        if column.name not in there.names or there.field(column.name).type != column.type:
            raise ValueError(f"no column {column.name!r} of {column.type}")
