"""Tables of Lance, as tables of photos."""

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from petrieve.extractor.sources.ahead import batched
from petrieve.extractor.sources.blob import Blob
from petrieve.extractor.sources.tables.rows import Group, Tabled, inner
from petrieve.store.errors import Undecodable, first_line

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

ROWS = 4  # whose photos are in memory at a time
STEP = 10_000  # rows whose annotations are read at a time
PEEKED = 8  # rows at a time
LOOKED = 8000  # rows
HEAD = 64  # bytes of a blob that tell what it is
EXTERNAL = 3  # the kind of a blob that lies elsewhere


def lance_table(blob: Blob, root: str, before: str = "") -> Tabled:
    """The photos of a table of Lance."""
    return Tabled(blob, root, before, opened)


@contextmanager
def opened(blob: Blob) -> "Iterator[Dataset]":
    """A table of Lance, as it is now.

    Raises:
        Undecodable: it is damaged.
    """
    import lance

    with _rust():
        made = Dataset(lance.dataset(blob.path))
    yield made


@dataclass(frozen=True)
class Dataset:
    """A table of Lance that is open."""

    table: "lance.LanceDataset"

    @property
    def schema(self) -> "pa.Schema":
        """Its columns, with blobs as what they are: bytes."""
        import pyarrow as pa

        fields = [pa.field(one.name, pa.large_binary()) if _is_blob(one) else one for one in self.table.schema]
        return pa.schema(fields, self.table.schema.metadata)

    def __len__(self) -> int:
        """How many rows it has."""
        with _rust():
            return int(self.table.count_rows())

    def groups(self, photos: str, /) -> Sequence[Group]:
        """Its fragments, by the file in which their photos are: one is written once, and never changed."""
        with _rust():
            ids = _ids(next(one for one in self.table.lance_schema.fields() if one.name() == photos))
            return [self._group(fragment, ids) for fragment in self._fragments]

    def _group(self, fragment: Any, ids: set[int]) -> Group:
        files = (one.path for one in fragment.data_files() if ids.intersection(one.fields))
        file = next(files, f"fragment {fragment.fragment_id}")  # where a column was added later
        try:
            return Group(file, os.stat(os.path.join(self.table.uri, "data", file)).st_mtime_ns // 1000)
        except OSError:  # it lies elsewhere; its name is enough
            return Group(file, 0)

    def rows(self, group: int) -> Sequence[int]:
        """Where in a fragment those rows are that were not deleted."""
        first, end = self._starts[group : group + 2]
        addresses = self._column("_rowaddr", range(first, end)).to_pylist()
        return [address & 0xFFFFFFFF for address in addresses]

    def peek(self, name: str) -> "Sequence[pa.Scalar]":
        """Some of the first values of a column that are not null; of blobs the first bytes."""
        rows = range(min(len(self), LOOKED))
        some = (self._at(places, name, HEAD) for places in batched(rows, PEEKED))
        return next((found for values in some if (found := [value for value in values if value.is_valid])), [])

    def column(self, name: str) -> "pa.ChunkedArray":
        """The values of a column, or of a field in one."""
        return self._column(name, range(len(self)))

    def _column(self, name: str, places: range) -> "pa.ChunkedArray":
        """Values of a column. A stream of them ends the process if Lance's message about damage has a zero."""
        import pyarrow as pa

        with _rust():
            taken = [self.table.take(list(some), columns=[name]) for some in batched(places, STEP)]
            chunks = [chunk for one in taken for chunk in inner(one, name).chunks]
            return pa.chunked_array(chunks, None if chunks else pa.null())

    def values(self, group: int, rows: Collection[int], name: str) -> "Iterator[tuple[int, pa.Scalar]]":
        """The values of a column in these rows of a fragment."""
        first = self._starts[group]
        places = {row: first + place for place, row in enumerate(self.rows(group))}
        for some in batched((row for row in rows if row in places), ROWS):
            yield from zip(some, self._at([places[row] for row in some], name), strict=True)

    @cached_property
    def _fragments(self) -> list[Any]:
        return self.table.get_fragments()

    @cached_property
    def _starts(self) -> list[int]:
        """How many rows lie before each fragment."""
        with _rust():
            return list(accumulate((fragment.count_rows() for fragment in self._fragments), initial=0))

    def _at(self, places: Sequence[int], name: str, size: int = -1) -> "list[pa.Scalar]":
        """The values at these places of the table, of a blob the first bytes. What lies elsewhere is not opened."""
        import pyarrow as pa

        with _rust():
            values = list(self.table.take(places, columns=[name])[0])
            if not _is_blob(self.table.schema.field(name)):
                return values
            elsewhere = {
                place: value["blob_uri"]
                for place, value in zip(places, values, strict=True)
                if value.is_valid and value.type.get_field_index("kind") >= 0 and value["kind"].as_py() == EXTERNAL
            }
            here = [place for place in places if place not in elsewhere]
            blobs = self.table.take_blobs(name, indices=here) if here else ()
            data = {place: blob if blob is None else blob.read(size) for place, blob in zip(here, blobs, strict=True)}
            return [
                elsewhere[place] if place in elsewhere else pa.scalar(data[place], pa.large_binary())
                for place in places
            ]


def _is_blob(field: "pa.Field") -> bool:
    """Whether Lance keeps the values of a column apart, in either of its ways."""
    marked = (field.metadata or {}).get(b"lance-encoding:blob") == b"true"
    return marked or getattr(field.type, "extension_name", "") == "lance.blob.v2"


def _ids(field: Any) -> set[int]:
    """The numbers of a column and of all that is in it."""
    return {field.id()}.union(*(_ids(inner) for inner in field.children()))


@contextmanager
def _rust() -> Iterator[None]:
    """Lance's errors about damage, as Undecodable: a panic of its Rust is not an Exception, and cannot be imported."""
    try:
        yield
    except BaseException as error:
        known = isinstance(error, OSError | ValueError | RuntimeError | LookupError)
        if not known and type(error).__name__ != "PanicException":
            raise
        raise Undecodable(f"its table is damaged: {first_line(error)}") from error
