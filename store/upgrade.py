"""A store of the format before, brought up to date."""

from typing import TYPE_CHECKING

from store.folder import OLD_FORMAT, Store, read_card, write_card
from store.rows import checksums, photo_schema, vectors
from store.tables import opened, readable, writable

if TYPE_CHECKING:
    import pyarrow as pa

KEPT_ONCE = ("index.faiss", "index.json")  # format 1 held the index in a file


def upgrade(store: Store) -> None:
    """Give the rows of a store of format 1 their checksums. Killed here, the next run does it again.

    Raises:
        PetrieveError: the store cannot be read or written to.
    """
    import lance
    import pyarrow as pa

    card = read_card(store)
    if card is None or card["format"] != OLD_FORMAT:
        return
    column = photo_schema().field("checksum")

    def made(rows: "pa.RecordBatch") -> "pa.RecordBatch":
        return pa.record_batch([pa.array(checksums(rows, vectors(rows)), column.type)], schema=pa.schema([column]))

    with readable(store):
        table = opened(store.embeddings)
    with writable(store):
        if column.name not in table.schema.names:
            table.add_columns(lance.batch_udf(output_schema=pa.schema([column]))(made))
        for name in KEPT_ONCE:
            (store.path / name).unlink(missing_ok=True)
        write_card(store, fingerprint=card["fingerprint"], weights=card["weights"])
