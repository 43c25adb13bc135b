"""A store's tables in Lance: opened, made, written, kept tidy."""

import os
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from petrieve.store.columns import check_case, joined
from petrieve.store.conditions import Choosing
from petrieve.store.contents import SCAN
from petrieve.store.digests import as_bytes
from petrieve.store.errors import PetrieveError
from petrieve.store.folder import FORMAT, NONE_YET, UPDATE, Card, Made, Store, read_card, write_card
from petrieve.store.forgotten import remember
from petrieve.store.key import Key, Where
from petrieve.store.known import Known
from petrieve.store.listings import Listing, read_listings, write_listings
from petrieve.store.photo import path_of
from petrieve.store.pieces import commit_merges, merge_pieces, merges
from petrieve.store.repeated import repeated
from petrieve.store.rows import (
    BY_HAND,
    Embedded,
    Unreadable,
    annotated,
    own,
    photo_schema,
    photo_table,
    vector_schema,
    vector_table,
)
from petrieve.store.tables import (
    COMMITS_BETWEEN_MERGES,
    KEPT_SECONDS,
    append_pieces,
    check_columns,
    check_manifests,
    let_go,
    make_table,
    manifests,
    opened,
    readable,
    writable,
)
from petrieve.store.widen import widen
from petrieve.store.written import Written, row_of_result

if TYPE_CHECKING:
    import pyarrow as pa


class Cache(Choosing):
    """A store's photos and a trunk's embeddings, as they were when opened or last written to through this object."""

    def __init__(self, store: Store, made: Made, manifests: Mapping[Where, Where | None] | None = None) -> None:
        super().__init__(store, made, manifests)
        self._commits = 0
        self._tidied = time.time()

    @classmethod
    def open(cls, path: str | os.PathLike[str] | Key, trunk: str | None = None) -> "Cache":
        """The cache of the store at `path`, with what its first trunk made, or the one that is named.

        Raises:
            PetrieveError: there is none, it cannot be read, or it holds nothing of that trunk.
        """
        store = Store.at(path)
        card = read_card(store)
        if card is None:
            raise PetrieveError(f"there are no embeddings in {store.path}", NONE_YET)
        if card.format != FORMAT:
            raise PetrieveError(
                f"store {store.path} has format {card.format}, and this release works with {FORMAT}", UPDATE
            )
        made = card.trunk(trunk, store.path)
        there = check_manifests(store, store.tables([made]), card.manifests)
        with readable(store):
            cache = cls(store, made, there)
            check_columns(cache._photos.schema, photo_schema())
            check_columns(cache._vectors.schema, vector_schema(cache.dimension))
        return cache

    @classmethod
    def create(cls, store: Store, made: Made, *, dimension: int) -> "Cache":
        """The cache of a trunk, made where the store has nothing of it; with the store itself, where there is none.

        Raises:
            PetrieveError: the store has lost its card, and holds photos; or it cannot be written to.
        """
        card = read_card(store)
        if card and made.name in [one.name for one in card.trunks]:
            return cls.open(store.path, made.name)
        folder = store.folder(made)
        with writable(store):
            folder.path.mkdir(parents=True, exist_ok=True)
            if card is None:
                make_table(store, store.photos, photo_schema())
            make_table(store, folder.vectors, vector_schema(dimension))
            now = (card or Card(FORMAT, ())).with_trunk(made)
            write_card(store, now.trunks, now.manifests)
        return cls.open(store.path, made.name)

    def keep_views(self, number: int, recipe: str) -> None:
        """Write into the store that each photo has `views` augmented views; those of another recipe are dropped."""
        if number == self.made.views and (self.made.recipe == recipe or not number):
            return
        if self.made.recipe not in ("", recipe):
            with self._writing():
                self._vectors.delete("view > 0")
        self.made = replace(self.made, views=number, recipe=recipe)
        self._write_card()

    def keep_listings(self, listings: Mapping[str, Listing]) -> None:
        """Write into the store what archives held, by their paths."""
        if listings != read_listings(self.store):
            with self._writing():
                write_listings(self.store, listings)

    def check(self, fingerprint: str, weights: str) -> None:
        """Refuse embeddings of another trunk.

        Raises:
            PetrieveError: the fingerprint is not the cache's.
        """
        if fingerprint != self.fingerprint:
            raise PetrieveError(
                f"store {self.store.path} was made with {self.made.kind} and weights {self.weights} "
                f"({self.fingerprint[:8]}), not with {weights} ({fingerprint[:8]})",
                f'use `weights="{self.weights}"`, or add `trunk="{self.made.kind}"` to embed with these beside it'
                if weights != self.weights
                else f"these are of another release: `embed --trunk {self.made.kind}` puts what they make beside it, "
                f'and `drop_trunk="{self.made.name}"` lets the old go',
            )

    def commit(self, results: Sequence[Embedded | Unreadable], known: Known) -> None:
        """Write the results of one batch: embeddings first, then the photos that have them, in one commit each.

        `known` is what the store knew before the run. A run that ends between the two leaves embeddings that no photo
        has yet, which the next run finds there.

        Raises:
            PetrieveError: the store cannot be written to, or is gone.
        """
        new = [one for one in results if isinstance(one, Embedded) and len(one.views)]
        with self._writing():
            if new:
                self._vectors.insert(vector_table(new), mode="append")
            self._put([self._row(one, before) for one, before in self._with_rows(results, known)], known)
            self._commits += 1
            if self._commits % COMMITS_BETWEEN_MERGES == 0:
                merge_pieces(self._photos)
                merge_pieces(self._vectors)
        self._changed()
        if time.time() - self._tidied > KEPT_SECONDS:
            self.tidy()

    def commit_written(self, written: Written, known: Known) -> None:
        """Write what workers have made: their embeddings, which lie in the store already, and then the photos.

        `known` is what the store knew before the run. It is for one process alone to call, which holds the store.

        Raises:
            PetrieveError: the store cannot be written to, or is gone.
        """
        with self._writing():
            append_pieces(self._vectors, self.folder.vectors, written.pieces)
            if len(written.rows):
                self._photos.insert(written.rows, mode="append")
            self._put([self._row(one, before) for one, before in self._with_rows(written.known, known)], known)
            self._commits += 1
            if self._commits % COMMITS_BETWEEN_MERGES == 0:
                merge_pieces(self._photos)
        self._changed()
        if time.time() - self._tidied > KEPT_SECONDS:
            self.tidy(merge=False)

    def merges(self) -> list[str]:
        """Tasks of `store.pieces.merged` that make few pieces of the embeddings' many."""
        return merges(self._vectors)

    def commit_merges(self, results: Sequence[str]) -> bool:
        """Whether what came of such tasks is in its place: not where its rows have changed meanwhile.

        Raises:
            PetrieveError: the store cannot be written to, or is gone.
        """
        with self._writing():
            return commit_merges(self._vectors, results)

    def take_in(self, rows: Mapping[str, Mapping[str, Any]], new: Sequence[Embedded], known: Known) -> None:
        """Write rows as another store had them, by path; of photos that are known, what a row leaves out stays.

        `new` are photos with the embeddings that are not there yet.
        """
        with self._writing():
            if new:
                self._vectors.insert(vector_table(new), mode="append")
            self._put([row for path, row in rows.items() if path not in known], known)
        self.change({path: row for path, row in rows.items() if path in known}, known)

    def _with_rows(
        self, results: Sequence[Embedded | Unreadable], known: Known
    ) -> Iterator[tuple[Embedded | Unreadable, dict[str, Any] | None]]:
        """Each result beside the row that the store has of its photo."""
        there = self._rows_of([one.photo.path for one in results if one.photo.path in known], known)
        for one in results:
            yield one, there.get(known.row(one.photo.path)) if one.photo.path in known else None

    def _row(self, result: Embedded | Unreadable, before: dict[str, Any] | None) -> dict[str, Any]:
        """The new row of a photo; label, split and the user's columns stay what its row says."""
        photo = result.photo
        if before:
            names = own(self._photos.schema)
            photo = annotated(photo, {name: before.get(name) for name in ("label", "split", *BY_HAND.values(), *names)})
            photo = replace(photo, root=before["root"], uri=before["uri"])  # also when it was found from another root
            if isinstance(result, Unreadable) and result.may_pass:  # it keeps what it had
                return {**before, "reason": result.reason, "gone": None}
        return row_of_result(replace(result, photo=photo))

    def change(self, rows: Mapping[str, Mapping[str, Any]], known: Known) -> None:
        """Write other values into the rows of photos that are known, by path and column; the others stay."""
        self.change_rows({known.row(path): row for path, row in rows.items()})

    def change_rows(self, rows: Mapping[int, Mapping[str, Any]]) -> None:
        """The same, by the ids of the rows."""
        ids = sorted(rows)
        for start in range(0, len(ids), SCAN):
            there = self._rows(ids[start : start + SCAN])
            changed = [new for number, row in there.items() if (new := {**row, **rows[number]}) != row]
            if changed:
                with self._writing():
                    self._replace(changed)
        self._changed()

    def mark_gone(self, paths: Iterable[str], known: Known) -> None:
        """Mark photos as gone: they were not found where they were."""
        since = datetime.now(UTC).replace(microsecond=0)
        self.change({path: {"gone": since} for path in paths}, known)

    def told_of(self, paths: Sequence[str], known: Known) -> dict[str, dict[str, Any]]:
        """Label, split and the user's own columns of these photos, by path."""
        return self._columns_of(paths, known, self.columns())

    def by_hand_of(self, paths: Sequence[str], known: Known) -> dict[str, dict[str, Any]]:
        """Label and split of these photos, and whether they come from a CSV (None: not known), by path."""
        return self._columns_of(paths, known, [*BY_HAND, *BY_HAND.values()])

    def _columns_of(self, paths: Sequence[str], known: Known, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        there = self._rows_of(paths, known)
        return {path: {name: there[known.row(path)].get(name) for name in names} for path in paths}

    def forget(self, paths: Sequence[str], known: Known) -> None:
        """Drop these photos, and the embeddings, of every trunk, of contents that no photo has.

        What a CSV has said of them is kept.
        """
        if paths:
            parts = (paths[start : start + SCAN] for start in range(0, len(paths), SCAN))
            with self._writing():
                rows = (row for part in parts for row in self._rows_of(part, known).values())
                remember(self.store, rows, self._photos.schema)
        self.drop_rows(paths, known)
        card = read_card(self.store)
        for made in card.trunks if card else ():
            cache = self if made.name == self.made.name else Cache.open(self.store.path, made.name)
            cache._drop(cache.orphans())

    def drop_rows(self, paths: Sequence[str], known: Known) -> None:
        """Drop the rows of these photos and nothing else."""
        if ids := [known.row(path) for path in paths]:
            with self._writing():
                self._photos.delete(_with_ids(ids))
        self._changed()

    def drop_repeated(self) -> Counter[bytes]:
        """Of contents that several workers embedded at once, how many embeddings were too many: they are dropped."""
        dropped: Counter[bytes] = Counter()
        for ids, found in repeated(self):
            self._drop(ids.tolist())
            dropped.update(as_bytes(found))
        return dropped

    def _drop(self, embeddings: Sequence[int]) -> None:
        for start in range(0, len(embeddings), SCAN):
            with self._writing():
                self._vectors.delete(_with_ids(embeddings[start : start + SCAN]))
        self._changed()

    def room_for(self, columns: "pa.Schema") -> "pa.Schema":
        """These columns as they must be to hold what the store has of them, too: a number is text beside words.

        Raises:
            PetrieveError: the store has one whose name differs by case alone.
        """
        import pyarrow as pa

        there = self._photos.schema
        check_case(own(columns), own(there))
        return pa.schema([joined(there.field(one.name), one) if one.name in there.names else one for one in columns])

    def add_columns(self, columns: "pa.Schema") -> bool:
        """Make room for the columns of the user's own CSV; whether all rows were written anew, with other ids."""
        import pyarrow as pa

        there = self._photos.schema
        wider = [field for field in self.room_for(columns) if field.name in there.names]
        wider = [field for field in wider if field.type != there.field(field.name).type]
        if wider:
            with self._writing():
                widen(self.store.photos, there, self.every_photo(), wider)
                self._photos = opened(self.store.photos)
        missing = [column for column in columns if column.name not in there.names]
        if missing:
            with self._writing():
                self._photos.add_columns(pa.schema(missing))
        if wider or missing:
            self._changed()
        return bool(wider)

    def tidy(self, *, merge: bool = True) -> None:
        """Merge the small pieces that many commits leave, and let go of versions that no run reads.

        Without `merge`, because workers do that meanwhile, pieces stay as they are.
        """
        self._tidied = time.time()
        for path, table in ((self.store.photos, self._photos), (self.folder.vectors, self._vectors)):
            with self._writing():
                if merge:
                    merge_pieces(table)
                let_go(path, table)

    def sign(self) -> None:
        """Write digests of the tables' manifests on the store's card, so that damage to them shows."""
        card = read_card(self.store)
        if card is None or card.manifests != manifests(self.store, self.store.tables(card.trunks)):
            self._write_card()

    def _write_card(self) -> None:
        card = (read_card(self.store) or Card(FORMAT, ())).with_trunk(self.made)
        with self._writing():
            write_card(self.store, card.trunks, manifests(self.store, self.store.tables(card.trunks)))

    def _put(self, rows: Sequence[Mapping[str, Any]], known: Known) -> None:
        """Write rows of photos in one commit: those that are new are added, the others replaced."""
        if not rows:
            return
        if any(path_of(row["root"], row["uri"]) in known for row in rows):
            self._replace(rows)
        else:
            self._photos.insert(photo_table(rows, self._photos.schema), mode="append")

    def _replace(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows of photos in one commit, in the place of those with the same root and uri where there are such."""
        merge = self._photos.merge_insert(["root", "uri"]).when_matched_update_all()
        merge.when_not_matched_insert_all().execute(photo_table(rows, self._photos.schema))

    def _rows_of(self, paths: Sequence[str], known: Known) -> dict[int, dict[str, Any]]:
        """Photos' rows as they are now, by their ids."""
        return self._rows([known.row(path) for path in paths])

    def _rows(self, ids: Collection[int]) -> dict[int, dict[str, Any]]:
        """Photos' rows with these ids as they are now, by them."""
        import numpy as np

        if not ids:
            return {}
        rows = self.take_photos(np.sort(np.fromiter(ids, np.int64)), [*self._photos.schema.names, "_rowid"])
        return {row.pop("_rowid"): row for row in rows.to_pylist()}

    @contextmanager
    def _writing(self) -> Iterator[None]:
        # Lance would make a table anew where the store was, with the new rows and without the old ones.
        # In a bucket the lease would be gone with it.
        if not isinstance(self.store.path, Key) and not self.store.card.exists():
            raise PetrieveError(
                f"the store {self.store.path} is gone", "bring it back, or run `petrieve embed` again for a new one"
            )
        with writable(self.store):
            yield


def _with_ids(rows: Sequence[int]) -> str:
    return f"_rowid IN ({', '.join(map(str, rows))})"
