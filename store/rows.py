"""What a row is: photos, embeddings and failures as values, and as columns of the cache's tables."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import TYPE_CHECKING, Any

from store.photo import Photo
from store.photo import path_of as path_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

DIMENSION = 1024
CHECKSUM = 8  # bytes
# Columns that a CSV cannot set.
RESERVED = frozenset("uri root digest size modified view width height embedding checksum".split())
PASSING = "cannot be read: "


@dataclass(frozen=True, eq=False)
class Embedded:
    """A photo beside the embeddings of its views, indivisible: a row for each view."""

    photo: Photo
    digest: bytes  # 16 bytes, of the file's content
    width: int  # pixels, upright
    height: int
    embedding: "np.ndarray"  # of view 0, the canonical one: float32 (1024,), not normalised
    augmented: "Sequence[np.ndarray]" = ()  # of views 1, 2, …

    @property
    def views(self) -> "np.ndarray":
        """The embeddings (V, 1024) of all views, in their order."""
        import numpy as np

        return np.stack([self.embedding, *self.augmented])


@dataclass(frozen=True)
class Unreadable:
    """A photo that could not be embedded, and why."""

    photo: Photo
    reason: str

    @property
    def may_pass(self) -> bool:
        """Whether the trouble lies outside the file, a disk that is not there, say: then it is tried again."""
        return self.reason.startswith(PASSING)


@dataclass(frozen=True, slots=True)
class Known:
    """What the cache holds of a photo beside its embeddings."""

    row: int  # view 0's; stays the row's own for the table's life
    root: str
    uri: str
    size: int
    modified: int
    digest: bytes
    augmented: tuple[int, ...] = ()  # the rows of views 1, 2, …

    @property
    def rows(self) -> tuple[int, ...]:
        """The rows of all views, in their order."""
        return self.row, *self.augmented


def photo_schema() -> "pa.Schema":
    """The columns of the embeddings' table; a CSV may add to them."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("uri", pa.string(), nullable=False),
            pa.field("root", pa.string(), nullable=False),
            pa.field("digest", pa.binary(16), nullable=False),
            pa.field("size", pa.int64(), nullable=False),
            pa.field("modified", pa.timestamp("us", "UTC"), nullable=False),
            pa.field("view", pa.int32(), nullable=False),
            pa.field("label", pa.string()),
            pa.field("split", pa.string()),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("embedding", pa.list_(pa.float16(), DIMENSION), nullable=False),
            pa.field("checksum", pa.binary(CHECKSUM), nullable=False),  # of all the others
        ]
    )


def unreadable_schema() -> "pa.Schema":
    """The columns of the table of unreadable photos."""
    import pyarrow as pa

    names = ("uri", "root", "size", "modified")
    return pa.schema([*(photo_schema().field(name) for name in names), pa.field("reason", pa.string(), nullable=False)])


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def photos_of(batches: "Iterable[pa.RecordBatch]") -> dict[int, Embedded]:
    """The photos of which these batches of the embeddings' table hold rows, by the id of view 0's, with those views.

    Without view 0 there is no photo.
    """
    views: dict[str, dict[int, tuple[int, Embedded]]] = defaultdict(dict)
    for row, view, one in (each for batch in batches for each in _rows(batch)):
        views[one.photo.path][view] = row, one
    found = {}
    for of_one in views.values():
        (row, first), *others = (of_one[view] for view in sorted(of_one))
        if 0 in of_one:
            found[row] = replace(first, augmented=tuple(other.embedding for _, other in others))
    return found


def _rows(batch: "pa.RecordBatch") -> Iterator[tuple[int, int, Embedded]]:
    """The rows of a batch of the embeddings' table, each with its id and its view, as if it were the only one."""
    for row, vector in zip(batch.drop_columns(["embedding"]).to_pylist(), vectors(batch), strict=True):
        own = {name: row[name] for name in said(batch.schema) if name not in ("label", "split", "_rowid")}
        moment = _microseconds(row["modified"])
        photo = Photo(row["root"], row["uri"], row["size"], moment, row["label"], row["split"], own)
        yield row["_rowid"], row["view"], Embedded(photo, row["digest"], row["width"], row["height"], vector)


def unreadable_photos(table: "pa.Table") -> Iterator[Unreadable]:
    """The rows of the table of unreadable photos."""
    for row in table.to_pylist():
        photo = Photo(row["root"], row["uri"], row["size"], _microseconds(row["modified"]))
        yield Unreadable(photo, row["reason"])


def lengths(embeddings: "np.ndarray") -> "np.ndarray":
    """The length (N,) of each embedding (N, D), float32; above 0, so that it can be divided by."""
    import numpy as np

    return np.asarray(np.maximum(np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings)), 1e-12))


def unit_length(embeddings: "np.ndarray") -> "np.ndarray":
    """Embeddings (N, D) scaled to length 1, float32."""
    import numpy as np

    embeddings = np.asarray(embeddings, np.float32)
    return np.ascontiguousarray(embeddings / lengths(embeddings)[:, None])


def vectors(batch: "pa.RecordBatch") -> "np.ndarray":
    """The embeddings (n, 1024) of a batch, float32."""
    flat = batch["embedding"].flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, DIMENSION).astype("float32")  # type: ignore[no-any-return]


def check_dates(rows: "pa.Table | pa.RecordBatch") -> None:
    """Refuse dates that are damaged: Python has none of them.

    Raises:
        ValueError: a year is not one from 1 to 9999.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for field in rows.schema:
        if pa.types.is_timestamp(field.type) or pa.types.is_date(field.type):
            years = pc.min_max(pc.year(rows[field.name])).as_py()
            if years["min"] is not None and not 1 <= years["min"] <= years["max"] <= 9999:
                raise ValueError(f"a date in column {field.name!r} is damaged")


def one_batch(rows: "pa.Table") -> "pa.RecordBatch":
    """The rows of a table, in one batch."""
    import pyarrow as pa

    batches = rows.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], rows.schema)


def chosen(batches: "Iterable[pa.RecordBatch]", values: Mapping[str, Collection[Any]]) -> "Iterator[pa.RecordBatch]":
    """Of the rows in these batches those in which one of the columns named in `values` has one of its values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for batch in batches:
        fits = [pc.is_in(batch[name], pa.array(list(some), batch[name].type)) for name, some in values.items()]
        yield batch.filter(reduce(pc.or_, fits))


def marks(batches: "Iterator[pa.RecordBatch]") -> "tuple[np.ndarray, np.ndarray]":
    """The ids of rows (N,), ascending, int64; and the first 8 bytes of their digests (N,), uint64."""
    import numpy as np

    ids, found = [np.zeros(0, np.int64)], [np.zeros(0, "<u8")]
    for batch in batches:
        digests = batch["digest"]
        data = np.frombuffer(digests.buffers()[1], "<u8")[2 * digests.offset :]
        ids.append(batch["_rowid"].cast("int64").to_numpy())
        found.append(data[: 2 * len(digests) : 2])
    order = np.argsort(every := np.concatenate(ids), kind="stable")
    return every[order], np.concatenate(found)[order]


def said(schema: "pa.Schema") -> list[str]:
    """The columns that a name, a folder or a CSV fills: label, split and the user's own."""
    return [name for name in schema.names if name not in RESERVED]


def said_of(photo: Photo) -> dict[str, Any]:
    """What a photo's name, folder or CSV says of it, by column."""
    return {"label": photo.label, "split": photo.split, **photo.columns}


def is_new(one: Embedded, then: Known | None) -> bool:
    """Whether no row of a photo must be replaced: it is new itself, or has not changed and lacks views."""
    if then is None:
        return True
    now = (one.digest, one.photo.size, one.photo.modified)
    return now == (then.digest, then.size, then.modified) and len(then.rows) < len(one.views)


def told(photo: Photo, row: Mapping[str, Any]) -> Photo:
    """A photo with other words said of it; what `row` leaves out stays."""
    words = {**said_of(photo), **row}
    return replace(photo, label=words.pop("label"), split=words.pop("split"), columns=words)


def embedded_table(
    photos: Sequence[Embedded], schema: "pa.Schema", *, there: Sequence[int] | None = None
) -> "pa.Table":
    """Photos with their embeddings as rows of a table with this schema, without the views that are there already.

    `there` has their number for each photo; by default none is.
    """
    import numpy as np
    import pyarrow as pa

    views = [
        (photo, view, embedding)
        for photo, first in zip(photos, there or [0] * len(photos), strict=True)
        for view, embedding in enumerate(photo.views[first:], first)
    ]
    rows = [photo for photo, _, _ in views]
    columns: dict[str, Any] = {
        "uri": [row.photo.uri for row in rows],
        "root": [row.photo.root for row in rows],
        "digest": [row.digest for row in rows],
        "size": [row.photo.size for row in rows],
        "modified": [row.photo.modified for row in rows],
        "view": [view for _, view, _ in views],
        "width": [row.width for row in rows],
        "height": [row.height for row in rows],
    }
    told = [said_of(row.photo) for row in rows]
    columns |= {name: [of_one.get(name) for of_one in told] for name in said(schema)}
    embeddings = np.stack([embedding for _, _, embedding in views])
    flat = pa.array(embeddings.astype(np.float16).reshape(-1))
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, DIMENSION)
    fields = [field for field in schema if field.name != "checksum"]
    table = pa.table([pa.array(columns[field.name], field.type) for field in fields], schema=pa.schema(fields))
    sums = pa.array(checksums(table, embeddings), pa.binary(CHECKSUM))
    return table.append_column(schema.field("checksum"), sums).select(schema.names)


def checksums(photos: "pa.Table | pa.RecordBatch", embeddings: "np.ndarray") -> list[bytes]:
    """What the checksum of each row must be: Lance keeps none, and a flipped bit would only be another number.

    It covers the embedding as it is stored, and what the other columns hold; one that holds nothing adds nothing.
    """
    names = sorted(set(photos.schema.names) - {"embedding", "checksum", "modified", "_rowid"})
    # As a date, its words would depend on the library of time zones.
    moments = photos["modified"].cast("int64").to_pylist()
    halves = embeddings.astype("float16")
    made = []
    for row, moment, vector in zip(photos.select(names).to_pylist(), moments, halves, strict=True):
        words = "\0".join(f"{name} {value!s}" for name, value in row.items() if value is not None)
        data = f"{words}\0modified {moment}\0".encode() + vector.tobytes()
        made.append(hashlib.blake2b(data, digest_size=CHECKSUM).digest())
    return made


def unreadable_table(rows: Sequence[Unreadable]) -> "pa.Table":
    """Unreadable photos as rows of their table."""
    import pyarrow as pa

    keys = ("uri", "root", "size", "modified")
    listed = [{**{key: getattr(row.photo, key) for key in keys}, "reason": row.reason} for row in rows]
    return pa.Table.from_pylist(listed, schema=unreadable_schema())


def by_digest(known: Mapping[str, Known]) -> dict[bytes, tuple[int, ...]]:
    """The rows that hold the embeddings of these bytes; of several photos, those of the one with the most views."""
    rows: dict[bytes, tuple[int, ...]] = {}
    for one in known.values():
        if len(one.rows) > len(rows.get(one.digest, ())):
            rows[one.digest] = one.rows
    return rows
