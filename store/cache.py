"""The embeddings on disk, in Lance: opened, read, written, kept tidy."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extractor.pixels.augment import RECIPE
from store.contents import AUGMENTED, SCAN, Contents, with_ids
from store.errors import PetrieveError
from store.folder import FORMAT, OLD_FORMAT, Store, read_card, write_card
from store.photo import Photo
from store.rows import (
    Embedded,
    Known,
    Unreadable,
    embedded_table,
    is_new,
    photo_schema,
    said,
    said_of,
    told,
    unreadable_schema,
    unreadable_table,
)
from store.tables import (
    COMMITS_BETWEEN_MERGES,
    KEPT_SECONDS,
    check_manifests,
    let_go,
    manifests,
    merge_pieces,
    opened,
    readable,
    writable,
)

if TYPE_CHECKING:
    import lance
    import pyarrow as pa


class Cache(Contents):
    """A store's embeddings, as they were when it was opened or last written to through this object."""

    def __init__(self, store: Store, **card: Any) -> None:
        super().__init__(store, **card)
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
        if card["format"] == OLD_FORMAT:
            raise PetrieveError(
                f"store {store.path} has format {card['format']}, this release reads {FORMAT}",
                "run `cli.py embed FOLDER`: it brings the store up to date, and embeds nothing anew",
            )
        check_manifests(store, card["manifests"])
        with readable(store):
            names = ("fingerprint", "weights", "views", "recipe")
            cache = cls(store, **{name: card[name] for name in names})
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

    def keep_views(self, number: int) -> None:
        """Say in the store that each photo has so many augmented views; those of another recipe are dropped.

        Said before the first of them is written, so that an older release never meets one.
        """
        if number == self.views and (self.recipe == RECIPE or not number):
            return
        if self.recipe not in ("", RECIPE):
            with self._writing():
                self._rows.delete(AUGMENTED)
        self.views, self.recipe = number, RECIPE
        card = read_card(self.store)
        self._write_card(card["manifests"] if card else {})

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
        new = [one for one in good if is_new(one, known.get(one.photo.path))]
        changed = [one for one in good if not is_new(one, known.get(one.photo.path))]
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
            new = [replace(one, photo=told(one.photo, rows[one.photo.path])) for one in there]
            kept = ["root", "uri", "view", *said(schema), "checksum"]
            with self._writing():
                self._merge(self._rows, embedded_table(new, schema).select(kept), ["root", "uri", "view"])

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
        return [replace(one, photo=told(one.photo, said_of(before.get(one.photo.path, one.photo)))) for one in photos]

    def _remove(self, paths: Sequence[str], known: Mapping[str, Known]) -> None:
        rows = [row for path in paths if path in known for row in known[path].rows]
        if rows:
            self._rows.delete(with_ids(rows))

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

    def sign(self) -> None:
        """Say on the store's card how this run leaves the tables, so that damage to their manifests shows."""
        card, now = read_card(self.store), manifests(self.store)
        if card is None or card["manifests"] != now:
            self._write_card(now)

    def _write_card(self, manifests: dict[str, str]) -> None:
        with self._writing():
            write_card(
                self.store,
                fingerprint=self.fingerprint,
                weights=self.weights,
                manifests=manifests,
                views=self.views,
                recipe=self.recipe,
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        # Lance would make a table anew where the store was, with the new rows and without the old ones.
        if not self.store.card.exists():
            raise PetrieveError(
                f"the store {self.store.path} is gone", "bring it back, or run `cli.py embed` again for a new one"
            )
        with writable(self.store):
            yield

    @staticmethod
    def _merge(table: "lance.LanceDataset", rows: "pa.Table", keys: list[str], *, insert: bool = False) -> None:
        merge = table.merge_insert(keys).when_matched_update_all()
        (merge.when_not_matched_insert_all() if insert else merge).execute(rows)


def _check_columns(there: "pa.Schema", wanted: "pa.Schema") -> None:
    for column in wanted:
        if column.name not in there.names or there.field(column.name).type != column.type:
            raise ValueError(f"no column {column.name!r} of {column.type}")


def _fits(new: "pa.DataType", there: "pa.DataType") -> bool:
    """Whether values of a new type can stand in a column that is there."""
    import pyarrow as pa

    return bool(new == there or (pa.types.is_integer(new) and pa.types.is_floating(there)))
