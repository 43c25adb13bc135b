"""An export, read without trusting it: its card, its tables, its rows.

Earlier releases wrote `embeddings.parquet` into a folder: `uri` for `photo`, and times as Parquet has them.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petrieve.extractor.exchange.card import CARD, MAKER
from petrieve.extractor.exchange.embeddings import DATA, GROUP
from petrieve.extractor.exchange.rows import TYPE
from petrieve.extractor.sources.annotations.labels import check_columns
from petrieve.extractor.trunks.kinds import KINDS, kind
from petrieve.store.buckets import SCHEMES
from petrieve.store.columns import FORM
from petrieve.store.errors import PetrieveError, first_line
from petrieve.store.folder import Made
from petrieve.store.photo import as_text, is_address, path_of
from petrieve.store.rows import RESERVED, check_dates, photo_schema, vectors

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Rows = dict[str, dict[str, Any]]  # of the table of photos, by path

LARGEST_ROW = 1 << 16  # bytes of a photo, unpacked
WEIGHTS = ("imagenet", "bundled")  # those that are the same everywhere
# Columns that a row needs to become a row of a cache again; the others are optional.
NEEDED = ("root", "digest", "size", "modified", "width", "height")
EARLIER = "embeddings.parquet"


@dataclass(frozen=True)
class Export:
    """An exported folder or Parquet file, as its card and its tables' schema describe it."""

    where: Path
    tables: tuple[Path, ...]  # that hold photos and embeddings
    made: Made
    photos: int
    own: "pa.Schema"  # the columns of the user's CSV
    moved: Path | None  # where the photos are now, if not where they were


def opened(where: Path, moved: Path | None) -> Export:
    """An export whose card, types and sizes have been checked, so that its rows can be read.

    Raises:
        PetrieveError: it has no card, or is damaged.
    """
    import pyarrow as pa

    card = _card(where)
    made = Made(card["trunk"], card["fingerprint"], card["weights"])
    tables = _tables(where)
    if not card["photos"] and not tables:
        return Export(where, (), made, 0, pa.schema([]), moved)
    found = [_described(where, table) for table in tables or [where / EARLIER]]
    schema = found[0][1]
    place = "uri" if "uri" in schema.names else "photo"
    missing = sorted({place, *NEEDED, "embedding", *(card["columns"] or ())} - set(schema.names))
    if missing:
        raise _damaged(where, f"it has no column {missing[0]}")
    if any(other != schema for _, other in found):
        raise _damaged(where, "its tables have different columns")
    wanted = pa.list_(pa.float32(), kind(made.kind).dimension)
    if schema.field("embedding").type != wanted:
        raise _damaged(where, f"its embeddings are {schema.field('embedding').type}, not {wanted.list_size} × float32")
    rows = sum(metadata.num_rows for metadata, _ in found)
    if rows != card["photos"]:
        raise _damaged(where, f"it holds {rows} photos, and its card says {card['photos']}")
    groups = [metadata.row_group(group) for metadata, _ in found for group in range(metadata.num_row_groups)]
    if sum(group.total_byte_size for group in groups) > LARGEST_ROW * (rows + 1):
        raise _damaged(where, f"it unpacks to more than {LARGEST_ROW} bytes a photo")
    return Export(where, tuple(tables), made, rows, _own(schema, card["columns"]), moved)


def _tables(where: Path) -> list[Path]:
    """The Parquet files of an export."""
    if where.is_file():
        return [where]
    earlier = where / EARLIER
    return [earlier] if earlier.exists() else sorted((where / DATA).glob("*.parquet"))


def _described(where: Path, table: Path) -> "tuple[Any, pa.Schema]":
    """A Parquet file's metadata and its schema."""
    from pyarrow import parquet

    try:
        if not table.stat().st_size:  # a pipe, too, which would be waited for
            raise ValueError("it is empty")
        with table.open("rb") as file:
            found = parquet.ParquetFile(file)
            return found.metadata, found.schema_arrow
    except (OSError, ValueError, OverflowError) as error:
        raise _damaged(where, f"{table.name} cannot be read: {first_line(error)}") from error


def _own(schema: "pa.Schema", columns: list[str] | None) -> "pa.Schema":
    """The columns of the user's own CSV, with the types that they had; early cards do not name them."""
    import pyarrow as pa

    others = RESERVED | {"photo", "image_path", "length", "label", "split"}
    own = [name for name in schema.names if name not in others] if columns is None else columns
    check_columns("the metadata", own)
    made = []
    for field in map(schema.field, own):
        metadata = field.metadata or {}
        type_ = _written(metadata.get(TYPE, b"").decode(errors="replace")) or _in_seconds(field.type)
        made.append(pa.field(field.name, type_, metadata={FORM: metadata[FORM]} if FORM in metadata else None))
    return pa.schema(made)


def _written(type_: str) -> "pa.DataType | None":
    """The type of times or dates with this name, whose values are texts in an export; None if it is another."""
    import pyarrow as pa

    if moment := re.fullmatch(r"timestamp\[(s|ms|us|ns)(?:, tz=([\w/+:-]+))?\]", type_):
        return pa.timestamp(moment[1], moment[2])
    return pa.type_for_alias(type_) if type_ in ("date32[day]", "date64[ms]") else None


def _in_seconds(type_: "pa.DataType") -> "pa.DataType":
    """The type that a column had: Parquet has no seconds, and CSVs give no milliseconds."""
    import pyarrow as pa

    if pa.types.is_timestamp(type_) and type_.unit == "ms":
        return pa.timestamp("s", type_.tz)
    return pa.time32("s") if type_ == pa.time32("ms") else type_


def folder_of_all(export: Export) -> str:
    """The folder that held all photos; every row is checked, and each photo is named once.

    Raises:
        PetrieveError: a photo is named twice, or what `batches` raises.
    """
    roots, seen = set[str](), set[str]()
    for rows, _ in batches(export, None):
        for path, row in rows.items():
            if path in seen:
                raise _damaged(export.where, "it names a photo twice")
            seen.add(path)
            roots.add(row["root"])
    return os.path.commonpath(roots) if roots and len(set(map(is_address, roots))) == 1 else ""


def batches(export: Export, base: str | None) -> "Iterator[tuple[Rows, np.ndarray]]":
    """The photos beside their embeddings (n, D) float32, GROUP at a time; photos in `base` get their present paths.

    Raises:
        PetrieveError: a row cannot be used.
    """
    for table in export.tables if export.photos else ():
        for batch in _read(export, table):
            rows = _rows(export, batch)
            if export.moved and base is not None:
                rows = [_moved(row, base, export.moved) for row in rows]
            by_path = {path_of(row["root"], row["uri"]): row for row in rows}
            if len(by_path) < len(rows):
                raise _damaged(export.where, "it names a photo twice")
            yield by_path, _numbers(export, batch)


def _read(export: Export, table: Path) -> "Iterator[pa.RecordBatch]":
    """What a table holds, in columns as a store calls them."""
    from pyarrow import parquet

    wanted = {*photo_schema().names, *export.own.names, "embedding"} - {"checksum"}
    try:
        with table.open("rb") as file:
            opened = parquet.ParquetFile(file, pre_buffer=False)
            names = opened.schema_arrow.names
            place = "uri" if "uri" in names else "photo"
            there = [place, *(name for name in names if name in wanted - {"uri", "photo"})]
            if place == "uri" and "photo" in export.own.names:
                there.append("photo")
            for batch in opened.iter_batches(batch_size=GROUP, columns=there):
                yield batch.rename_columns(["uri" if name == place else name for name in batch.schema.names])
    except (OSError, ValueError) as error:
        raise _damaged(export.where, f"{table.name} cannot be read: {first_line(error)}") from error


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
                raise ValueError("a digest is not 16 bytes in hexadecimal")
    except (ValueError, KeyError) as error:
        raise _damaged(export.where, f"a row cannot be used: {first_line(error)}") from error
    for row in rows:
        if not _is_inside(row["root"], row["uri"]):
            raise _damaged(export.where, f"{row['uri']!r} in {row['root']!r} is not a path inside a folder")
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
        raise _damaged(export.where, "an embedding is missing")
    embeddings = vectors(batch)
    with np.errstate(all="ignore"):  # the numbers are checked below
        finite = np.isfinite(embeddings.astype(np.float16)).all(axis=1)
    sound = finite & embeddings.any(axis=1)
    if not sound.all():
        uri = batch["uri"][int(np.flatnonzero(~sound)[0])]
        raise _damaged(export.where, f"the embedding of {uri} holds no numbers, or zeros alone")
    return embeddings


def _card(where: Path) -> dict[str, Any]:
    """What an export's card says: `fingerprint`, `weights`, `photos`, `trunk`, `columns`."""
    try:
        card = _card_of_file(where) if where.is_file() else json.loads((where / CARD).read_bytes())
        told = {"fingerprint": str(card["fingerprint"]), "weights": str(card["weights"]), "photos": int(card["photos"])}
        told["trunk"] = str(card.get("trunk", next(iter(KINDS))))  # earlier exports are all of the first
        told["columns"] = [str(name) for name in card["columns"]] if "columns" in card else None
        rounded = bool(card.get("unit_length"))
    except FileNotFoundError as error:
        raise PetrieveError(
            f"{where} has no {CARD}, so nothing says which network made its embeddings",
            "name what `petrieve export` wrote, or embed the photos with `petrieve embed`",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise _damaged(where, "its card cannot be read") from error
    if rounded:
        raise PetrieveError(
            f"{where} holds embeddings of unit length, and not the store's own",
            "import a folder or a `.parquet` that `petrieve export` wrote",
        )
    if told["weights"] not in WEIGHTS:  # a path in an untrusted file is not opened
        raise PetrieveError(
            f"{where} was made with weights from a file, {told['weights']}",
            "copy the store itself, or embed the photos with `petrieve embed --weights FILE`",
        )
    return told


def _card_of_file(file: Path) -> dict[str, Any]:
    """The card in a Parquet file, which counts its own photos."""
    metadata, schema = _described(file, file)
    said = (schema.metadata or {}).get(MAKER.encode())
    if said is None:
        raise FileNotFoundError
    return {**json.loads(said), "photos": metadata.num_rows}


def _is_inside(root: str, uri: str) -> bool:
    """Whether a photo lies in its root: an untrusted path must lead nowhere else, and to each place by one path."""
    if is_address(root):  # in a bucket, each key is one place
        return bool(uri) and root.partition("://")[0] in SCHEMES
    path = os.path.join(root, uri)
    outside = not uri or not os.path.isabs(root) or os.path.isabs(uri) or "\0" in path or os.pardir in Path(uri).parts
    return not outside and os.path.normpath(path) == path and os.path.normpath(root) == root


def _damaged(where: Path, why: str) -> PetrieveError:
    return PetrieveError(f"{where} cannot be imported: {why}", "write it again with `petrieve export`")
