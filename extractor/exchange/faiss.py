"""Embeddings as an index that FAISS reads, and which photo each row is."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petrieve.extractor.exchange.card import check_own
from petrieve.extractor.exchange.rows import parts, signed
from petrieve.store.cache import Cache
from petrieve.store.files import named
from petrieve.store.rows import unit_length

if TYPE_CHECKING:
    import pyarrow as pa

IDS = ".ids.parquet"


def export_index(cache: Cache, file: Path) -> tuple[int, Path]:
    """How many photos were written as an exact FAISS index of cosines, and the Parquet file beside it: row i is row i.

    The index is an `IndexFlatIP` of embeddings of unit length, float32. While it is made all of it is in memory.

    Raises:
        PetrieveError: a file cannot be written, or the one beside it is there and no export.
    """
    import faiss
    import pyarrow as pa
    from pyarrow import parquet

    check_own(ids := file.with_suffix(IDS))
    index = faiss.IndexFlatIP(cache.dimension)
    rows = list(_added(cache, index))
    with named(file) as opened, named(ids) as beside:
        faiss.write_index(index, faiss.PyCallbackIOWriter(opened.write))  # type: ignore[attr-defined]
        parquet.write_table(signed(cache, pa.concat_tables(rows), unit_length=True), beside)
    return index.ntotal, ids


def _added(cache: Cache, index: Any) -> "Iterator[pa.Table]":
    """Columns of the photos that are added to an index, in their order."""
    for told, embeddings in parts(cache):
        index.add(unit_length(embeddings))
        yield told
