"""What a store knows of its photos, column by column: what a run holds the photos that it finds against."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

from store.contents import Content, Contents
from store.digests import as_bytes
from store.photo import UNTOLD, Photo, path_of, uris_of
from store.rows import microseconds

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

COLUMNS = ["root", "uri", "size", "modified", "version", "digest", "width", "height", "reason", "caveat", "gone"]


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Which contents a trunk has embedded: digests (C,), ascending, and what is known of each."""

    digests: "np.ndarray"  # S16 (C,)
    views: "np.ndarray"  # int64 (C,)
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
    """N photos that a store knows, found by their paths; the arrays are (N,)."""

    places: dict[str, int]  # in the other columns
    rows: "pa.Table"  # COLUMNS and `_rowid`
    sizes: "np.ndarray"  # int64
    moments: "np.ndarray"  # int64, microseconds
    roots: list[str]
    of_roots: list[int]  # which of them is each photo's
    versions: list[str | None]  # empty where no photo has one
    views: "np.ndarray"  # int64, how many the trunk has of the photo's content; 0 where it has none
    embeddings: Embeddings

    def __contains__(self, path: object) -> bool:
        return path in self.places

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def row(self, path: str) -> int:
        """The id of the photo's row, which it keeps."""
        return int(self.rows["_rowid"][self.places[path]].as_py())

    def views_of(self, path: str) -> int:
        """How many views of the photo are embedded."""
        return int(self.views[self.places[path]])

    def root(self, path: str) -> str:
        """Where the photo was found first."""
        return self.roots[self.of_roots[self.places[path]]]

    def from_above(self, photos: Mapping[str, Photo]) -> dict[str, Photo]:
        """Those of these photos, by path, that were found in a folder above the one where they were found first."""
        lengths = list(map(len, self.roots))
        shortest = max(lengths, default=0)
        if all(len(root) >= shortest for root in {photo.root for photo in photos.values()}):
            return {}
        places, of_roots = self.places, self.of_roots
        return {
            path: photo
            for path, photo in photos.items()
            if (place := places.get(path)) is not None and len(photo.root) < lengths[of_roots[place]]
        }

    def as_then(self, photos: Mapping[str, Photo], views: int) -> "tuple[np.ndarray, np.ndarray]":
        """Whether each photo (N,) is known, and its size, time and version are what they were: booleans.

        And whether so many augmented views of it are embedded, too.
        """
        import numpy as np

        every = photos.values()
        places = np.fromiter(map(self.places.get, photos, repeat(-1)), np.int64, len(photos))
        if not len(self):
            return places >= 0, places >= 0
        sizes = np.fromiter((photo.size for photo in every), np.int64, len(photos))
        moments = np.fromiter((photo.modified for photo in every), np.int64, len(photos))
        same = (places >= 0) & ((sizes == self.sizes[places]) | (sizes == UNTOLD)) & (moments == self.moments[places])
        then = [self.versions[place] for place in places.tolist()] if self.versions else repeat(None)
        same &= np.fromiter((photo.version == old for photo, old in zip(every, then, strict=False)), bool, len(photos))
        return same, same & (self.views[places] > views)

    def modified(self, path: str) -> int:
        """When the photo was changed last, microseconds."""
        return int(self.moments[self.places[path]])

    def digest(self, path: str) -> bytes | None:
        """The photo's content; None where it could not be read."""
        return self.rows["digest"][self.places[path]].as_py()  # type: ignore[no-any-return]

    def content(self, digest: bytes) -> Content | None:
        """As `Embeddings.content`."""
        return self.embeddings.content(digest)

    def reasons(self) -> dict[str, str]:
        """Why photos could not be read, by path."""
        return self._by_path("reason")

    def gone(self) -> set[str]:
        """The paths of photos that were not found where they were."""
        return set(self._by_path("gone"))

    def places_in(self, containers: Collection[str]) -> dict[str, list[int]]:
        """Where the photos stand that lie in each of these files (paths as texts), without those that are gone."""
        found: dict[str, list[int]] = {path: [] for path in containers}
        of_folders: dict[tuple[int, str], str | None] = {}
        there = self.rows["gone"].is_null().to_pylist()
        for place, (of_root, uri) in enumerate(zip(self.of_roots, self.rows["uri"].to_pylist(), strict=True)):
            folder = of_root, uri.rpartition("/")[0]
            if folder not in of_folders:
                above = self.roots[of_root].rstrip("/")
                of_folders[folder] = _container(f"{above}/{folder[1]}".rstrip("/"), found)
            container = of_folders[folder]
            if container is not None and there[place]:
                found[container].append(place)
        return found

    def inside(self, container: str, places: Sequence[int]) -> Iterator[tuple[str, int, int, str | None]]:
        """Name, size, time and version of the photos at these places, which lie in this file (its path as a text)."""
        import numpy as np
        import pyarrow as pa

        chosen = np.array(places, np.int64)
        starts = [len(container.removeprefix(root).lstrip("/")) + 1 if root != container else 0 for root in self.roots]
        uris = self.rows["uri"].take(pa.array(chosen)).to_pylist()
        of = zip(places, uris, self.sizes[chosen].tolist(), self.moments[chosen].tolist(), strict=True)
        for place, uri, size, modified in of:
            version = self.versions[place] if self.versions else None
            yield uri[starts[self.of_roots[place]] :], size, modified, version

    def _by_path(self, name: str) -> dict[str, str]:
        import numpy as np

        valid = self.rows[name].is_valid().to_numpy()
        if not valid.any():
            return {}
        of = dict(zip(np.flatnonzero(valid).tolist(), self.rows[name].drop_null().to_pylist(), strict=True))
        return {path: of[number] for path, number in self.places.items() if number in of}


def known(contents: Contents) -> Known:
    """What a store knows of its photos, and what one trunk has of their contents."""
    import numpy as np
    import pyarrow as pa

    columns = [name for name in COLUMNS if name in contents.photo_schema.names]
    schema = pa.schema([contents.photo_schema.field(name) for name in columns]).append(pa.field("_rowid", pa.uint64()))
    batches = [batch.select(schema.names) for batch in contents.photos(columns, None)]
    rows = pa.Table.from_batches(batches, schema).combine_chunks()
    roots = pa.chunked_array([rows["root"].combine_chunks()], pa.string()).dictionary_encode().combine_chunks()
    paths = map(path_of, rows["root"].to_pylist(), rows["uri"].to_pylist())
    digests, views = contents.views()
    sizes = np.zeros((len(digests), 2), np.int32)
    own = np.zeros(len(rows), np.int64)
    if len(digests) and len(rows):
        of_photos = _digests(rows["digest"])
        order = np.argsort(of_photos)
        places = np.searchsorted(digests, of_photos[order]).clip(max=len(digests) - 1)
        there = digests[places] == of_photos[order]
        own[order[there]] = views[places[there]]
        shown = np.stack([rows[name].fill_null(0).to_numpy() for name in ("width", "height")], axis=1)
        sizes[places[there]] = shown[order[there]]
    return Known(
        places=dict(zip(paths, range(len(rows)), strict=True)),
        rows=rows,
        sizes=rows["size"].to_numpy(),
        moments=rows["modified"].cast("int64").to_numpy(),
        roots=roots.dictionary.to_pylist(),
        of_roots=roots.indices.to_pylist(),
        versions=rows["version"].to_pylist() if rows["version"].null_count < len(rows) else [],
        views=own,
        embeddings=Embeddings(digests, views, sizes, _caveats(rows)),
    )


def nothing() -> Known:
    """What a store knows that is not there yet."""
    import numpy as np
    import pyarrow as pa

    none = np.zeros(0, np.int64)
    empty = Embeddings(np.zeros(0, "S16"), none, np.zeros((0, 2), np.int32), {})
    return Known({}, pa.table({name: [] for name in [*COLUMNS, "_rowid"]}), none, none, [], [], [], none, empty)


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

    whole = column.fill_null(pa.scalar(bytes(16), column.type)).combine_chunks()
    whole = whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
    return np.frombuffer(whole.buffers()[1], "S16")[whole.offset : whole.offset + len(whole)]
