"""What rows are: photos, embeddings and failures as values, and as columns of the two tables."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from petrieve.store.columns import plain
from petrieve.store.errors import NO_MEMORY
from petrieve.store.photo import Photo

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

CHECKSUM = 8  # bytes
# Columns that a CSV cannot set: the tables' own.
BY_HAND = {"label": "label_by_hand", "split": "split_by_hand"}  # where it stands whether a CSV has said so
LATER = frozenset({*BY_HAND.values(), "caveat"})  # columns that a store of this format may lack; `embed` adds them
RESERVED = LATER | frozenset(
    "uri root size modified version digest width height reason gone checksum view embedding".split()
)
PASSING = "cannot be read: "
DAMAGED = "damaged"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAYS = tuple(one.toordinal() - EPOCH.toordinal() for one in (date.min, date.max))  # Python's, from 1970


@dataclass(frozen=True, eq=False)
class Embedded:
    """A photo beside the embeddings of its views, indivisible.

    Of a photo whose content the store holds already only those views are here that it lacks there.
    """

    photo: Photo
    digest: bytes  # 16 bytes, of the photo's content
    width: int  # pixels, upright
    height: int
    views: "np.ndarray"  # float32 (V, D), not normalised
    first: int = 0  # which view is the first of these: 0 is the canonical one
    caveat: str | None = None  # what is to be known of its pixels: that some are lost, say

    @property
    def embedding(self) -> "np.ndarray":
        """View 0's, (D,)."""
        assert not self.first
        return self.views[0]  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Unreadable:
    """A photo that could not be embedded, and why."""

    photo: Photo
    reason: str

    @property
    def path(self) -> str:
        """Where the photo is, as `path` of every answer has it."""
        return self.photo.path

    @property
    def may_pass(self) -> bool:
        """Whether the trouble lies outside the file, a disk that is not there, say: then it is tried again."""
        return may_pass(self.reason)


def may_pass(reason: str) -> bool:
    """Whether the trouble lies outside the photo, so that it is tried again."""
    return reason.startswith(PASSING)


def is_damage(reason: str) -> bool:
    """Whether the photo's bytes are not what they were: of some, pixels are left."""
    return reason.startswith(DAMAGED)


def unreadable(photo: Photo, error: Exception) -> Unreadable:
    """Why a photo could not be read or decoded, in words for its owner, of what was raised meanwhile."""
    if isinstance(error, OSError):
        return Unreadable(photo, f"{PASSING}{error.strerror}")
    return Unreadable(photo, NO_MEMORY if isinstance(error, MemoryError) else str(error))


def photo_schema() -> "pa.Schema":
    """The columns of the table of photos; a CSV may add to them."""
    import pyarrow as pa

    moment = pa.timestamp("us", "UTC")
    return pa.schema(
        [
            pa.field("uri", pa.string(), nullable=False),
            pa.field("root", pa.string(), nullable=False),
            pa.field("size", pa.int64(), nullable=False),
            pa.field("modified", moment, nullable=False),
            pa.field("version", pa.string()),
            pa.field("digest", pa.binary(16)),  # none where it cannot be read
            pa.field("width", pa.int32()),
            pa.field("height", pa.int32()),
            pa.field("label", pa.string()),
            pa.field("split", pa.string()),
            *(pa.field(name, pa.bool_()) for name in BY_HAND.values()),  # whether a CSV has said so
            pa.field("reason", pa.string()),  # why it cannot be read
            pa.field("caveat", pa.string()),  # what is to be known of the pixels that were embedded
            pa.field("gone", moment),  # since when it was not found where it was
            pa.field("checksum", pa.binary(CHECKSUM), nullable=False),  # of all the others
        ]
    )


def vector_schema(dimension: int) -> "pa.Schema":
    """The columns of a trunk's table of embeddings."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("digest", pa.binary(16), nullable=False),
            pa.field("view", pa.int32(), nullable=False),
            pa.field("embedding", pa.list_(pa.float16(), dimension), nullable=False),
            pa.field("checksum", pa.binary(CHECKSUM), nullable=False),  # of all the others
        ]
    )


def own(schema: "pa.Schema") -> list[str]:
    """The columns of the user's own CSV."""
    return [name for name in annotation_columns(schema) if name not in ("label", "split")]


def annotation_columns(schema: "pa.Schema") -> list[str]:
    """The columns that a name, a folder or a CSV fills: label, split and the user's own."""
    return [name for name in schema.names if name not in RESERVED and name != "_rowid"]


def said_of(photo: Photo) -> dict[str, Any]:
    """Label, split and columns of a photo, by column; labels that look the same are one."""
    return {"label": plain(photo.label or "") or None, "split": photo.split, **photo.columns}


def by_hand(row: dict[str, Any]) -> dict[str, Any]:
    """What a CSV says of a photo, by column, with the mark that label and split are from there."""
    return {**row, **{mark: True for name, mark in BY_HAND.items() if name in row}}


def annotated(photo: Photo, row: Mapping[str, Any]) -> Photo:
    """The photo with label, split and columns of `row`; what `row` leaves out stays."""
    words = {**said_of(photo), **row}
    return replace(photo, label=words.pop("label"), split=words.pop("split"), columns=words)


def photo_of(row: Mapping[str, Any], names: Iterable[str]) -> Photo:
    """The photo of a row of the table of photos; `names` are the user's own columns."""
    return Photo(
        root=row["root"],
        uri=row["uri"],
        size=row["size"],
        modified=microseconds(row["modified"]),
        label=row["label"],
        split=row["split"],
        columns={name: row[name] for name in names},
        version=row["version"],
    )


def row_of(photo: Photo, **others: Any) -> dict[str, Any]:
    """The row of a photo: `others` are its digest, width and height, reason, caveat, gone."""
    moment = EPOCH + timedelta(microseconds=photo.modified)
    place = {name: getattr(photo, name) for name in ("root", "uri", "size", "version")}
    return {**place, "modified": moment, **dict.fromkeys(BY_HAND.values(), False), **said_of(photo), **others}


def photo_table(rows: Sequence[Mapping[str, Any]], schema: "pa.Schema") -> "pa.Table":
    """Rows of the table of photos with this schema, with their checksums; what a row leaves out is empty."""
    import pyarrow as pa

    names = [name for name in schema.names if name != "checksum"]
    columns = [pa.array([row.get(name) for row in rows], schema.field(name).type) for name in names]
    table = pa.table(columns, schema=pa.schema([schema.field(name) for name in names]))
    sums = pa.array(photo_checksums(table), pa.binary(CHECKSUM))
    return table.append_column(schema.field("checksum"), sums).select(schema.names)


def vector_table(photos: Sequence[Embedded]) -> "pa.Table":
    """The embeddings of all views of these photos as rows of a trunk's table, each content once."""
    import numpy as np
    import pyarrow as pa

    contents = list({(one.digest, one.first): one for one in photos}.values())
    flat = np.concatenate([one.views for one in contents]).astype(np.float16)
    dimension = flat.shape[1]
    digests = [one.digest for one in contents for _ in one.views]
    views = [view for one in contents for view, _ in enumerate(one.views, one.first)]
    return pa.table(
        [
            pa.array(digests, pa.binary(16)),
            pa.array(views, pa.int32()),
            pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), dimension),
            pa.array(vector_checksums(digests, views, flat), pa.binary(CHECKSUM)),
        ],
        schema=vector_schema(dimension),
    )


def photo_checksums(rows: "pa.Table | pa.RecordBatch") -> list[bytes]:
    """What the checksum of each row must be: Lance keeps none, and a flipped bit would only be another word.

    A column that holds nothing adds nothing.
    """
    import pyarrow as pa

    names = sorted(set(rows.schema.names) - {"checksum", "_rowid"})
    columns = []
    for name in names:
        column = rows[name]
        # As a date, its words would depend on the library of time zones.
        columns.append((column.cast("int64") if pa.types.is_timestamp(column.type) else column).to_pylist())
    made = []
    for row in zip(*columns, strict=True):
        words = "\0".join(f"{name} {value!s}" for name, value in zip(names, row, strict=True) if value is not None)
        made.append(hashlib.blake2b(words.encode(), digest_size=CHECKSUM).digest())
    return made


def vector_checksums(digests: Iterable[bytes], views: Iterable[int], embeddings: "np.ndarray") -> list[bytes]:
    """What the checksum of each row must be, of the embedding (n, D) as it is stored, its content and its view."""
    made = []
    for digest, view, vector in zip(digests, views, embeddings.astype("float16", copy=False), strict=True):
        data = digest + view.to_bytes(4, "little", signed=True) + vector.tobytes()
        made.append(hashlib.blake2b(data, digest_size=CHECKSUM).digest())
    return made


def microseconds(moment: datetime) -> int:
    """Microseconds from 1970 to a moment."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def lengths(embeddings: "np.ndarray") -> "np.ndarray":
    """The length (N,) of each embedding (N, D), float32; above 0, so that it can be divided by."""
    import numpy as np

    return np.asarray(np.maximum(np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings)), 1e-12))


def unit_length(embeddings: "np.ndarray") -> "np.ndarray":
    """Embeddings (N, D) scaled to length 1, float32."""
    import numpy as np

    embeddings = np.asarray(embeddings, np.float32)
    return np.ascontiguousarray(embeddings / lengths(embeddings)[:, None])


def vectors(batch: "pa.RecordBatch | pa.Table") -> "np.ndarray":
    """The embeddings (n, D) of a batch, float32."""
    column = batch["embedding"]
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, column.type.list_size).astype("float32")  # type: ignore[no-any-return]


def row_ids(batch: "pa.RecordBatch") -> "np.ndarray":
    """The ids of a batch's rows (n,), int64."""
    return batch["_rowid"].cast("int64").to_numpy()  # type: ignore[no-any-return]


def digests(batch: "pa.RecordBatch") -> "np.ndarray":
    """The digests (n,) of a batch, 16 bytes each; none is missing."""
    import numpy as np

    column = batch["digest"]
    data = np.frombuffer(column.buffers()[1] or b"", "S16") if len(column) else np.zeros(0, "S16")
    return data[column.offset : column.offset + len(column)]


def check_dates(rows: "pa.Table | pa.RecordBatch") -> None:
    """Refuse dates that are damaged: Python has none of them.

    Raises:
        ValueError: a year is not one from 1 to 9999.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    a_day = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
    for field in rows.schema:
        if pa.types.is_timestamp(field.type) or pa.types.is_date64(field.type):
            numbers, units = rows[field.name].cast("int64"), a_day[getattr(field.type, "unit", "ms")]
        elif pa.types.is_date32(field.type):
            numbers, units = rows[field.name].cast("int32"), 1
        else:
            continue
        # Of the year, Arrow would give the last 16 bits.
        most = pc.min_max(numbers).as_py()
        if most["min"] is not None and not DAYS[0] <= most["min"] // units <= most["max"] // units <= DAYS[1]:
            raise ValueError(f"a date in column {field.name!r} is damaged")


def one_batch(rows: "pa.Table") -> "pa.RecordBatch":
    """The rows of a table, in one batch."""
    import pyarrow as pa

    batches = rows.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], rows.schema)
