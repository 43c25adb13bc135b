"""What a run has found: photos in columns, slice by slice, in memory while they are few, else in a nameless file."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, groupby, repeat
from operator import attrgetter, itemgetter
from tempfile import SpooledTemporaryFile, gettempdir
from threading import Lock
from typing import TYPE_CHECKING, Any, overload

from petrieve.extractor.sources.source import Part
from petrieve.extractor.sources.subfolder import Within, narrowed
from petrieve.extractor.sources.unchanged import UnopenedPart
from petrieve.store.errors import PetrieveError
from petrieve.store.photo import Bare, Photo, path_of, texts_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

SLICE = 10_000  # photos at least, in whole parts: as objects they take 5 MB
IN_MEMORY = 32 << 20  # bytes, packed: some millions of photos
COLUMNS = ("uri", "size", "modified", "version")


@dataclass(frozen=True, eq=False)
class Slice:
    """Some of the photos (n,) of a manifest, in columns."""

    rows: "pa.RecordBatch"  # `part`, which is a number, and COLUMNS
    of_parts: Sequence[str]  # the roots of the photos of each part

    def __len__(self) -> int:
        return len(self.rows)

    def only(self, chosen: "np.ndarray") -> "Slice":
        """Those of the photos for which `chosen` (n,) holds."""
        import pyarrow as pa

        return self if chosen.all() else replace(self, rows=self.rows.filter(pa.array(chosen)))

    def parts(self) -> list[int]:
        """The number of each photo's part."""
        return self.rows["part"].to_pylist()  # type: ignore[no-any-return]

    def roots(self) -> list[str]:
        """What each uri is relative to."""
        return list(map(self.of_parts.__getitem__, self.parts()))

    def uris(self) -> list[str]:
        """What each photo is called below its root."""
        return self.rows["uri"].to_pylist()  # type: ignore[no-any-return]

    def paths(self) -> list[str]:
        """Where each photo is."""
        return list(map(path_of, self.roots(), self.uris()))

    def folders(self) -> set[tuple[str, str]]:
        """The root and the folder below it of each photo."""
        import pyarrow as pa
        import pyarrow.compute as pc

        above = pc.replace_substring_regex(self.rows["uri"], "(?s)/?[^/]*$", "")
        pairs = pa.table({"part": self.rows["part"], "folder": above}).group_by(["part", "folder"]).aggregate([])
        return {(self.of_parts[row["part"]], row["folder"]) for row in pairs.to_pylist()}

    def texts(self) -> "pa.LargeStringArray":
        """The same as tables have them."""
        return texts_of(*self._own_roots(), self.rows["uri"])

    def root_lengths(self) -> "np.ndarray":
        """How many characters each photo's root has (n,)."""
        import numpy as np

        roots, numbers = self._own_roots()
        return np.asarray(np.array([*map(len, roots), 0])[numbers])

    def _own_roots(self) -> "tuple[Sequence[str], np.ndarray]":
        """The roots of these photos' parts, and which is each photo's (n,)."""
        numbers = self.rows["part"].to_numpy()
        first, last = (int(numbers[0]), int(numbers[-1])) if len(numbers) else (0, -1)
        return self.of_parts[first : last + 1], numbers - first

    def photos(self) -> Iterator[Photo]:
        """The photos, not annotated yet."""
        uris, sizes, moments, versions = (self.rows[name].to_pylist() for name in COLUMNS)
        none, columns = repeat(None), (dict[str, Any]() for _ in uris)
        return map(Photo, self.roots(), uris, sizes, moments, none, none, columns, versions)


@dataclass(eq=False)
class Manifest:
    """The photos that were listed, each at a place, and the parts in which they are read."""

    starts: list[int] = field(default_factory=lambda: [0])  # the places at which slices begin, and the one behind all
    _parts: list[Part] = field(default_factory=list)  # without their photos, by number; those next to each other shared
    _roots: list[str] = field(default_factory=list)  # by number of a part
    _waiting: list[Part] = field(default_factory=list)  # those of the slice that is not written yet
    _count: int = 0  # of their photos
    _ends: list[int] = field(default_factory=lambda: [0])  # of slices in the file
    _file: "SpooledTemporaryFile[bytes]" = field(default_factory=partial(SpooledTemporaryFile, IN_MEMORY))
    _lock: Lock = field(default_factory=Lock)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __len__(self) -> int:
        return self.starts[-1] + self._count

    def add(self, part: Part) -> None:
        """Put the photos of a part, one at least, behind the others."""
        self._waiting.append(part)
        self._count += len(part.photos)
        if self._count >= SLICE:
            self.write()

    def write(self) -> None:
        """Write the photos that wait, if any, so that all can be read."""
        import numpy as np
        import pyarrow as pa

        if not self._count:
            return
        lengths = [len(part.photos) for part in self._waiting]
        numbers = np.repeat(list(map(self._number, self._waiting)), lengths)
        columns = zip(*(_columns(part.photos) for part in self._waiting), strict=True)
        kinds = (pa.string(), pa.int64(), pa.int64(), pa.string())
        values = (list(chain.from_iterable(column)) for column in columns)
        arrays = [pa.array(numbers, pa.int32()), *map(pa.array, values, kinds)]
        batch, made = pa.RecordBatch.from_arrays(arrays, names=["part", *COLUMNS]), pa.BufferOutputStream()
        with pa.ipc.new_stream(made, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_batch(batch)
        try:
            with self._lock:
                self._file.seek(self._ends[-1])
                self._ends.append(self._ends[-1] + self._file.write(made.getvalue()))
        except OSError as error:
            raise PetrieveError(
                f"cannot keep the list of photos in {gettempdir()}: {error.strerror}",
                "make room, or name another folder in TMPDIR",
            ) from error
        self.starts.append(len(self))
        self._waiting.clear()
        self._count = 0

    def _number(self, part: Part) -> int:
        bare, root = narrowed(part, ()), part.photos[0].root
        if self._parts and self._parts[-1] == bare and self._roots[-1] == root:
            bare = self._parts[-1]
            # An archive that was not opened may have to be read from its start on: it is one part.
            if isinstance(bare.part if isinstance(bare, Within) else bare, UnopenedPart):
                return len(self._parts) - 1
        self._parts.append(bare)
        self._roots.append(root)
        return len(self._parts) - 1

    def in_parts(self, rows: Iterable[tuple[int, Photo]]) -> Iterator[tuple[Part, Sequence[Photo]]]:
        """Photos, each given with the number of its part, in parts that hold no others."""
        for number, some in groupby(rows, key=itemgetter(0)):
            photos = [photo for _, photo in some]
            yield narrowed(self._parts[number], photos), photos

    def slices(self) -> int:
        """How many slices there are."""
        return len(self.starts) - 1

    def read(self, number: int) -> Slice:
        """One of the slices, 0 the first."""
        import pyarrow as pa

        first, end = self._ends[number : number + 2]
        with self._lock:  # a trunk that is loaded beside the run may look for photos of its own
            self._file.seek(first)
            data = self._file.read(end - first)
        return Slice(pa.ipc.open_stream(data).read_next_batch(), self._roots)


def _columns(photos: Sequence[Photo]) -> tuple[Iterable[Any], ...]:
    """The values of photos (n,), as COLUMNS."""
    if isinstance(photos, Bare):
        return photos.uris, photos.sizes, photos.moments, repeat(None, len(photos))
    return tuple(map(attrgetter(name), photos) for name in COLUMNS)


@dataclass(frozen=True, eq=False)
class Listed(Sequence[Photo]):
    """The photos of a manifest from one place to another, which are read as they are asked for."""

    manifest: Manifest
    first: int
    end: int

    def __len__(self) -> int:
        return self.end - self.first

    @overload
    def __getitem__(self, place: int) -> Photo: ...
    @overload
    def __getitem__(self, place: slice) -> "Listed": ...
    def __getitem__(self, place: int | slice) -> "Photo | Listed":
        if isinstance(place, slice):
            first, end, _ = place.indices(len(self))
            return Listed(self.manifest, self.first + first, self.first + max(first, end))
        return next(iter(self[place : place + 1]))

    def __iter__(self) -> Iterator[Photo]:
        starts, place = self.manifest.starts, self.first
        while place < self.end:
            number = bisect_right(starts, place) - 1
            some, last = self.manifest.read(number), min(self.end, starts[number + 1])
            yield from replace(some, rows=some.rows[place - starts[number] : last - starts[number]]).photos()
            place = last
