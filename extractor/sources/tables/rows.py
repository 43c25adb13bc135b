"""Photos in the rows of a table, whatever keeps it."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

from petrieve.extractor.sources.annotations.annotations import Annotations
from petrieve.extractor.sources.blob import Blob, blob_at
from petrieve.extractor.sources.bounds import max_bytes
from petrieve.extractor.sources.entry_names import rest, told_bad
from petrieve.extractor.sources.source import Read
from petrieve.extractor.sources.tables.layouts import Layout, column_annotations, layout, name_column, photo_in
from petrieve.store.errors import PetrieveError, Undecodable, remedy_of
from petrieve.store.photo import UNTOLD, Photo, path_of
from petrieve.store.rows import Unreadable, unreadable

if TYPE_CHECKING:
    import pyarrow as pa

PART = 1000  # rows at least, in whole groups: for each part the table is opened again


class Group(NamedTuple):
    """Rows that are kept together."""

    key: str  # unique among all groups, past ones too
    modified: int  # microseconds since 1970, UTC


class Table(Protocol):
    """An open table. Damage raises Undecodable, a file out of reach OSError."""

    @property
    def schema(self) -> "pa.Schema":
        """Its columns, as they are read."""
        ...

    def groups(self, photos: str, /) -> Sequence[Group]:
        """Its groups of rows, in order; `photos` is the column that holds these."""
        ...

    def rows(self, group: int) -> Sequence[int]:
        """Where in a group its rows are, in order."""
        ...

    def peek(self, name: str) -> "Sequence[pa.Scalar]":
        """Some of the first values of a column that are not null, at most their first bytes."""
        ...

    def column(self, name: str) -> "pa.ChunkedArray":
        """The values of a column, or of a field in one: `image.path`."""
        ...

    def values(self, group: int, rows: Collection[int], name: str) -> "Iterator[tuple[int, pa.Scalar]]":
        """The values of a column in these rows of a group, a few at a time in memory and in order, each by its row."""
        ...

    def __len__(self) -> int:
        """How many rows there are."""
        ...


Opens = Callable[[Blob], AbstractContextManager[Table]]


class Listing(NamedTuple):
    """What a table holds, without a look at its photos."""

    layout: Layout = Layout()
    rows: int = 0
    groups: Sequence[tuple[Group, Sequence[int]]] = ()  # each with its rows
    names: Sequence[str] | None = None  # of all rows; where there is none, they are numbered
    annotations: Annotations | None = None
    damage: str | None = None  # why its content is unknown

    def uris(self) -> Iterator[str]:
        """The uris of its photos, in order."""
        return iter(self.names) if self.names is not None else (f"row {one}" for one in range(self.rows))


@dataclass(frozen=True)
class Tabled:
    """The photos of a table."""

    blob: Blob
    root: str
    before: str
    opens: Opens
    passed: Counter[str] = field(default_factory=Counter)

    def parts(self) -> Iterator["Rows"]:
        """Its photos in the order in which they lie, in whole groups.

        A damaged table, whose content is unknown, is like a folder that cannot be listed.

        Raises:
            PetrieveError: it cannot be reached.
        """
        with _reached(self.blob.path):
            found = self._listing
        if found.damage:
            yield self.part([rest(self.root, self.before, self.blob, found.damage)])
        elif found.layout.photo is None or not found.rows:
            self.passed.update({found.layout.instead: found.rows} if found.rows else {"table without rows": 1})
        else:
            yield from self._rows(found, found.layout.photo)

    def _rows(self, found: Listing, column: str) -> Iterator["Rows"]:
        uris, some = found.uris(), list[Photo]()
        for group, rows in found.groups:
            for row, uri in zip(rows, islice(uris, len(rows)), strict=True):
                version = f"row {row} of {group.key}"
                some.append(Photo(self.root, self.before + uri, UNTOLD, group.modified, version=version))
            if len(some) >= PART:
                yield Rows(self.blob, self.before, self.opens, tuple(some), column)
                some = []
        if some:
            yield Rows(self.blob, self.before, self.opens, tuple(some), column)

    def by_uri(self) -> dict[str, Photo]:
        """All its photos; nothing where it is damaged.

        Raises:
            OSError: it cannot be read.
        """
        found = self._listing
        return {photo.uri: photo for part in self._rows(found, "") for photo in part.photos}

    def annotations(self, _: Sequence[Photo]) -> Annotations | None:
        """Annotations from its other columns."""
        return self._listing.annotations

    def part(self, photos: Sequence[Photo]) -> "Rows":
        """Some of its photos that a store knows."""
        return Rows(self.blob, self.before, self.opens, tuple(photos))

    @cached_property
    def _listing(self) -> Listing:
        try:
            with self.opens(self.blob) as table:
                made = _layout(table)
                if made.photo is None:
                    return Listing(made, rows=len(table))
                by, names = name_column(made, table.column)
                groups = [(group, table.rows(number)) for number, group in enumerate(table.groups(made.photo))]
                found = Listing(made, len(table), groups, names)
                if names and len(names) != found.rows:
                    raise Undecodable(f"{by} has {len(names)} of {found.rows} rows")
                paths = [path_of(self.root, self.before + uri) for uri in found.uris()]
                return found._replace(annotations=column_annotations(self.blob.path, made, by, paths, table.column))
        except Undecodable as error:
            return Listing(damage=str(error))


@dataclass(frozen=True, slots=True)
class Rows:
    """Photos that are rows of a table."""

    blob: Blob
    before: str
    opens: Opens
    photos: tuple[Photo, ...]
    column: str | None = None  # in which they are, where that is known

    def read(self, wanted: Collection[str]) -> Iterator[Read]:
        """The bytes of the photos with these uris, in order, or why they cannot be read."""
        left = {photo.uri: photo for photo in self.photos if photo.uri in wanted}
        for photo in list(left.values()):
            if told := told_bad(photo):
                del left[photo.uri]
                yield told
        if not left:
            return
        trouble: Exception = Undecodable(f"{self.blob.path} holds it no longer")
        try:
            blob = blob_at(self.blob.path) or self.blob
            with self.opens(blob) as table:
                column = (self.column if blob == self.blob else None) or _layout(table).photo
                groups = table.groups(column) if column else ()
                for group, rows in self._as_now(left.values(), blob, groups):
                    for read in _read(table, group, rows, column or ""):
                        del left[(read.photo if isinstance(read, Unreadable) else read[0]).uri]
                        yield read
        except (OSError, Undecodable, MemoryError) as error:
            trouble = error
        yield from (unreadable(photo, trouble) for photo in left.values())

    def _as_now(
        self, photos: Iterable[Photo], blob: Blob, groups: Sequence[Group]
    ) -> list[tuple[int, dict[int, Photo]]]:
        """The photos by group and row where they are now: what has moved since is found by its name."""
        numbers = {group.key: number for number, group in enumerate(groups)}
        found: dict[int, dict[int, Photo]] = {}
        now: dict[str, Photo] | None = None
        for photo in photos:
            row, number = _place(photo, numbers)
            if number is None or groups[number].modified != photo.modified:
                if now is None:
                    now = Tabled(blob, photo.root, self.before, self.opens).by_uri()
                if photo.uri not in now:
                    continue
                photo = replace(now[photo.uri], label=photo.label, split=photo.split, columns=photo.columns)
                row, number = _place(photo, numbers)
            if number is not None:
                found.setdefault(number, {})[row] = photo
        return sorted(found.items(), key=lambda item: item[0])


def inner(read: "pa.Table", name: str) -> "pa.ChunkedArray":
    """The values of a column that was read, or of the one field that was read of it."""
    import pyarrow.compute as pc

    if name in read.column_names:
        return read[name]
    outer, _, field_name = name.rpartition(".")
    return pc.struct_field(read[outer], field_name)


def _place(photo: Photo, numbers: Mapping[str, int]) -> tuple[int, int | None]:
    """The row of a photo, and the number of its group; None where no group has its key."""
    row, _, key = (photo.version or "").removeprefix("row ").partition(" of ")
    return int(row) if row.isdecimal() else 0, numbers.get(key)


def _read(table: Table, group: int, rows: dict[int, Photo], column: str) -> Iterator[Read]:
    """The photos in some rows of a group. Those after damage are lost too: nothing shows where a row begins."""
    trouble: Exception = Undecodable("its row is not there")
    try:
        for row, value in table.values(group, sorted(rows), column):
            yield _photo(rows.pop(row), value)
    except (OSError, Undecodable, MemoryError) as error:
        trouble = error
    yield from (unreadable(photo, trouble) for photo in rows.values())


def _photo(photo: Photo, value: "pa.Scalar") -> Read:
    try:
        data = photo_in(value)
        if len(data) > max_bytes():
            raise Undecodable(f"over {max_bytes() >> 20} MB")
        return replace(photo, size=len(data)), data
    except (Undecodable, MemoryError) as error:
        return unreadable(photo, error)


def _layout(table: Table) -> Layout:
    return layout(table.schema, table.peek)


@contextmanager
def _reached(path: str) -> Iterator[None]:
    """An OSError while a table is listed, as PetrieveError."""
    try:
        yield
    except OSError as error:
        raise PetrieveError(f"cannot read {path}: {error.strerror}", remedy_of(error)) from None
