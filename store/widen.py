"""Columns of the table of photos get wider types: numbers that are text from now on."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from petrieve.store.columns import carried
from petrieve.store.errors import warn
from petrieve.store.key import Where
from petrieve.store.rows import CHECKSUM, one_batch, photo_checksums, photo_table
from petrieve.store.tables import write_table

if TYPE_CHECKING:
    import pyarrow as pa


def widen(path: Where, there: "pa.Schema", rows: "Iterable[pa.RecordBatch]", columns: "Sequence[pa.Field]") -> None:
    """Write all rows of the table at `path` anew, in one commit: a run that ends in it leaves the table as it was.

    Rows get other ids.

    Raises:
        OSError: it cannot be written to.
    """
    import pyarrow as pa

    of_names = {field.name: field for field in columns}
    schema = pa.schema([of_names.get(field.name, field) for field in there])
    reader = pa.RecordBatchReader.from_batches(schema, (_widened(batch, there, schema) for batch in rows))
    write_table(path, reader, mode="overwrite", enable_stable_row_ids=True)
    for name in (field.name for field in columns if pa.types.is_string(field.type)):
        warn(f"column {name!r} holds text from now on: filters have its values in quotes")


def _widened(rows: "pa.RecordBatch", there: "pa.Schema", schema: "pa.Schema") -> "pa.RecordBatch":
    """Rows as wider columns hold them. One whose checksum was wrong has a wrong one again."""
    import pyarrow as pa

    right = photo_checksums(rows)
    made = photo_table(carried(rows.to_pylist(), there, schema), schema)
    sums = [
        new if old == then else old
        for old, then, new in zip(rows["checksum"].to_pylist(), right, made["checksum"].to_pylist(), strict=True)
    ]
    place = schema.get_field_index("checksum")
    return one_batch(made.set_column(place, schema.field(place), pa.array(sums, pa.binary(CHECKSUM))))
