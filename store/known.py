"""What a store knows of its photos, column by column: what a run holds the photos that it finds against."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from petrieve.store.contents import SCAN, Content, Contents
from petrieve.store.digests import as_bytes
from petrieve.store.photo import UNTOLD, Photo, path_of, uris_of
from petrieve.store.rows import microseconds, photo_schema

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

COLUMNS = ["root", "uri", "size", "modified", "version", "digest", "width", "height", "reason", "caveat", "gone"]


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

    marks: "np.ndarray"  # int64, ascending
    places: "np.ndarray"  # int64, where in the other columns the photo with each mark stands
    uris: "pa.Array"
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
    embeddings: Embeddings

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

    def places_of(self, paths: Sequence[str]) -> "np.ndarray":
        """Where the photos with these paths (n,) stand, int64; -1 where one is not known."""
        import numpy as np

        wanted = _marks(paths)
        at = np.searchsorted(self.marks, wanted, "right") - 1
        found, left = np.full(len(paths), -1), np.flatnonzero(at >= 0)
        while len(left := left[self.marks[at[left]] == wanted[left]]):
            places = self.places[at[left]]
            names = zip(self.paths(places), left.tolist(), strict=True)
            same = np.fromiter((name == paths[place] for name, place in names), bool, len(left))
            found[left[same]] = places[same]
            left = left[~same]  # where several have a mark, the one before may be it
            at[left] -= 1
            left = left[at[left] >= 0]
        return found

    def among(self, paths: Sequence[str]) -> frozenset[str]:
        """Those of these paths that are known."""
        return frozenset(path for path, place in zip(paths, self.places_of(paths).tolist(), strict=True) if place >= 0)

    def _place(self, path: str) -> int:
        mark = hash(path)
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

    def content(self, digest: bytes) -> Content | None:
        """As `Embeddings.content`."""
        return self.embeddings.content(digest)

    def gone(self) -> set[str]:
        """The paths of photos that were not found where they were."""
        return set(self.paths(self.away.nonzero()[0]))

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


def known(contents: Contents) -> Known:
    """What a store knows of its photos, and what one trunk has of their contents."""
    import numpy as np
    import pyarrow as pa

    columns = [name for name in COLUMNS if name in contents.photo_schema.names]
    schema = pa.schema([contents.photo_schema.field(name) for name in columns]).append(pa.field("_rowid", pa.uint64()))
    roots, of_roots, marks = dict[str, int](), [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]

    def rows() -> "Iterator[pa.RecordBatch]":
        for batch in contents.photos(columns, None):
            named = batch["root"].dictionary_encode()
            numbers = [roots.setdefault(name, len(roots)) for name in named.dictionary.to_pylist()]
            of_roots.append(np.array(numbers, np.int32)[named.indices.to_numpy()])
            marks.append(_marks(list(map(path_of, batch["root"].to_pylist(), batch["uri"].to_pylist()))))
            yield batch.select(schema.names)

    table = pa.Table.from_batches(rows(), schema)
    return _known(table, list(roots), np.concatenate(of_roots), np.concatenate(marks), *contents.views())


def nothing() -> Known:
    """What a store knows that is not there yet."""
    import numpy as np
    import pyarrow as pa

    table = photo_schema().append(pa.field("_rowid", pa.uint64())).empty_table()
    return _known(table, [], *(np.zeros(0, kind) for kind in (np.int32, np.int64, "S16", np.int32)))


def _known(
    rows: "pa.Table",
    roots: list[str],
    of_roots: "np.ndarray",
    marks: "np.ndarray",
    digests: "np.ndarray",
    views: "np.ndarray",
) -> Known:
    """What is known, of rows with COLUMNS and `_rowid`, and of how many `views` of the contents with these digests."""
    import numpy as np

    own, sizes = np.zeros(len(rows), np.int32), np.zeros((len(digests), 2), np.int32)
    if len(digests) and len(rows):
        of_photos = _digests(rows["digest"])
        order = np.argsort(of_photos)
        at = np.searchsorted(digests, of_photos[order]).clip(max=len(digests) - 1)
        there = digests[at] == of_photos[order]
        own[order[there]] = views[at[there]]
        shown = np.stack([rows[name].fill_null(0).to_numpy() for name in ("width", "height")], axis=1)
        sizes[at[there]] = shown[order[there]]
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
        views=own,
        embeddings=Embeddings(digests, views, sizes, _caveats(rows)),
    )


def _marks(paths: Sequence[str]) -> "np.ndarray":
    """A number for each path, (n,) int64, which another may have too, and which only this process knows."""
    import numpy as np

    return np.fromiter(map(hash, paths), np.int64, len(paths))


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
    """What is to be known of contents' pixels, by digest."""
    if "caveat" not in rows.schema.names:
        return {}
    some = rows.select(["digest", "caveat"]).filter(rows["caveat"].is_valid())
    return dict(zip(*(column.to_pylist() for column in some.columns), strict=True))


def _digests(column: "pa.ChunkedArray") -> "np.ndarray":
    """Digests (N,) as S16, zeros where there is none."""
    import numpy as np
    import pyarrow as pa

    whole = _whole(column.fill_null(pa.scalar(bytes(16), column.type)))
    return np.frombuffer(whole.buffers()[1], "S16")[whole.offset : whole.offset + len(whole)]
