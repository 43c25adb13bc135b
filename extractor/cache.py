"""The embeddings on disk, in Lance: opened, read, written, kept tidy."""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extractor.errors import PetrieveError
from extractor.filters import filtered
from extractor.photos import Photo, path_of
from extractor.rows import (
    Embedded,
    Known,
    Unreadable,
    embedded_photos,
    embedded_table,
    marks,
    one_batch,
    photo_schema,
    said,
    said_of,
    unreadable_photos,
    unreadable_schema,
    unreadable_table,
    vectors,
)
from extractor.store import FORMAT, Store, read_card, write_card
from extractor.tables import COMMITS_BETWEEN_MERGES, KEPT_SECONDS, let_go, merge_pieces, opened, readable, writable

if TYPE_CHECKING:
    import lance
    import numpy as np
    import pyarrow as pa

# Photos per scanned batch: 2 kB each, so 16 MB at a time.
SCAN = 8192
# Columns beside label, split and the user's own that a filter can be made of.
OTHERS = ("uri", "root", "size", "modified", "width", "height")
CANONICAL, AUGMENTED = "view = 0", "view > 0"


class Cache:
    """A store's embeddings, as they were when it was opened or last written to through this object."""

    def __init__(self, store: Store, *, fingerprint: str, weights: str) -> None:
        self.store = store
        self.fingerprint = fingerprint
        self.weights = weights
        self._rows, self._bad = opened(store.embeddings), opened(store.unreadable)
        self._commits = 0
        self._tidied = time.time()
        self._before: int | None = None  # a version that this object's writes must leave readable

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Cache":
        """The cache of the store at `path`.

        Raises:
            PetrieveError: there is none, or it cannot be read.
        """
        store = Store(Path(path))
        card = read_card(store)
        if card is None:
            raise PetrieveError(f"there are no embeddings in {store.path}", "run `cli.py embed FOLDER` first")
        if card["format"] != FORMAT:
            raise PetrieveError(
                f"store {store.path} has format {card['format']}, this release reads {FORMAT}",
                "run `cli.py embed FOLDER`: it brings the store up to date, and embeds nothing anew",
            )
        with readable(store):
            cache = cls(store, fingerprint=card["fingerprint"], weights=card["weights"])
            _check_columns(cache._rows.schema, photo_schema())
            _check_columns(cache._bad.schema, unreadable_schema())
        return cache

    @classmethod
    def create(cls, store: Store, *, fingerprint: str, weights: str) -> "Cache":
        """The empty cache of a store that is not there yet.

        Raises:
            PetrieveError: the store has lost its card, and holds embeddings; or it cannot be written to.
        """
        import lance
        import pyarrow as pa

        with writable(store):
            for path, schema in ((store.embeddings, photo_schema()), (store.unreadable, unreadable_schema())):
                empty = pa.Table.from_batches([], schema)
                place = os.path.abspath(path)
                # Folders without a version, and an empty table, are what a run leaves that is killed right here.
                if not any((path / "_versions").glob("*.manifest")):
                    lance.write_dataset(empty, place, mode="create", enable_stable_row_ids=True)
                elif opened(path).count_rows():
                    raise PetrieveError(
                        f"{store.path} holds embeddings, and its {store.card.name} is gone",
                        "bring that file back, or remove the store and run `cli.py embed` again",
                    )
            write_card(store, fingerprint=fingerprint, weights=weights)
        return cls.open(store.path)

    def as_now(self) -> "Cache":
        """The same cache for reading, which stays as it is now for as long as this one writes."""
        self._before = self._rows.version
        return Cache.open(self.store.path)

    def check(self, fingerprint: str, weights: str) -> None:
        """Refuse embeddings of another trunk.

        Raises:
            PetrieveError: the fingerprint is not the cache's.
        """
        if fingerprint != self.fingerprint:
            raise PetrieveError(
                f"store {self.store.path} was made with weights {self.weights} ({self.fingerprint[:8]}), "
                f"not with {weights} ({fingerprint[:8]})",
                f"use `--weights {self.weights}`, or another `--store`",
            )

    def __len__(self) -> int:
        """How many photos there are."""
        return int(self._rows.count_rows(CANONICAL))

    @property
    def version(self) -> str:
        """Changes with every write to the embeddings."""
        version = self._rows.get_version()
        return f"{version['version']} of {version['timestamp']}"

    def known(self) -> dict[str, Known]:
        """What is cached, by path."""
        columns = ["root", "uri", "size", "modified", "digest"]
        augmented = self._augmented()
        found = {}
        for batch in self._scan(columns, CANONICAL):
            numbers = batch.set_column(3, "modified", batch["modified"].cast("int64"))
            for one in map(Known, *(numbers[name].to_pylist() for name in ["_rowid", *columns])):
                others = augmented.get((one.root, one.uri))
                found[path_of(one.root, one.uri)] = replace(one, augmented=others) if others else one
        return found

    def _augmented(self) -> dict[tuple[str, str], tuple[int, ...]]:
        """The rows of each photo's views 1, 2, …, by root and uri."""
        found: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        for batch in self._scan(["root", "uri", "view"], AUGMENTED):
            for root, uri, *row in zip(*(batch[n].to_pylist() for n in ("root", "uri", "view", "_rowid")), strict=True):
                found[root, uri].append((row[0], row[1]))
        return {photo: tuple(row for _, row in sorted(views)) for photo, views in found.items()}

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
            return {failed.photo.path: failed for failed in unreadable_photos(self._bad.to_table())}

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
        batches = self._scan(self._rows.schema.names, _with_ids(ids)) if ids else ()
        views: dict[str, dict[int, tuple[int, Embedded]]] = defaultdict(dict)
        for row, view, one in (each for batch in batches for each in embedded_photos(batch)):
            views[one.photo.path][view] = row, one
        found = {}
        for of_one in views.values():
            (row, first), *others = (of_one[view] for view in sorted(of_one))
            if 0 in of_one:
                found[row] = replace(first, augmented=tuple(other.embedding for _, other in others))
        return found

    def commit(self, results: Sequence[Embedded | Unreadable], known: Mapping[str, Known]) -> None:
        """Write the results of one batch: each photo's rows are added or replaced all at once.

        `known` is what the cache held before the run, by path. Of a photo that is as it was then, only the views that
        it lacks are written. A run that ends between the two tables leaves a photo in both or in neither: in both it
        is taken for embedded, in neither for new.

        Raises:
            PetrieveError: the store cannot be written to, or is gone.
        """
        with self._writing():
            self._commit(results, known)
            self._commits += 1
            if self._commits % COMMITS_BETWEEN_MERGES == 0:
                merge_pieces(self._rows)
                merge_pieces(self._bad)
        if time.time() - self._tidied > KEPT_SECONDS:
            self.tidy()

    def _commit(self, results: Sequence[Embedded | Unreadable], known: Mapping[str, Known]) -> None:
        good = [result for result in results if isinstance(result, Embedded)]
        bad = [result for result in results if isinstance(result, Unreadable)]
        good = self._told_as_before(good, known)
        new = [one for one in good if _is_new(one, known.get(one.photo.path))]
        changed = [one for one in good if not _is_new(one, known.get(one.photo.path))]
        schema = self._rows.schema
        if new:
            there = [len(known[one.photo.path].rows) if one.photo.path in known else 0 for one in new]
            self._rows.insert(embedded_table(new, schema, there=there), mode="append")
        if changed:
            self._merge(self._rows, embedded_table(changed, schema), ["root", "uri", "view"], insert=True)
        if bad:  # what only cannot be reached keeps its row
            self._remove([one.photo.path for one in bad if not one.may_pass], known)
            self._merge(self._bad, unreadable_table(bad), ["root", "uri"], insert=True)
        self.forgive([row.photo for row in good])

    def relabel(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Write what a CSV says of cached photos (by path) into their rows; what it leaves out stays."""
        if not rows:
            return
        schema = self._rows.schema
        before, known = self.labelled(), self.known()
        changed = [
            known[path].rows
            for path, row in rows.items()
            if path in before and any(before[path][name] != value for name, value in row.items())
        ]
        at_once = max(1, SCAN // max(map(len, changed), default=1))
        for start in range(0, len(changed), at_once):
            there = self.rows([row for one in changed[start : start + at_once] for row in one]).values()
            told = [replace(one, photo=_told(one.photo, rows[one.photo.path])) for one in there]
            kept = ["root", "uri", "view", *said(schema), "checksum"]
            with self._writing():
                self._merge(self._rows, embedded_table(told, schema).select(kept), ["root", "uri", "view"])

    def forget(self, paths: Sequence[str], known: Mapping[str, Known]) -> None:
        """Drop these photos, embedded or unreadable."""
        with self._writing():
            self._remove(paths, known)
        listed = self.unreadable()
        self.forgive([listed[path].photo for path in paths if path in listed])

    def forgive(self, photos: Sequence[Photo]) -> None:
        """Take these photos off the list of the unreadable."""
        import pyarrow as pa

        if photos and self._bad.count_rows():
            keys = pa.table({"root": [p.root for p in photos], "uri": [p.uri for p in photos]})
            with self._writing():
                self._bad.merge_insert(["root", "uri"]).when_matched_delete().execute(keys)

    def _told_as_before(self, photos: Sequence[Embedded], known: Mapping[str, Known]) -> list[Embedded]:
        """The photos; label, split and the user's columns of those that are known stay what their rows say."""
        there = self.rows([known[one.photo.path].row for one in photos if one.photo.path in known])
        before = {one.photo.path: one.photo for one in there.values()}
        return [replace(one, photo=_told(one.photo, said_of(before.get(one.photo.path, one.photo)))) for one in photos]

    def _remove(self, paths: Sequence[str], known: Mapping[str, Known]) -> None:
        rows = [row for path in paths if path in known for row in known[path].rows]
        if rows:
            self._rows.delete(_with_ids(rows))

    def add_columns(self, columns: "pa.Schema") -> None:
        """Make room for the columns of the user's own CSV.

        Raises:
            PetrieveError: a column is there already, with values of another type.
        """
        import pyarrow as pa

        there = self._rows.schema
        for column in columns:
            if column.name in there.names and not _fits(column.type, there.field(column.name).type):
                raise PetrieveError(
                    f"column {column.name!r} holds {there.field(column.name).type} in the store {self.store.path}, "
                    f"{column.type} in the CSV",
                    "write its values as before, or rename the column",
                )
        missing = [column for column in columns if column.name not in there.names]
        if missing:
            with self._writing():
                self._rows.add_columns(pa.schema(missing))

    def tidy(self) -> None:
        """Merge the small pieces that many commits leave, and let go of versions that no run reads."""
        self._tidied = time.time()
        for table in (self._rows, self._bad):
            with self._writing():
                merge_pieces(table)
                let_go(table, self._before if table is self._rows else None)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        # Lance would make a table anew where the store was, with the new rows and without the old ones.
        if not self.store.card.exists():
            raise PetrieveError(
                f"the store {self.store.path} is gone", "bring it back, or run `cli.py embed` again for a new one"
            )
        with writable(self.store):
            yield

    def _scan(self, columns: list[str], chosen: str | None = None) -> "Iterator[pa.RecordBatch]":
        with readable(self.store):
            yield from self._rows.to_batches(columns=columns, filter=chosen, with_row_id=True, batch_size=SCAN)

    @staticmethod
    def _merge(table: "lance.LanceDataset", rows: "pa.Table", keys: list[str], *, insert: bool = False) -> None:
        merge = table.merge_insert(keys).when_matched_update_all()
        (merge.when_not_matched_insert_all() if insert else merge).execute(rows)


def _check_columns(there: "pa.Schema", wanted: "pa.Schema") -> None:
    for column in wanted:
        if column.name not in there.names or there.field(column.name).type != column.type:
            raise ValueError(f"no column {column.name!r} of {column.type}")


def _is_new(one: Embedded, then: Known | None) -> bool:
    """Whether no row of a photo must be replaced: it is new itself, or has not changed and lacks views."""
    if then is None:
        return True
    now = (one.digest, one.photo.size, one.photo.modified)
    return now == (then.digest, then.size, then.modified) and len(then.rows) < len(one.views)


def _told(photo: Photo, row: Mapping[str, Any]) -> Photo:
    """A photo with other words said of it; what `row` leaves out stays."""
    told = {**said_of(photo), **row}
    return replace(photo, label=told.pop("label"), split=told.pop("split"), columns=told)


def _fits(new: "pa.DataType", there: "pa.DataType") -> bool:
    """Whether values of a new type can stand in a column that is there."""
    import pyarrow as pa

    return bool(new == there or (pa.types.is_integer(new) and pa.types.is_floating(there)))


def _with_ids(rows: Sequence[int]) -> str:
    return f"_rowid IN ({', '.join(map(str, rows))})"
