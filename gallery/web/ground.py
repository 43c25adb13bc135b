"""The points of a map: a store's contents, the photos that each of them is, and their values in a column."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from petrieve.gallery.web.orders import all_photos
from petrieve.index import plane
from petrieve.store.digests import marks_of
from petrieve.store.errors import PetrieveError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from petrieve.store.cache import Cache


@dataclass(frozen=True, eq=False)
class Ground:
    """N points in an order drawn by a seed, so that each beginning of it is a sample; and the P photos of the store."""

    key: str
    cache: "Cache"
    contents: "np.ndarray"  # (N,) S16
    places: "np.ndarray"  # float32 (N, 2)
    first: "np.ndarray"  # int64 (N,): the place, among the photos, of each point's first that is not gone, or is
    rows: "np.ndarray"  # int64 (P,): the photos' row ids
    point: "np.ndarray"  # int64 (P,): which point each photo is; -1 where none
    plane: plane.Plane

    def __len__(self) -> int:
        return len(self.contents)

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """Left, lower, right and upper end."""
        (left, lower), (right, upper) = self.places.min(axis=0), self.places.max(axis=0)
        return float(left), float(lower), float(right), float(upper)

    def column_of(self, column: str) -> "pa.ChunkedArray":
        """The value of each point (N,) in a column."""
        import pyarrow as pa

        batches = [batch.select([column]) for batch in self.cache.photos([column])]
        return pa.Table.from_batches(batches)[column].take(pa.array(self.first))

    def having(self, rows: "np.ndarray") -> "np.ndarray":
        """Which points (N,) stand for one of the photos with these row ids: booleans."""
        import numpy as np

        found = np.zeros(len(self), bool)
        places = self.point[np.isin(self.rows, rows)]
        found[places[places >= 0]] = True
        return found


def ground_of(cache: "Cache", key: str) -> Ground:
    """The map in a cache's store, with the photos that its points are.

    Raises:
        PetrieveError: there is none, or it cannot be used.
    """
    import numpy as np

    made = plane.load(cache)
    if made is None:
        raise PetrieveError(f"there is no map in {cache.store.path}", plane.MAP.remedy)
    rows, contents, gone = all_photos(cache)
    at = _looked_up(contents, made.contents)
    # The last that is written stays: of those that are not gone, the first.
    order = np.argsort(~gone, kind="stable")
    order = np.concatenate([order[: gone.sum()][::-1], order[gone.sum() :][::-1]])
    order = order[at[order] >= 0]
    first = np.full(len(made.contents), -1)
    first[at[order]] = order
    shown = np.random.default_rng(0).permutation(np.flatnonzero(first >= 0))
    renamed = np.full(len(first) + 1, -1)  # the last is for -1
    renamed[shown] = np.arange(len(shown))
    return Ground(key, cache, made.contents[shown], made.points[shown], first[shown], rows, renamed[at], made)


def _looked_up(wanted: "np.ndarray", contents: "np.ndarray") -> "np.ndarray":
    """The place of each of these (P,) among the contents (N,); -1 where it is not there."""
    import numpy as np

    marks, asked = marks_of(contents), marks_of(wanted)
    order, each = np.argsort(marks, kind="stable"), np.argsort(asked)  # both sorted: ten times as quick for a million
    found = np.empty(len(wanted), np.int64)
    found[each] = order[np.searchsorted(marks[order], asked[each]).clip(max=len(order) - 1)]
    return np.where(contents[found] == wanted, found, -1)
