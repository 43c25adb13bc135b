"""What `export_embeddings` wrote, read into a store: bit by bit, and only what the store has not got."""

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extractor.exchange.embeddings import CARD, GROUP, TABLE
from extractor.sources.labels import check_columns
from extractor.trunks.kinds import KINDS, kind
from store.buckets import SCHEMES
from store.cache import Cache
from store.columns import FORM, carried
from store.errors import PetrieveError, first_line
from store.folder import Made, Store, read_card
from store.forgotten import Lost, said_by_hand
from store.known import Known, known
from store.lock import writing
from store.photo import as_text, is_address, path_of
from store.rows import BY_HAND, RESERVED, Embedded, check_dates, microseconds, own, photo_of, photo_schema, vectors
from store.upgrade import upgrade

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Rows = dict[str, dict[str, Any]]  # of the table of photos, by path

LARGEST_ROW = 1 << 16  # bytes of a photo, unpacked
WEIGHTS = ("imagenet", "bundled")  # those that are the same everywhere
# What a row needs to become a row of a cache again; the other columns it may have.
NEEDED = ("root", "uri", "digest", "size", "modified", "width", "height")
# What the store knows of a photo's file, and does not mix with what another store knows.
OF_THE_FILE = ("size", "modified", "version", "digest", "width", "height", "reason", "caveat", "gone")


@dataclass(frozen=True)
class Export:
    """An exported folder, as its card and its table's schema describe it."""

    folder: Path
    made: Made
    photos: int
    own: "pa.Schema"  # the columns of the user's CSV
    moved: Path | None  # where the photos are now, if not where they were

    @property
    def table(self) -> Path:
        """The file that holds photos and embeddings."""
        return self.folder / TABLE


def import_embeddings(folder: Path, store: str | os.PathLike[str], *, photos: Path | None = None) -> tuple[int, Cache]:
    """How many photos a folder holds that `export_embeddings` wrote, and the cache that has them now, bit by bit.

    A store that is there must be of the same trunk. Of a photo that it knows it keeps what it says, and is told what
    it does not; of two contents of a path the one that was modified later stays. `photos` is where the folder is now in
    which all of them were. All is looked at before any of it is written.

    Raises:
        PetrieveError: the folder has no card or another trunk's, or is damaged; a photo's path leads outside its root.
    """
    place = Store.at(store)
    export = _opened(folder, photos)
    roots = _checked(export)
    with writing(place):
        upgrade(place)
        cache = _cache(place, export.made)
        cache.check(export.made.fingerprint, export.made.weights)
        cache.add_columns(photo_schema())  # a store of this format may lack the latest
        wider = cache.room_for(export.own)
        cache.add_columns(wider)
        there = known(cache)
        before = cache.lost(sorted(there.gone()), there)
        written, otherwise = set[bytes](), 0
        for read, embeddings in _batches(export, roots):
            rows = dict(zip(read, carried(read.values(), export.own, wider), strict=True))
            told, differ = _told(rows, cache, there, before)
            cache.take_in(told, list(_new(told, rows, embeddings, there, written)), there)
            otherwise += differ
        cache.tidy()
        cache.sign()
    if otherwise:
        warnings.warn(
            f"{otherwise} photos have another label, split or column in {folder}: the store keeps what it says, "
            "and `cli.py embed --labels FILE.csv` changes it",
            stacklevel=2,
        )
    return export.photos, Cache.open(place.path, cache.made.name)


def _cache(store: Store, made: Made) -> Cache:
    """The store's cache of the trunk that made an export, else its first; a new one where there is no store."""
    there = read_card(store)
    if there is None:
        return Cache.create(store, made, dimension=kind(made.kind).dimension)
    return Cache.open(store.path, made.name if made.name in [one.name for one in there.trunks] else None)


def _told(rows: "Rows", cache: Cache, there: Known, before: Lost) -> "tuple[Rows, int]":
    """What the store has yet to be told of these photos, and of how many it says something else.

    What it was told `before` of one that it no longer knows counts, unless the row was told otherwise by hand.
    """
    paths, names = [path for path in rows if path in there], own(cache.photo_schema)
    said, marks = cache.told_of(paths, there), cache.by_hand_of(paths, there)
    told, differ = {}, 0
    for path, row in rows.items():
        if path not in there:
            told[path] = {**row, **before.of(path, row["digest"]), **said_by_hand(row, names)}
            continue
        by_hand = {name for name, mark in BY_HAND.items() if marks[path][mark]}
        words = {name: row[name] for name in said[path] if row.get(name) is not None}
        new = {name: word for name, word in words.items() if said[path][name] is None and name not in by_hand}
        same = {name for name, word in words.items() if said[path][name] == word}
        differ += words.keys() > new.keys() | same
        told[path] = new | {mark: row[mark] for name, mark in BY_HAND.items() if name in new}
        told[path] |= {mark: True for name, mark in BY_HAND.items() if name in same and row[mark]}
        if _is_later(row, path, there):
            told[path] |= {name: row[name] for name in OF_THE_FILE}
    return told, differ


def _is_later(row: Mapping[str, Any], path: str, there: Known) -> bool:
    """Whether a row is of a later file than the one that the store knows at its path, or cannot read there."""
    modified, digest = microseconds(row["modified"]), there.digest(path)
    if digest is None:
        return modified >= there.modified(path)
    return row["digest"] != digest and modified > there.modified(path)


def _new(told: "Rows", rows: "Rows", embeddings: "np.ndarray", there: Known, written: set[bytes]) -> Iterator[Embedded]:
    """The photos whose content the store will have and not the embedding of it."""
    for (path, row), vector in zip(rows.items(), embeddings, strict=True):
        digest = row["digest"]
        wanted = "digest" in told[path] or there.digest(path) == digest
        if wanted and digest not in written and not there.embeddings.of(digest):
            written.add(digest)
            yield Embedded(photo_of(row, ()), digest, row["width"], row["height"], vector[None])


def _opened(folder: Path, moved: Path | None) -> Export:
    """An export whose card, types and sizes are such that its rows can be looked at."""
    import pyarrow as pa

    card = _card(folder)
    made = Made(card["trunk"], card["fingerprint"], card["weights"])
    dimension = kind(made.kind).dimension
    if not card["photos"] and not (folder / TABLE).exists():
        return Export(folder, made, 0, pa.schema([]), moved)
    try:
        if not (folder / TABLE).stat().st_size:  # a pipe, too, which would be waited for
            raise ValueError("it is empty")
        with (folder / TABLE).open("rb") as file:
            metadata, schema = _described(file)
    except (OSError, ValueError, OverflowError) as error:
        raise _damaged(folder, f"{TABLE} cannot be read: {first_line(error)}") from error
    missing = sorted({*NEEDED, "embedding", *(card["columns"] or ())} - set(schema.names))
    if missing:
        raise _damaged(folder, f"{TABLE} has no column {missing[0]}")
    if schema.field("embedding").type != pa.list_(pa.float32(), dimension):
        raise _damaged(folder, f"its embeddings are {schema.field('embedding').type}, not {dimension} × float32")
    if metadata.num_rows != card["photos"]:
        raise _damaged(folder, f"it holds {metadata.num_rows} photos, and its card says {card['photos']}")
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    if sum(group.total_byte_size for group in groups) > LARGEST_ROW * (metadata.num_rows + 1):
        raise _damaged(folder, f"{TABLE} unpacks to more than {LARGEST_ROW} bytes a photo")
    return Export(folder, made, card["photos"], _own(schema, card["columns"]), moved)


def _described(file: Any) -> "tuple[Any, pa.Schema]":
    """What a Parquet file says of itself, and its schema."""
    from pyarrow import parquet

    table = parquet.ParquetFile(file)
    return table.metadata, table.schema_arrow


def _own(schema: "pa.Schema", columns: list[str] | None) -> "pa.Schema":
    """The columns of the user's own CSV, with the types that they had; early cards do not name them."""
    import pyarrow as pa

    others = RESERVED | {"image_path", "length", "label", "split"}
    own = [name for name in schema.names if name not in others] if columns is None else columns
    check_columns("the metadata", own)
    made = []
    for field in map(schema.field, own):
        form = (field.metadata or {}).get(FORM)
        made.append(pa.field(field.name, _in_seconds(field.type), metadata={FORM: form} if form else None))
    return pa.schema(made)


def _in_seconds(type_: "pa.DataType") -> "pa.DataType":
    """The type that a column had: Parquet has no seconds, and CSVs give no milliseconds."""
    import pyarrow as pa

    if pa.types.is_timestamp(type_) and type_.unit == "ms":
        return pa.timestamp("s", type_.tz)
    return pa.time32("s") if type_ == pa.time32("ms") else type_


def _checked(export: Export) -> str:
    """The folder in which all photos were, once every one has been looked at: each is named once."""
    roots, seen = set[str](), set[str]()
    for rows, _ in _batches(export, None):
        for path, row in rows.items():
            if path in seen:
                raise _damaged(export.folder, "it names a photo twice")
            seen.add(path)
            roots.add(row["root"])
    return os.path.commonpath(roots) if roots and len(set(map(is_address, roots))) == 1 else ""


def _batches(export: Export, base: str | None) -> "Iterator[tuple[Rows, np.ndarray]]":
    """The photos beside their embeddings (n, D) float32, GROUP at a time; those in `base` are where they are now."""
    from pyarrow import parquet

    if not export.photos:
        return
    with export.table.open("rb") as file:
        columns = [*photo_schema().names, *export.own.names, "embedding"]
        table = parquet.ParquetFile(file, pre_buffer=False)
        there = [name for name in columns if name in table.schema_arrow.names and name != "checksum"]
        try:
            for batch in table.iter_batches(batch_size=GROUP, columns=there):
                rows = _rows(export, batch)
                if export.moved and base is not None:
                    rows = [_moved(row, base, export.moved) for row in rows]
                by_path = {path_of(row["root"], row["uri"]): row for row in rows}
                if len(by_path) < len(rows):
                    raise _damaged(export.folder, "it names a photo twice")
                yield by_path, _numbers(export, batch)
        except (OSError, ValueError) as error:
            raise _damaged(export.folder, f"{TABLE} cannot be read: {first_line(error)}") from error


def _rows(export: Export, batch: "pa.RecordBatch") -> list[dict[str, Any]]:
    """Rows of the table of photos."""
    import pyarrow as pa

    types = {field.name: field.type for field in [*photo_schema(), *export.own]} | {"digest": pa.string()}
    names = [name for name in batch.schema.names if name != "embedding"]
    try:
        table = pa.Table.from_batches([batch]).select(names).cast(pa.schema([(name, types[name]) for name in names]))
        check_dates(table)
        if any(table[name].null_count for name in NEEDED):
            raise ValueError("a value is missing")
        rows = table.to_pylist()
        for row in rows:
            row["digest"] = bytes.fromhex(row["digest"])
            if len(row["digest"]) != 16:
                raise ValueError("a digest is none")
    except (ValueError, KeyError) as error:
        raise _damaged(export.folder, f"a row cannot be used: {first_line(error)}") from error
    for row in rows:
        if not _is_inside(row["root"], row["uri"]):
            raise _damaged(export.folder, f"{row['uri']!r} in {row['root']!r} is no path inside a folder")
    return [{**dict.fromkeys(types), **row} for row in rows]


def _moved(row: dict[str, Any], base: str, now: Path) -> dict[str, Any]:
    """The row of a photo that was somewhere in `base`, which is now elsewhere."""
    inside = os.path.relpath(row["root"], base)
    uri = row["uri"] if inside == os.curdir else f"{inside}/{row['uri']}"
    return {**row, "root": as_text(os.path.abspath(now)), "uri": uri}


def _numbers(export: Export, batch: "pa.RecordBatch") -> "np.ndarray":
    """The embeddings (n, D) float32 of a batch, which float16 can hold."""
    import numpy as np

    found = batch["embedding"]
    if found.null_count or found.flatten().null_count:
        raise _damaged(export.folder, "an embedding is missing")
    embeddings = vectors(batch)
    with np.errstate(all="ignore"):  # what comes of it is looked at here
        finite = np.isfinite(embeddings.astype(np.float16)).all(axis=1)
    sound = finite & embeddings.any(axis=1)
    if not sound.all():
        uri = batch["uri"][int(np.flatnonzero(~sound)[0])]
        raise _damaged(export.folder, f"the embedding of {uri} holds no numbers, or zeros alone")
    return embeddings


def _card(folder: Path) -> dict[str, Any]:
    """What the folder's card says: `fingerprint`, `weights`, `photos`, `trunk`, `columns`."""
    try:
        card = json.loads((folder / CARD).read_bytes())
        told = {"fingerprint": str(card["fingerprint"]), "weights": str(card["weights"]), "photos": int(card["photos"])}
        told["trunk"] = str(card.get("trunk", next(iter(KINDS))))  # earlier exports are all of the first
        told["columns"] = [str(name) for name in card["columns"]] if "columns" in card else None
    except FileNotFoundError as error:
        raise PetrieveError(
            f"{folder} has no {CARD}, so nothing says which network made its embeddings",
            "name a folder that `cli.py export` wrote, or embed the photos with `cli.py embed`",
        ) from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise _damaged(folder, f"{CARD} cannot be read") from error
    if told["weights"] not in WEIGHTS:  # a path that somebody else wrote is not opened
        raise PetrieveError(
            f"{folder} was made with weights from a file, {told['weights']}",
            "copy the store itself, or embed the photos with `cli.py embed --weights FILE`",
        )
    return told


def _is_inside(root: str, uri: str) -> bool:
    """Whether a photo lies in its root: a stranger's file must lead nowhere else, and to one place by one path."""
    if is_address(root):  # in a bucket, each key is one place
        return bool(uri) and root.partition("://")[0] in SCHEMES
    path = os.path.join(root, uri)
    outside = not uri or not os.path.isabs(root) or os.path.isabs(uri) or "\0" in path or os.pardir in Path(uri).parts
    return not outside and os.path.normpath(path) == path and os.path.normpath(root) == root


def _damaged(folder: Path, why: str) -> PetrieveError:
    return PetrieveError(f"{folder} cannot be imported: {why}", "write it again with `cli.py export`")
