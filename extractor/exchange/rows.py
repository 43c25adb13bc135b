"""Photos and embeddings as rows of an export: columns that every reader of Parquet takes, the same in all of them.

`photo` is where a photo is below its `root`; both together are its path. Times and dates are texts as ISO 8601 has
them: torch's format of Hugging Face's datasets takes no others.
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from petrieve.extractor.exchange.card import MAKER, card
from petrieve.store.cache import Cache
from petrieve.store.errors import warn
from petrieve.store.rows import BY_HAND, lengths, own

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

PART = 65_536  # photos at a time: 256 MB of 1,024 numbers, and twice as much while they are written
TYPE = b"type"  # in a column's metadata: its type in a store
# The columns after photo, root, label, split and the user's own.
REST = ("width", "height", "size", "modified", "version", "digest", "caveat", "reason", "gone", *BY_HAND.values())


def parts(cache: Cache) -> "Iterator[tuple[pa.Table, np.ndarray]]":
    """PART photos at a time, one part at least, beside their embeddings (n, D) float32 of view 0.

    Columns are `photo`, `root`, `label`, `split`, the user's own, REST, and `length`, the embedding's.
    """
    import numpy as np
    import pyarrow as pa

    names = [name for name in cache.photo_schema.names if name != "checksum"]
    if "photo" in names:  # an annotation in an archive may have this name
        warn("the column `photo` is left out: so is called what an export knows photos by")
        names.remove("photo")
    some = False
    for batches, vectors in _gathered(cache, names):
        some, embeddings = True, np.concatenate(vectors)
        photos = pa.Table.from_batches(batches).combine_chunks()  # as the embeddings: a frame of both is then whole
        yield _told(photos, embeddings), embeddings
    if not some:
        none = np.zeros((0, cache.dimension), np.float32)
        yield _told(pa.schema([cache.photo_schema.field(name) for name in names]).empty_table(), none), none


def _gathered(cache: Cache, names: list[str]) -> "Iterator[tuple[list[pa.RecordBatch], list[np.ndarray]]]":
    """Batches of the cache's photos, PART or a few more at a time."""
    photos: list[pa.RecordBatch] = []
    vectors: list[np.ndarray] = []
    for batch, embeddings in cache.embeddings(names):
        photos.append(batch)
        vectors.append(embeddings)
        if sum(map(len, vectors)) >= PART:
            yield photos, vectors
            photos, vectors = [], []
    if photos:
        yield photos, vectors


def _told(photos: "pa.Table", embeddings: "np.ndarray") -> "pa.Table":
    """The columns of photos, with the length of each embedding, unless the user has a column of that name."""
    import pyarrow as pa

    digests = pa.array([digest.hex() for digest in photos["digest"].to_pylist()], pa.string())
    columns = [photos["uri"], *(photos[name] for name in ("root", "label", "split"))]
    fields = [pa.field("photo", pa.string()), *(photos.schema.field(name) for name in ("root", "label", "split"))]
    for name in [*own(photos.schema), *(name for name in REST if name in photos.column_names)]:
        field, column = _as_text(photos.schema.field(name), photos[name])
        columns.append(digests if name == "digest" else column)
        fields.append(pa.field("digest", pa.string()) if name == "digest" else field)
    made = pa.table(columns, schema=pa.schema(fields))
    if "length" not in made.column_names:
        made = made.append_column("length", pa.array(lengths(embeddings), pa.float32()))
    return made


def _as_text(field: "pa.Field", column: "pa.ChunkedArray") -> "tuple[pa.Field, pa.ChunkedArray]":
    """A column of moments or days as texts, with what it was in its metadata; another as it is."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_timestamp(field.type) or pa.types.is_date(field.type)):
        return field, column
    texts = pc.replace_substring(column.cast(pa.string()), " ", "T", max_replacements=1)
    metadata = {**(field.metadata or {}), TYPE: str(field.type).encode()}
    return pa.field(field.name, pa.string(), field.nullable, metadata), texts


def with_embeddings(cache: Cache, told: "pa.Table", embeddings: "np.ndarray") -> "pa.Table":
    """Rows of `parts` with their embeddings, as the cache has them, in a last column; the schema says what they are."""
    import pyarrow as pa

    column = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), cache.dimension)
    field = pa.field("embedding", column.type, metadata={"unit_length": "false", "similarity": "cosine"})
    return signed(cache, told.append_column(field, column))


def signed(cache: Cache, told: "pa.Table", *, unit_length: bool = False) -> "pa.Table":
    """A table whose schema has our card in its metadata."""
    return told.replace_schema_metadata({MAKER: json.dumps(card(cache, unit_length=unit_length))})
