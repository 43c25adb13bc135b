"""The photos that a store knows, column by column: a run compares the photos that it finds with them."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from petrieve.store.contents import SCAN, Content, Contents
from petrieve.store.digests import as_bytes
from petrieve.store.marks import mark_of_text, marks_of_texts
from petrieve.store.photo import UNTOLD, Photo, as_text, is_address, path_of, texts_of, uris_of
from petrieve.store.rows import microseconds, photo_schema

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

COLUMNS = ["root", "uri", "size", "modified", "version", "digest", "reason", "gone"]
FEW = 20  # of more sources a filter is not made: all is read


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Which contents a trunk has embedded: digests (C,), ascending, and what is known of each."""

    digests: "np.ndarray"  # S16 (C,)
    views: "np.ndarray"  # int32 (C,)
    sizes: "np.ndarray"  # int32 (C, 2): width and height, 0 where no photo has the content
    caveats: dict[bytes, str]  # of the few that have one

    def content(self, digest: bytes) -> Content | None:
        """What is known of the content with this digest: of one that only other trunks have embedded, its caveat."""
        caveat = self.caveats.get(digest)
        return self.of(digest) or (Content(None, None, 0, caveat) if caveat else None)

    def of(self, digest: bytes) -> Content | None:
        """What is known of the content with this digest; None if it is not embedded."""
        import numpy as np

        place = int(np.searchsorted(self.digests, np.bytes_(digest)))
        if as_bytes(self.digests[place : place + 1]) != [digest]:
            return None
        width, height = self.sizes[place].tolist()
        return Content(width or None, height or None, int(self.views[place]), self.caveats.get(digest))


@dataclass(frozen=True, eq=False)
class Known:
    """N photos that a store knows, found by their paths; what is told by place is (N,).

    A path is found by its mark, a number that other paths may share, and then compared: there may be very many.
    """

    marks: "np.ndarray"  # uint64, ascending
    places: "np.ndarray"  # int64, where in the other columns the photo with each mark stands
    uris: "pa.LargeStringArray"
    versions: "pa.Array"
    contents: "pa.Array"  # digests
    ids: "np.ndarray"  # int64, of rows
    sizes: "np.ndarray"  # int64
    moments: "np.ndarray"  # int64, microseconds
    roots: list[str]
    of_roots: "np.ndarray"  # int32, which of them is each photo's
    reasons: dict[int, str]  # by place, why photos could not be read
    away: "np.ndarray"  # bool, whether it was not found where it was
    views: "np.ndarray"  # int32, how many the trunk has of the photo's content; 0 where it has none
    within: tuple[str, ...] | None  # paths as texts: what lies in none of them was not asked for; None: all was
    look: Callable[[], Embeddings]  # what the trunk has of all contents, whether a photo here has them or not

    @cached_property
    def embeddings(self) -> Embeddings:
        """What the trunk has embedded, as it was when this was asked for first."""
        return self.look()

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and self._place(path) >= 0

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), SCAN):
            yield from self.paths(range(start, min(start + SCAN, len(self))))

    def __len__(self) -> int:
        return len(self.ids)

    def paths(self, places: "Sequence[int] | np.ndarray") -> list[str]:
        """The paths of the photos at these places (n,)."""
        import numpy as np
        import pyarrow as pa

        chosen = np.asarray(places, np.int64)
        roots = map(self.roots.__getitem__, self.of_roots[chosen].tolist())
        return list(map(path_of, roots, self.uris.take(pa.array(chosen)).to_pylist()))

    def texts(self, places: "np.ndarray") -> "pa.LargeStringArray":
        """The paths of the photos at these places (n,) as tables have them."""
        import pyarrow as pa

        return texts_of(self.roots, self.of_roots[places], self.uris.take(pa.array(places)))

    def places_of(self, paths: Sequence[str]) -> "np.ndarray":
        """As `places_of_texts`, of paths."""
        import pyarrow as pa

        return self.places_of_texts(pa.array(map(_text, paths), pa.large_string()))

    def places_of_texts(self, texts: "pa.LargeStringArray") -> "np.ndarray":
        """Where the photos stand whose paths, as tables have them, are these (n,): int64; -1 where one is not known."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = marks_of_texts(texts)
        at = np.searchsorted(self.marks, wanted, "right") - 1
        found, left = np.full(len(texts), -1), np.flatnonzero(at >= 0)
        while len(left := left[self.marks[at[left]] == wanted[left]]):
            places = self.places[at[left]]
            same = pc.equal(self.texts(places), texts.take(pa.array(left))).to_numpy(zero_copy_only=False)
            found[left[same]] = places[same]
            left = left[~same]  # where several have a mark, the one before may be it
            at[left] -= 1
            left = left[at[left] >= 0]
        return found

    def among(self, paths: Sequence[str]) -> frozenset[str]:
        """The paths among these that the store knows."""
        return frozenset(path for path, place in zip(paths, self.places_of(paths).tolist(), strict=True) if place >= 0)

    def asked_for(self, path: str) -> bool:
        """Whether the photo at a path would be among these, if the store knew it."""
        text = _text(path)
        return self.within is None or any(text == one or text.startswith(f"{one}/") for one in self.within)

    def _place(self, path: str) -> int:
        mark = mark_of_text(_text(path))
        at = int(self.marks.searchsorted(mark, "right")) - 1
        while at >= 0 and self.marks[at] == mark:
            place = int(self.places[at])
            if path_of(self.roots[self.of_roots[place]], self.uris[place].as_py()) == path:
                return place
            at -= 1
        return -1

    def _at(self, path: str) -> int:
        if (place := self._place(path)) < 0:
            raise KeyError(path)
        return place

    def row(self, path: str) -> int:
        """The id of the photo's row, which it keeps."""
        return int(self.ids[self._at(path)])

    def views_of(self, path: str) -> int:
        """How many views of the photo are embedded."""
        return int(self.views[self._at(path)])

    def root(self, path: str) -> str:
        """Where the photo was found first."""
        return self.roots[int(self.of_roots[self._at(path)])]

    def modified(self, path: str) -> int:
        """When the photo was changed last, microseconds."""
        return int(self.moments[self._at(path)])

    def digest(self, path: str) -> bytes | None:
        """The photo's content; None where it could not be read."""
        return self.contents[self._at(path)].as_py()  # type: ignore[no-any-return]

    def as_then(self, places: "np.ndarray", rows: "pa.RecordBatch") -> "np.ndarray":
        """Whether photos (n,) have the size, time and version that those at these places had: booleans."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        sizes, moments = rows["size"].to_numpy(), rows["modified"].to_numpy()
        same = ((sizes == self.sizes[places]) | (sizes == UNTOLD)) & (moments == self.moments[places])
        now, then = rows["version"], self.versions.take(pa.array(places))
        both = pc.and_(now.is_null(), then.is_null())
        equal = pc.or_(pc.fill_null(pc.equal(now, then), False), both).to_numpy(zero_copy_only=False)
        return np.asarray(same & equal)

    def is_gone(self, path: str) -> bool:
        """Whether the photo, which is known, was not found where it was."""
        return bool(self.away[self._at(path)])

    def places_in(self, containers: Collection[str]) -> "dict[str, np.ndarray]":
        """Where the photos stand that lie in each of these files (paths as texts), without those that are gone."""
        import numpy as np

        numbers = {path: number for number, path in enumerate(containers)}
        of_folders: dict[tuple[int, str], int] = {}
        inside = np.full(len(self), -1, np.int32)
        for start in range(0, len(self) if numbers else 0, SCAN):
            uris = self.uris[start : start + SCAN].to_pylist()
            for place, of in enumerate(zip(self.of_roots[start : start + SCAN].tolist(), uris, strict=True), start):
                folder = of[0], of[1].rpartition("/")[0]
                if folder not in of_folders:
                    above = self.roots[of[0]].rstrip("/")
                    container = _container(f"{above}/{folder[1]}".rstrip("/"), numbers)
                    of_folders[folder] = numbers.get(container or "", -1)
                inside[place] = of_folders[folder]
        inside[self.away] = -1
        order = np.argsort(inside, kind="stable")
        ends = np.searchsorted(inside[order], np.arange(len(numbers) + 1))
        return {path: order[ends[number] : ends[number + 1]] for path, number in numbers.items()}

    def inside(self, container: str, places: "np.ndarray") -> Iterator[tuple[str, int, int, str | None]]:
        """Name, size, time and version of the photos at these places, which lie in this file (its path as a text)."""
        import pyarrow as pa

        starts = [len(container.removeprefix(root).lstrip("/")) + 1 if root != container else 0 for root in self.roots]
        for first in range(0, len(places), SCAN):
            some = places[first : first + SCAN]
            uris, versions = (each.take(pa.array(some)).to_pylist() for each in (self.uris, self.versions))
            roots, sizes, moments = (each[some].tolist() for each in (self.of_roots, self.sizes, self.moments))
            for uri, root, size, modified, version in zip(uris, roots, sizes, moments, versions, strict=True):
                yield uri[starts[root] :], size, modified, version


def known(contents: Contents, sources: Iterable[str] | None = None) -> Known:
    """The photos that a store knows, or those at these paths and below, and what one trunk has of their contents.

    Of very many `sources` all is read.
    """
    import numpy as np
    import pyarrow as pa

    within = tuple(sorted({_text(source).rstrip("/") for source in sources})) if sources is not None else None
    within = None if within is None or len(within) > FEW or "" in within else within
    columns = _columns(contents.photo_schema)
    roots, of_roots, marks = dict[str, int](), [np.zeros(0, np.int32)], [np.zeros(0, np.uint64)]

    def rows() -> "Iterator[pa.RecordBatch]":
        for batch in contents.photos(COLUMNS, None if within is None else _below(within)):
            named = batch["root"].dictionary_encode()
            numbers = [roots.setdefault(name, len(roots)) for name in named.dictionary.to_pylist()]
            of_roots.append(np.array(numbers, np.int32)[named.indices.to_numpy()])
            texts = texts_of(named.dictionary.to_pylist(), named.indices.to_numpy(), batch["uri"])
            marks.append(marks_of_texts(texts))
            yield batch.select(columns.names)

    table = pa.Table.from_batches(rows(), columns)
    views = _views(contents, _whole(table["digest"]))
    return _known(table, list(roots), np.concatenate(of_roots), np.concatenate(marks), views, within, contents)


def nothing() -> Known:
    """The known photos of a store that is not there yet: none."""
    import numpy as np

    table = _columns(photo_schema()).empty_table()
    return _known(table, [], np.zeros(0, np.int32), np.zeros(0, np.uint64), np.zeros(0, np.int32), None, None)


def _columns(schema: "pa.Schema") -> "pa.Schema":
    """COLUMNS but for `root`, and the row's id."""
    import pyarrow as pa

    chosen = [schema.field(name) for name in COLUMNS if name != "root"]
    return pa.schema([*chosen, pa.field("_rowid", pa.uint64())])


def _known(
    rows: "pa.Table",
    roots: list[str],
    of_roots: "np.ndarray",
    marks: "np.ndarray",
    views: "np.ndarray",
    within: tuple[str, ...] | None,
    contents: Contents | None,
) -> Known:
    """The known photos, of rows with COLUMNS and `_rowid`."""
    import numpy as np

    unread = np.flatnonzero(rows["reason"].is_valid().to_numpy()).tolist()
    places = np.argsort(marks, kind="stable")
    return Known(
        marks=marks[places],
        places=places,
        uris=_whole(rows["uri"]),
        versions=_whole(rows["version"]),
        contents=_whole(rows["digest"]),
        ids=rows["_rowid"].to_numpy().astype(np.int64),
        sizes=rows["size"].to_numpy(),
        moments=rows["modified"].cast("int64").to_numpy(),
        roots=roots,
        of_roots=of_roots,
        reasons=dict(zip(unread, rows["reason"].drop_null().to_pylist(), strict=True)),
        away=rows["gone"].is_valid().to_numpy(),
        views=views,
        within=within,
        look=lambda: _embeddings(contents),
    )


def _below(places: Iterable[str]) -> str:
    """A filter that chooses the photos at these paths (texts) and below, whatever root they were found in."""
    chosen = []
    for place in places:
        chosen += [f"root = {_quoted(place)}", f"starts_with(root, {_quoted(place + '/')})"]
        for end in (end for end, letter in enumerate(place) if letter == "/"):
            root, uri = place[:end] or "/", place[end + 1 :]
            chosen.append(
                f"root = {_quoted(root)} AND (uri = {_quoted(uri)} OR starts_with(uri, {_quoted(uri + '/')}))"
            )
    return " OR ".join(f"({one})" for one in chosen)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _views(contents: Contents, wanted: "pa.Array") -> "np.ndarray":
    """How many views a trunk has of each of these contents (digests, (n,)): int32."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    batches = contents.numbered()
    if len(wanted) <= SCAN:
        batches = (batch.filter(pc.is_in(batch["digest"], wanted)) for batch in batches)
    some = pa.schema([pa.field("digest", pa.binary(16)), pa.field("view", pa.int32())])
    there = pa.Table.from_batches((batch.select(some.names).cast(some) for batch in batches), some)
    if contents.made.views:
        there = there.sort_by([("view", "descending")])  # of each content the last view comes first
    at = pc.index_in(wanted, there["digest"])
    return np.asarray(pc.fill_null(pc.add(there["view"].combine_chunks().take(at), 1), 0).to_numpy(False), np.int32)


def _embeddings(contents: Contents | None) -> Embeddings:
    """Which contents a trunk has embedded, and what is known of them."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if contents is None:
        return Embeddings(np.zeros(0, "S16"), np.zeros(0, np.int32), np.zeros((0, 2), np.int32), {})
    digests, views = contents.views()
    schema = contents.photo_schema
    names = [name for name in ("digest", "width", "height", "caveat") if name in schema.names]
    batches = (batch.select(names) for batch in contents.photos(names))
    rows = pa.Table.from_batches(batches, pa.schema([schema.field(name) for name in names]))
    of_contents = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(digests), [None, pa.py_buffer(digests)])
    at = pc.index_in(of_contents, rows["digest"])
    sizes = [pc.fill_null(rows[name].combine_chunks().take(at), 0).to_numpy(False) for name in ("width", "height")]
    return Embeddings(digests, views.astype(np.int32), np.stack(sizes, axis=1).astype(np.int32), _caveats(rows))


def _text(path: str) -> str:
    """A path as tables have it."""
    return path if is_address(path) else as_text(path)


def _whole(column: "pa.ChunkedArray") -> "pa.Array":
    """A column in one piece; texts of more than 2 GB have room in it."""
    import pyarrow as pa

    large = column.cast(pa.large_string()) if pa.types.is_string(column.type) else column
    whole = large.combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole


def photos_at(contents: Contents, paths: Iterable[str]) -> dict[str, Photo]:
    """The photos at these paths as a store knows them, by path: without label, split and the user's own columns."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = set(paths)
    uris = pa.array({uri for path in wanted for uri in uris_of(path)}, pa.string())
    found = {}
    for batch in contents.photos(["root", "uri", "size", "modified", "version"], None):
        some = batch.filter(pc.is_in(batch["uri"], uris))
        for row in some.to_pylist() if len(some) else ():
            moment = microseconds(row["modified"])
            photo = Photo(row["root"], row["uri"], row["size"], moment, version=row["version"])
            if photo.path in wanted:
                found[photo.path] = photo
    return found


def _container(folder: str, containers: Collection[str]) -> str | None:
    """Which of these files a path leads into, or is; None if none."""
    while folder and folder not in containers:
        folder = folder.rpartition("/")[0]
    return folder or None


def _caveats(rows: "pa.Table") -> dict[bytes, str]:
    """The caveats of contents, by digest: that pixels are lost, or a preview's."""
    if "caveat" not in rows.schema.names:
        return {}
    some = rows.select(["digest", "caveat"]).filter(rows["caveat"].is_valid())
    return dict(zip(*(column.to_pylist() for column in some.columns), strict=True))
