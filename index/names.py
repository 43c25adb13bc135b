"""What photos are called, by their contents, in memory: for a process that asks again and again.

To read the names of ten photos from the tables takes as long as to find the ten among a million: each column of each
row costs Lance a look of its own. In memory a photo takes 56 bytes and its path.
"""

import ctypes
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from petrieve.store.cache import Cache
from petrieve.store.digests import spans
from petrieve.store.rows import one_batch, row_ids

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

NAMES = ["root", "uri", "label", "gone", "digest"]
FEW_VALUES = ("root", "label", "gone")  # each kept once, and its number for each photo
# Of more photos they are read for each question: there the codes take most of its time.
MOST = 2_000_000


@dataclass(frozen=True, eq=False)
class Names:
    """The photos of a cache, N of them, found by the rows of their contents among the embeddings."""

    contents: "np.ndarray"  # int64 (N,), ascending: the row of each photo's content
    places: "np.ndarray"  # int32 (N,): where each of these photos stands below
    photos: "pa.RecordBatch"  # NAMES and `_rowid`

    def of(self, contents: list[int]) -> list[list[dict[str, Any]]]:
        """The photos of the content in each of these rows, in the order of their own rows."""
        import numpy as np
        import pyarrow as pa

        first, end = (np.searchsorted(self.contents, contents, side) for side in ("left", "right"))
        places = self.places[spans(first, end - first)]
        found = iter(self.photos.take(pa.array(places)).to_pylist())
        return [list(islice(found, count)) for count in (end - first).tolist()]


@lru_cache(maxsize=1)
def names(cache: Cache) -> Names | None:
    """The names of all photos of a cache, read once; None of more than MOST."""
    import numpy as np
    import pyarrow as pa

    if not 0 < len(cache) <= MOST:
        return None
    photos = one_batch(pa.Table.from_batches(map(_short, cache.photos(NAMES))).unify_dictionaries())
    contents = _contents(cache, photos["digest"])
    order = np.lexsort((row_ids(photos), contents))
    order = order[np.searchsorted(contents[order], 0) :]  # the others wait for this trunk
    found = Names(contents[order], order.astype(np.int32), photos)
    del contents, order
    _give_back()
    return found


def _short(batch: "pa.RecordBatch") -> "pa.RecordBatch":
    """Photos whose columns of few values are numbers of a dictionary; all their paths may be more than 2 GB."""
    import pyarrow as pa

    for name in FEW_VALUES:
        batch = batch.set_column(batch.schema.get_field_index(name), name, batch[name].dictionary_encode())
    return batch.set_column(batch.schema.get_field_index("uri"), "uri", batch["uri"].cast(pa.large_string()))


def _give_back() -> None:
    """Let the system have the memory that reading took and has freed: as much as the names. Only glibc keeps it."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def _contents(cache: Cache, wanted: "pa.Array") -> "np.ndarray":
    """The rows (N,), int64, of the contents with these digests (N,) among the embeddings; -1 where there is none."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    batches = list(cache.numbered())
    rows = np.concatenate([np.zeros(0, np.int64), *map(row_ids, batches)])
    once = np.isin(rows, cache.marks()[0])  # view 0 of each content
    every = pa.chunked_array([batch["digest"] for batch in batches], pa.binary(16)).filter(pa.array(once))
    places = pc.index_in(wanted, value_set=every).fill_null(-1).to_numpy()
    return np.asarray(np.append(rows[once], -1)[places])
