"""What a store holds, read from its tables: photos, and what a trunk makes of their contents."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from petrieve.store.digests import Digests, as_array, marks_of, sorted_by_digest
from petrieve.store.folder import Made, Store
from petrieve.store.key import Where
from petrieve.store.photo import path_of, uris_of
from petrieve.store.rows import (
    Unreadable,
    annotation_columns,
    check_dates,
    digests,
    one_batch,
    own,
    photo_of,
    row_ids,
    vectors,
)
from petrieve.store.tables import opened, readable

if TYPE_CHECKING:
    import lance
    import numpy as np
    import pyarrow as pa

# Rows of a scanned batch: of 1,024 numbers, 16 MB at a time.
SCAN = 8192
EMBEDDED, CANONICAL = "digest IS NOT NULL", "view = 0"
# Up to this many photos, their labels and columns are kept in memory once they have been asked for: 20 MB.
IN_MEMORY = 100_000
FEW = 20  # up to this many rows are quicker read one by one than found in a scan


class Content(NamedTuple):
    """What is known of a content: its size in pixels (None if no photo has it), views, and caveat."""

    width: int | None
    height: int | None
    views: int
    caveat: str | None = None


class Contents:
    """A store's photos and one trunk's embeddings of them, as they were when they were opened."""

    def __init__(self, store: Store, made: Made, manifests: Mapping[Where, Where | None] | None = None) -> None:
        self.store = store
        self.made = made
        self.folder = store.folder(made)
        # In this order: vectors are written before the photos that point at them.
        self._photos, self._vectors = (
            opened(table, (manifests or {}).get(table)) for table in (store.photos, self.folder.vectors)
        )
        self.dimension = int(self._vectors.schema.field("embedding").type.list_size)

    @property
    def fingerprint(self) -> str:
        """The trunk's: of its weights and of the recipe of its views."""
        return self.made.fingerprint

    @property
    def weights(self) -> str:
        """The trunk's, in words."""
        return self.made.weights

    @property
    def photo_schema(self) -> "pa.Schema":
        """The columns of the table of photos."""
        return self._photos.schema

    def __len__(self) -> int:
        """How many photos can be looked at: all but the unreadable."""
        return self._embedded

    @property
    def contents(self) -> int:
        """How many contents are embedded; several photos may have the same."""
        return self._count(self._vectors, CANONICAL if self.made.views else None)

    @property
    def version(self) -> str:
        """Changes with every write to the photos or the embeddings."""
        versions = [table.get_version() for table in (self._photos, self._vectors)]
        return ", ".join(f"{one['version']} of {one['timestamp']}" for one in versions)

    def counts(self) -> dict[str, Any]:
        """How many photos and views there are, and how many photos of each label and in each split."""
        labels: Counter[str | None] = Counter()
        splits: Counter[str | None] = Counter()
        gone = 0
        for batch in self.photos(["label", "split", "gone"]):
            gone += len(batch) - batch["gone"].null_count
            for counter, name in ((labels, "label"), (splits, "split")):
                for one in batch[name].value_counts().to_pylist():
                    counter[one["values"]] += one["counts"]
        named = ({name: count for name, count in one.items() if name is not None} for one in (labels, splits))
        in_labels, in_splits = (dict(sorted(one.items())) for one in named)
        views = self.rows_of_views
        return {"photos": labels.total(), "gone": gone, "views": views, "labels": in_labels, "splits": in_splits}

    def columns(self) -> list[str]:
        """Label, split and the user's own columns."""
        return annotation_columns(self._photos.schema)

    def photos(self, columns: Sequence[str], chosen: str | None = EMBEDDED) -> "Iterator[pa.RecordBatch]":
        """Batches of photos that are embedded, or of those that a filter chooses, each with its row's id, `_rowid`."""
        with readable(self.store):
            scan = self._photos.to_batches(columns=list(columns), filter=chosen, with_row_id=True, batch_size=SCAN)
            for batch in scan:
                check_dates(batch)
                yield batch

    def every_photo(self) -> "Iterator[pa.RecordBatch]":
        """Batches of all photos with all their columns, the unreadable too."""
        return self.photos(self._photos.schema.names, None)

    def unreadable(self) -> dict[str, Unreadable]:
        """The photos that could not be read when they were tried last, by path."""
        names = own(self._photos.schema)
        found = {}
        for batch in self.photos(self._photos.schema.names, "reason IS NOT NULL"):
            for row in batch.to_pylist():
                one = Unreadable(photo_of(row, names), row["reason"])
                found[one.photo.path] = one
        return found

    def caveats(self) -> dict[str, str]:
        """The caveats of embedded photos, by path: that pixels are lost, or a preview's."""
        if "caveat" not in self._photos.schema.names:
            return {}
        batches = self.photos(["root", "uri", "caveat"], "caveat IS NOT NULL")
        return {path_of(row["root"], row["uri"]): row["caveat"] for batch in batches for row in batch.to_pylist()}

    def vectors(self, *, every_view: bool = False) -> "Iterator[tuple[pa.RecordBatch, np.ndarray]]":
        """Batches of a trunk's rows, each beside its embeddings (n, D) float32: of contents that a photo has.

        Of view 0, or of every view. A batch has `digest`, `view`, `checksum` and the row's own id, `_rowid`.
        """
        import numpy as np

        twice = self._repeated
        for batch in self._scan_vectors(self._vectors.schema.names, None if every_view else CANONICAL):
            held = self.has_photos(digests(batch))
            if len(twice) and not every_view:
                held &= ~np.isin(row_ids(batch), twice)
            batch = batch if held.all() else batch.filter(_mask(held))
            yield batch.drop_columns(["embedding"]), vectors(batch)

    def every_vector(self) -> "Iterator[tuple[pa.RecordBatch, np.ndarray]]":
        """What `vectors` yields, of all that the table holds."""
        for batch in self._scan_vectors(self._vectors.schema.names, None):
            yield batch.drop_columns(["embedding"]), vectors(batch)

    def numbered(self) -> "Iterator[pa.RecordBatch]":
        """Batches of digest and view of all that the table of embeddings holds, each row with its id."""
        return self._scan_vectors(["digest", "view"], None)

    @property
    def rows_of_views(self) -> int:
        """How many embeddings there are, of all views."""
        return self._count(self._vectors, None)

    def embeddings(self, columns: Sequence[str] | None = None) -> "Iterator[tuple[pa.RecordBatch, np.ndarray]]":
        """Batches of photos with these columns, or all, each photo beside its embedding (n, D) float32 of view 0."""
        import numpy as np

        columns = self._photos.schema.names if columns is None else columns
        for batch, some in self.vectors():
            photos = self.photos_of(digests(batch), columns)
            order = np.argsort(found := digests(batch))
            places = order[np.searchsorted(found, digests(photos), sorter=order)]
            for start in range(0, len(photos), SCAN):  # of one content there may be very many
                yield photos.slice(start, SCAN), some[places[start : start + SCAN]]

    def embeddings_of(self, contents: "np.ndarray") -> "Iterator[tuple[np.ndarray, np.ndarray]]":
        """Batches of those of these contents that are embedded: digests (n,), and embeddings (n, D) of view 0."""
        import numpy as np

        wanted = np.unique(contents)
        for batch, embeddings in self.vectors_of(self._of_contents.rows(marks_of(wanted))):
            chosen = np.isin(digests(batch), wanted)
            yield digests(batch)[chosen], embeddings if chosen.all() else embeddings[chosen]

    def vectors_of(self, ids: "np.ndarray") -> "Iterator[tuple[pa.RecordBatch, np.ndarray]]":
        """Batches of a trunk's rows with these ids (n,), of view 0: `digest`, `_rowid`; and embeddings (n, D) float32.

        Ids that are not there are left out.
        """
        import numpy as np

        if len(ids) > len(self._of_contents.ids) // FEW:
            for batch in self._scan_vectors(["digest", "embedding"], CANONICAL):
                chosen = np.isin(row_ids(batch), ids)
                some = batch if chosen.all() else batch.filter(_mask(chosen))
                yield some.drop_columns(["embedding"]), vectors(some)
            return
        ids = np.sort(ids)
        for start in range(0, len(ids), SCAN):
            some = self.take(ids[start : start + SCAN], ["_rowid", "digest", "embedding"])
            yield some.drop_columns(["embedding"]), vectors(some)

    def photos_of(self, contents: "np.ndarray", columns: Sequence[str]) -> "pa.RecordBatch":
        """The photos whose content is one of these (digests, (n,)), with these columns, `digest` and `_rowid`."""
        import numpy as np
        import pyarrow as pa

        wanted = [*columns, *({"digest", "_rowid"} - set(columns))]
        ids = np.sort(self._of_photos.rows(marks_of(contents)))
        if len(self._of_photos.ids) <= IN_MEMORY:
            every, held = self._held
            found = held.take(pa.array(np.searchsorted(every, ids))).select(wanted)
        else:
            found = self.take_photos(ids, wanted)
        same = np.isin(digests(found), contents)
        return found if same.all() else found.filter(_mask(same))

    @cached_property
    def _held(self) -> "tuple[np.ndarray, pa.RecordBatch]":
        """All photos with their labels and columns, by their rows' ids, ascending."""
        import numpy as np
        import pyarrow as pa

        batches = list(self.photos(self._photos.schema.names))
        if not batches:
            empty = pa.RecordBatch.from_pylist([], self._photos.schema.append(pa.field("_rowid", pa.uint64())))
            return np.zeros(0, np.int64), empty
        rows = one_batch(pa.Table.from_batches(batches))
        ids = row_ids(rows)
        order = np.argsort(ids)
        return ids[order], rows.take(pa.array(order))

    def marks(self) -> "tuple[np.ndarray, np.ndarray]":
        """Ids of view 0's rows of contents that a photo has, ascending, int64; and first 8 bytes of their digests."""
        import numpy as np

        ids, found = self._of_contents.ids, self._of_contents.marks
        held = self._of_photos.holds(found)
        ids, found = ids[held], found[held]
        order = np.argsort(ids, kind="stable")
        return ids[order], found[order]

    def sample(self, count: int, *, seed: int = 0) -> "tuple[np.ndarray, np.ndarray]":
        """Contents drawn by a seed, as many or all: digests (n,), and embeddings (n, D) float32."""
        import numpy as np

        ids, _ = self.marks()
        drawn = np.random.default_rng(seed).choice(ids, min(count, len(ids)), replace=False)
        rows = self.take(drawn, ["digest", "embedding"])
        return digests(rows), vectors(rows)

    def take(self, ids: "np.ndarray", columns: Sequence[str]) -> "pa.RecordBatch":
        """Columns of a trunk's rows with these ids, in their order; ids that are not there are left out.

        Lance's quickest way to a few rows: the embeddings of 100 in 3 ms, where a filter takes 10.
        """
        with readable(self.store):
            return one_batch(self._vectors._take_rows(ids.tolist(), columns=list(columns)))

    def take_photos(self, ids: "np.ndarray", columns: Sequence[str]) -> "pa.RecordBatch":
        """Columns of the photos with these row ids, in their order; ids that are not there are left out."""
        with readable(self.store):
            rows = one_batch(self._photos._take_rows(ids.tolist(), columns=list(columns)))
            check_dates(rows)
            return rows

    def known_of(self, photos: Mapping[str, bytes | None]) -> list[dict[str, Any]]:
        """Root, uri, size, time, digest and `gone` of photos at one of these paths, or with one of these digests.

        The others are passed over before Python sees them.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        contents = as_array(digest for digest in photos.values() if digest)
        uris = pa.array({uri for path in photos for uri in uris_of(path)}, pa.string())
        columns = ["root", "uri", "size", "modified", "digest", "gone"]
        rows = self.photos_of(contents, columns).to_pylist() if len(contents) else []
        for batch in self.photos(columns):
            rows += batch.filter(pc.is_in(batch["uri"], uris)).to_pylist()
        found = {path_of(row["root"], row["uri"]): row for row in rows}
        wanted = {digest for digest in photos.values() if digest}
        return [row for path, row in found.items() if path in photos or row["digest"] in wanted]

    def views_of(self, contents: Iterable[bytes]) -> dict[bytes, "np.ndarray"]:
        """The embeddings (V, D) float32 of all views of these contents, by digest, but for those that are not there.

        Raises:
            PetrieveError: they cannot be read.
        """
        import numpy as np

        wanted = as_array(contents)
        found: dict[bytes, dict[int, np.ndarray]] = {}
        ids = np.sort(self._of_views.rows(marks_of(wanted)))
        rows = self.take(ids, ["digest", "view", "embedding"])
        for row, vector in zip(rows.drop_columns(["embedding"]).to_pylist(), vectors(rows), strict=True):
            found.setdefault(row["digest"], {})[row["view"]] = vector
        return {digest: np.stack([of[view] for view in sorted(of)]) for digest, of in found.items() if 0 in of}

    def content_of(self, digest: bytes) -> Content | None:
        """What is known of a content; None if it is not embedded."""
        wanted = as_array([digest])
        rows = self.take(self._of_views.rows(marks_of(wanted)), ["digest", "view"]).to_pylist()
        views = [row["view"] for row in rows if row["digest"] == digest]
        if not views:
            return None
        columns = [name for name in ("width", "height", "caveat") if name in self._photos.schema.names]
        photo: dict[str, Any] = next(iter(self.photos_of(wanted, columns).to_pylist()), {})
        return Content(photo.get("width"), photo.get("height"), 1 + max(views), photo.get("caveat"))

    def views(self) -> "tuple[np.ndarray, np.ndarray]":
        """The digests (C,) of all contents that are embedded, ascending, and how many views of each are, int64."""
        import numpy as np

        every, most = [np.zeros(0, "S16")], [np.zeros(0, np.int64)]
        for batch in self.numbered():
            every.append(digests(batch))
            most.append(batch["view"].to_numpy().astype(np.int64))
        found, view = np.concatenate(every), np.concatenate(most)
        order = np.lexsort((view, found))
        found, view = found[order], view[order]
        last = np.append(found[1:] != found[:-1], True) if len(found) else np.zeros(0, bool)
        return found[last], view[last] + 1  # a content's views are written at once

    @cached_property
    def _of_photos(self) -> Digests:
        """The photos' rows by their contents."""
        return sorted_by_digest((row_ids(batch), digests(batch)) for batch in self.photos(["digest"]))

    @cached_property
    def _of_canonical(self) -> Digests:
        """All rows of view 0 by their contents."""
        scan = self._scan_vectors(["digest"], CANONICAL)
        return sorted_by_digest((row_ids(batch), digests(batch)) for batch in scan)

    @cached_property
    def _of_contents(self) -> Digests:
        """The rows of view 0 by their contents, each once."""
        return self._of_canonical.without(self._repeated) if len(self._repeated) else self._of_canonical

    @cached_property
    def _of_views(self) -> Digests:
        """The rows of all views by their contents."""
        if not self.made.views:
            return self._of_contents
        scan = self._scan_vectors(["digest"], None)
        return sorted_by_digest((row_ids(batch), digests(batch)) for batch in scan)

    @cached_property
    def _repeated(self) -> "np.ndarray":
        """Rows of contents that an earlier row has too: where several wrote at once, a content may be there twice."""
        import numpy as np

        every = self._of_canonical
        again = np.flatnonzero(every.marks[1:] == every.marks[:-1]) + 1
        if not len(again):
            return again
        pairs = [digests(self.take(every.ids[places], ["digest"])) for places in (again - 1, again)]
        return every.ids[again[pairs[0] == pairs[1]]]  # type: ignore[no-any-return]

    @cached_property
    def _embedded(self) -> int:
        """How many photos have a content: of a million, to count them takes more than to find the ten nearest."""
        return self._count(self._photos, EMBEDDED)

    def _count(self, table: "lance.LanceDataset", chosen: str | None) -> int:
        with readable(self.store):
            return int(table.count_rows(chosen))

    def _changed(self) -> None:
        """Forget what was remembered of the tables: they have changed."""
        remembered = "_embedded _of_photos _of_canonical _repeated _of_contents _of_views _held"
        for name in remembered.split():
            self.__dict__.pop(name, None)

    def orphans(self) -> list[int]:
        """The ids of a trunk's rows whose content no photo has."""
        scan = self._scan_vectors(["digest"], None)
        return [row for batch in scan for row in row_ids(batch)[~self.has_photos(digests(batch))].tolist()]

    def has_photos(self, contents: "np.ndarray") -> "np.ndarray":
        """Whether some photo has each of these contents (digests, (n,)): booleans (n,)."""
        return self._of_photos.holds(marks_of(contents))

    def _scan_vectors(self, columns: Sequence[str], chosen: str | None) -> "Iterator[pa.RecordBatch]":
        # Where there are no augmented views all rows are of view 0, and are found so without a look.
        chosen = chosen if self.made.views else None
        with readable(self.store):
            yield from self._vectors.to_batches(columns=list(columns), filter=chosen, with_row_id=True, batch_size=SCAN)


def _mask(chosen: "np.ndarray") -> "pa.Array":
    import pyarrow as pa

    return pa.array(chosen)
