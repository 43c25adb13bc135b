"""In which order photos are looked through, and which of them: made beside, each once, and kept for a while."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from petrieve.classifier import head
from petrieve.gallery.web.beside import PATIENCE, Beside, key_of
from petrieve.gallery.web.desk import Desk, stamp
from petrieve.store.cache import Cache
from petrieve.store.rows import digests, row_ids, unit_length

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from petrieve.store.chosen import Bits

ORDERS = {
    "": "as they were added",
    "label": "by label",
    "name": "by name",
    "date": "newest first",
    "unusual": "most unusual first",
    "unsure": "least sure first",
}
NEAREST, SAMPLE = 5, 512  # photos of the store that each is compared with, and of how many that are drawn from it
KEPT = 6  # of a million photos 24 MB each
PART = 2000  # photos that are compared at a time


@dataclass(frozen=True, eq=False)
class Order:
    """Photos (N,) one after the other, as a store had them when the order was made."""

    key: str
    cache: Cache
    rows: "np.ndarray"  # int64, their rows' ids
    contents: "np.ndarray"  # digests, 16 bytes each

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Orders:
    """The orders of a desk that were asked for last, by their keys."""

    made: Beside = field(default_factory=lambda: Beside(KEPT))
    scores: dict[str, Any] = field(default_factory=dict)  # the last of each kind, with the version that it is of
    scoring: Lock = field(default_factory=Lock)

    def of(self, cache: Cache, condition: str | None, how: str) -> Order | None:
        """The photos for which a condition holds; None while the order is being made.

        The condition is looked for here, so that who asks is bounded in time; the rest is made beside.

        Raises:
            PetrieveError: the condition cannot be used, or there is no head to be least sure.
        """
        key = key_of(_version(cache, how), condition, how)
        chosen = None if condition is None else cache.chosen(condition).photos
        found: Order | None = self.made.of(key, self._make, key, cache, chosen, how, seconds=PATIENCE)
        return found

    def known(self, key: str) -> Order | None:
        """The order with this key, if it is still kept."""
        found: Order | None = self.made.known(key)
        return found

    def _make(self, key: str, cache: Cache, chosen: "Bits | None", how: str) -> Order:
        rows, contents, _ = all_photos(cache)
        order = self._sorted(cache, rows, how)
        if chosen is not None:
            order = order[chosen.hold(rows[order])]
        return Order(key, cache, rows[order], contents[order])

    def _sorted(self, cache: Cache, rows: "np.ndarray", how: str) -> "np.ndarray":
        """Places of all photos in this order."""
        import numpy as np

        if how in COLUMNS:
            return _by_column(cache, *COLUMNS[how])
        if how not in SCORES:
            return np.arange(len(rows))
        return np.asarray(np.argsort(self.score(cache, rows, how), kind="stable"))

    def score(self, cache: Cache, rows: "np.ndarray", how: str) -> "np.ndarray":
        """The number of each photo (N,) that an order goes by, float32, low first; `rows` are all ids, as scanned.

        Raises:
            PetrieveError: there is no head to be least sure.
        """
        with self.scoring:  # never twice at once
            version, score = self.scores.get(how, ("", None))
            if version != _version(cache, how):
                score = SCORES[how](cache, rows)
                self.scores[how] = (_version(cache, how), score)
            found: np.ndarray = score
            return found


def orders_of(desk: Desk) -> Orders:
    """A desk's own."""
    found: Orders = desk.more.setdefault("orders", Orders())
    return found


def _version(cache: Cache, how: str) -> str:
    """Changes with what an order depends on: of how sure the head is, the head too."""
    return f"{cache.version} {stamp(cache.folder.head)}" if how == "unsure" else cache.version


def all_photos(cache: Cache) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Row ids, contents and whether it is gone of each photo that is embedded, in the order of the table: (P,) each."""
    import numpy as np

    rows, contents, gone = [np.zeros(0, np.int64)], [np.zeros(0, "S16")], [np.zeros(0, bool)]
    for batch in cache.photos(["digest", "gone"]):
        rows.append(row_ids(batch))
        contents.append(digests(batch))
        gone.append(batch["gone"].is_valid().to_numpy(zero_copy_only=False))
    return np.concatenate(rows), np.concatenate(contents), np.concatenate(gone)


COLUMNS = {"label": ("label", "ascending"), "name": ("uri", "ascending"), "date": ("modified", "descending")}


def _by_column(cache: Cache, column: str, way: str) -> "np.ndarray":
    """Places of all photos by what stands in a column; those without it come last."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    batches = [batch.select([column]) for batch in cache.photos([column])]
    table = pa.Table.from_batches(batches, pa.schema([cache.photo_schema.field(column)]))
    table = table.append_column("place", pa.array(range(len(table)), pa.int64()))
    order: np.ndarray = np.asarray(pc.sort_indices(table, [(column, way), ("place", "ascending")]))
    return order


def _scored(
    cache: Cache, rows: "np.ndarray", columns: list[str], each: "Callable[[pa.RecordBatch, np.ndarray], np.ndarray]"
) -> "np.ndarray":
    """A number for each photo (N,) of its embedding, float32, in the order of the rows."""
    import numpy as np

    order, score = np.argsort(rows), np.zeros(len(rows), np.float32)
    for photos, embeddings in cache.embeddings(columns):
        for start in range(0, len(photos), PART):
            some = photos.slice(start, PART)
            places = order[np.searchsorted(rows, row_ids(some), sorter=order)]
            score[places] = each(some, embeddings[start : start + PART])
    return score


def _unusual(cache: Cache, rows: "np.ndarray") -> "np.ndarray":
    """How like each photo is to the nearest of a few that are drawn from the store.

    Sugiyama and Borgwardt, "Rapid distance-based outlier detection via sampling" (NeurIPS 2013): among all photos those
    that are unusual in the same way, as forty dogs among cats, hide each other; in a sample there are hardly any.
    """
    import faiss
    import numpy as np

    drawn, vectors = cache.sample(SAMPLE)
    units = unit_length(vectors)

    def each(photos: "pa.RecordBatch", embeddings: "np.ndarray") -> "np.ndarray":
        wanted = min(NEAREST + 1, len(units))
        near, places = faiss.knn(unit_length(embeddings), units, wanted, metric=faiss.METRIC_INNER_PRODUCT)
        itself = drawn[places] == digests(photos)[:, None]
        return np.asarray(-np.sort(-np.where(itself, -1, near), axis=1)[:, :NEAREST].mean(axis=1))

    return _scored(cache, rows, ["digest"], each)


def _unsure(cache: Cache, rows: "np.ndarray") -> "np.ndarray":
    """The head's probability of each photo's label; of a photo without one that it knows, of its own guess."""
    import numpy as np

    fitted = head.load(cache)
    place = {name: number for number, name in enumerate(fitted.classes)}

    def each(photos: "pa.RecordBatch", embeddings: "np.ndarray") -> "np.ndarray":
        sure = fitted.predict(embeddings)
        own = np.array([place.get(label, -1) for label in photos["label"].to_pylist()])
        return np.asarray(np.where(own >= 0, sure[np.arange(len(own)), own], sure.max(axis=1)))

    return _scored(cache, rows, ["label"], each)


SCORES = {"unusual": _unusual, "unsure": _unsure}
