"""A trunk's embeddings in slices, each of which any process can read that reaches the store."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from petrieve.store.contents import CANONICAL, SCAN, Contents
from petrieve.store.folder import Made, Store
from petrieve.store.rows import row_ids, vectors
from petrieve.store.tables import REMEMBERED_BYTES, address, readable

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Slice:
    """Pieces of a trunk's table that follow each other, of one version of it, named so that they can be sent away."""

    store: str  # an address, or a path from the root
    made: Made
    version: int
    pieces: tuple[int, ...]


def slices(cache: Contents, rows: int) -> list[Slice]:
    """The embeddings in their order, in slices of `rows` rows and up to one piece more."""
    parts, size = list[list[int]](), rows
    with readable(cache.store):
        for piece in cache._vectors.get_fragments():
            if size >= rows:
                parts.append([])
                size = 0
            parts[-1].append(piece.fragment_id)
            size += piece.physical_rows
    return [Slice(cache.store.place, cache.made, int(cache._vectors.version), tuple(part)) for part in parts]


def read(one: Slice) -> "Iterator[tuple[np.ndarray, np.ndarray]]":
    """Batches of a slice's rows of view 0: their ids (n,), int64, and embeddings (n, D), float32.

    Raises:
        PetrieveError: they cannot be read.
    """
    import lance

    store = Store.at(one.store)
    place = address(store.folder(one.made).vectors)
    with readable(store):
        table = lance.dataset(**place, version=one.version, metadata_cache_size_bytes=REMEMBERED_BYTES)
        pieces = [piece for piece in map(table.get_fragment, one.pieces) if piece]
        chosen = CANONICAL if one.made.views else None
        scan = table.scanner(["embedding"], chosen, batch_size=SCAN, with_row_id=True, fragments=pieces)
        for batch in scan.to_batches():
            yield row_ids(batch), vectors(batch)
