"""What a store holds, read from its tables."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from extractor.pixels.augment import RECIPE
from store.filters import filtered
from store.folder import Store
from store.photo import path_of, uris_of
from store.rows import (
    Embedded,
    Known,
    Unreadable,
    check_dates,
    chosen,
    marks,
    one_batch,
    photos_of,
    said,
    unreadable_photos,
    vectors,
)
from store.tables import opened, readable

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# Photos per scanned batch: 2 kB each, so 16 MB at a time.
SCAN = 8192
# Columns beside label, split and the user's own that a filter can be made of.
OTHERS = ("uri", "root", "size", "modified", "width", "height")
CANONICAL, AUGMENTED = "view = 0", "view > 0"
KNOWN, VIEWS = ["root", "uri", "size", "modified", "digest"], ["root", "uri", "view"]


class Contents:
    """A store's embeddings and the list of what could not be embedded, as they were when they were opened."""

    def __init__(self, store: Store, *, fingerprint: str, weights: str, views: int = 0, recipe: str = "") -> None:
        self.store = store
        self.fingerprint = fingerprint
        self.weights = weights
        self.views = views  # how many augmented ones a run embeds of each photo
        self.recipe = recipe  # theirs
        self._rows, self._bad = opened(store.embeddings), opened(store.unreadable)

    def __len__(self) -> int:
        """How many photos there are."""
        return int(self._rows.count_rows(CANONICAL))

    @property
    def version(self) -> str:
        """Changes with every write to the embeddings."""
        version = self._rows.get_version()
        return f"{version['version']} of {version['timestamp']}"

    def known(self) -> dict[str, Known]:
        """What is cached, by path; augmented views of another recipe are passed over."""
        return self._known(self._scan(KNOWN, CANONICAL), self._scan(VIEWS, AUGMENTED))

    def known_of(self, photos: Mapping[str, bytes | None]) -> dict[str, Known]:
        """What `known` has of photos with one of these paths or digests (None where it is not known).

        The others are passed over before Python sees them: of a million, a few are found in half a second, not in 16.
        """
        digests = {digest for digest in photos.values() if digest}
        uris = {uri for path in photos for uri in uris_of(path)}
        of_paths = chosen(self._scan(KNOWN, CANONICAL), {"uri": uris, "digest": digests})
        every = [batch for batch in of_paths if len(batch)]
        uris = {uri for batch in every for uri in batch["uri"].to_pylist()}
        found = self._known(every, chosen(self._scan(VIEWS, AUGMENTED), {"uri": uris}))
        return {path: one for path, one in found.items() if path in photos or one.digest in digests}

    def _known(self, photos: "Iterable[pa.RecordBatch]", views: "Iterable[pa.RecordBatch]") -> dict[str, Known]:
        augmented = _augmented(views) if self.recipe in ("", RECIPE) else {}
        found = {}
        for batch in photos:
            numbers = batch.set_column(3, "modified", batch["modified"].cast("int64"))
            for one in map(Known, *(numbers[name].to_pylist() for name in ["_rowid", *KNOWN])):
                others = augmented.get((one.root, one.uri))
                found[path_of(one.root, one.uri)] = replace(one, augmented=others) if others else one
        return found

    def counts(self) -> dict[str, Any]:
        """How many photos and views there are, and how many photos of each label and in each split."""
        labels: Counter[str | None] = Counter()
        splits: Counter[str | None] = Counter()
        for batch in self._scan(["label", "split"], CANONICAL):
            labels.update(batch["label"].to_pylist())
            splits.update(batch["split"].to_pylist())
        named = ({name: count for name, count in one.items() if name is not None} for one in (labels, splits))
        in_labels, in_splits = (dict(sorted(one.items())) for one in named)
        views = int(self._rows.count_rows())
        return {"photos": labels.total(), "views": views, "labels": in_labels, "splits": in_splits}

    def labelled(self) -> dict[str, dict[str, Any]]:
        """Label, split and the user's own columns, by path."""
        names = ["root", "uri", *said(self._rows.schema)]
        rows = (row for batch in self._scan(names, CANONICAL) for row in batch.to_pylist())
        return {path_of(row["root"], row["uri"]): {name: row[name] for name in names[2:]} for row in rows}

    def unreadable(self) -> dict[str, Unreadable]:
        """The photos that could not be embedded, by path."""
        with readable(self.store):
            table = self._bad.to_table()
            check_dates(table)
            return {failed.photo.path: failed for failed in unreadable_photos(table)}

    def embeddings(self, *, every_view: bool = False) -> "Iterator[tuple[pa.RecordBatch, np.ndarray]]":
        """Batches of photos, each beside its embeddings (n, 1024) float32: of view 0, or a row for every view.

        A photo's columns are all of the table's but the embedding; `_rowid` is its row's id for good.
        """
        for batch in self._scan(self._rows.schema.names, None if every_view else CANONICAL):
            yield batch.drop_columns(["embedding"]), vectors(batch)

    def columns(self) -> list[str]:
        """Label, split and the user's own columns."""
        return said(self._rows.schema)

    def where(self, condition: str) -> "Iterator[tuple[pa.RecordBatch, np.ndarray]]":
        """What `embeddings` yields, of the photos for which a condition in SQL on their columns holds.

        Raises:
            PetrieveError: it is no condition, or names a column that is not there.
        """
        import pyarrow.compute as pc

        names, known = self._rows.schema.names, [*self.columns(), *OTHERS]
        with readable(self.store):
            for batch in filtered(self._rows, condition, names, known=known, batch=SCAN):
                photos = batch.filter(pc.equal(batch["view"], 0))
                yield photos.drop_columns(["embedding"]), vectors(photos)

    def sample(self, count: int, *, seed: int = 0) -> "tuple[pa.RecordBatch, np.ndarray]":
        """As many photos drawn by a seed, or all, beside their embeddings (n, 1024) float32."""
        import numpy as np

        ids, _ = self.marks()
        drawn = np.random.default_rng(seed).choice(ids, min(count, len(ids)), replace=False)
        rows = self.take(drawn, [*self._rows.schema.names, "_rowid"])
        return rows.drop_columns(["embedding"]), vectors(rows)

    def marks(self) -> "tuple[np.ndarray, np.ndarray]":
        """The ids of all photos' rows, ascending, int64, and of each the first 8 bytes of its digest, as one uint64."""
        return marks(self._scan(["digest"], CANONICAL))

    def take(self, ids: "np.ndarray", columns: list[str]) -> "pa.RecordBatch":
        """Columns of the rows with these ids, in their order; ids that are not there are left out.

        Lance's quickest way to a few rows: the embeddings of 100 in 3 ms, where a filter takes 10.
        """
        with readable(self.store):
            return one_batch(self._rows._take_rows(ids.tolist(), columns=columns))

    def rows(self, ids: Sequence[int]) -> dict[int, Embedded]:
        """The photos of which these are rows, by the id of view 0's; ids that are not there are left out.

        Each has the views whose rows are named, and none without view 0's.
        """
        batches = self._scan(self._rows.schema.names, with_ids(ids)) if ids else ()
        return photos_of(batches)

    def _scan(self, columns: list[str], chosen: str | None = None) -> "Iterator[pa.RecordBatch]":
        with readable(self.store):
            for batch in self._rows.to_batches(columns=columns, filter=chosen, with_row_id=True, batch_size=SCAN):
                check_dates(batch)
                yield batch


def with_ids(rows: Sequence[int]) -> str:
    """A filter for rows by their ids."""
    return f"_rowid IN ({', '.join(map(str, rows))})"


def _augmented(views: "Iterable[pa.RecordBatch]") -> dict[tuple[str, str], tuple[int, ...]]:
    """The rows of each photo's views 1, 2, …, by root and uri."""
    found: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for batch in views:
        for root, uri, *row in zip(*(batch[name].to_pylist() for name in (*VIEWS, "_rowid")), strict=True):
            found[root, uri].append((row[0], row[1]))
    return {photo: tuple(row for _, row in sorted(own)) for photo, own in found.items()}
