"""Tables of Lance, as tables of photos."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from extractor.sources.ahead import batched
from extractor.sources.blob import Blob
from extractor.sources.tables import Group, Tabled
from store.errors import Undecodable, first_line

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

ROWS = 4  # that are held at a time
HANDLES = 64  # blobs that are asked for at a time; each is read when its turn comes
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
            fragments = self.table.get_fragments()
            ids = _ids(next(one for one in self.table.lance_schema.fields() if one.name() == photos))
            return [self._group(fragment, ids) for fragment in fragments]

    def _group(self, fragment: Any, ids: set[int]) -> Group:
        file = next(one.path for one in fragment.data_files() if ids.intersection(one.fields))
        found = self.table.scanner(columns=[], fragments=[fragment], with_row_address=True).to_table()
        try:
            modified = os.stat(os.path.join(self.table.uri, "data", file)).st_mtime_ns // 1000
        except OSError:  # it lies elsewhere; its name is enough
            modified = 0
        return Group(file, [address & 0xFFFFFFFF for address in found["_rowaddr"].to_pylist()], modified)

    def peek(self, name: str) -> "Sequence[pa.Scalar]":
        """Some of the first values of a column that are not null; of blobs the first bytes."""
        with _rust():
            scanner = self.table.scanner(columns=[name], with_row_address=True, limit=LOOKED, batch_size=PEEKED)
            for batch in scanner.to_batches():
                if not (some := batch.filter(batch[name].is_valid())):
                    continue
                if not _is_blob(self.table.schema.field(name)):
                    return list(some[name])
                addresses = some["_rowaddr"].to_pylist()
                return list(self._at(addresses, name, self._elsewhere(name, limit=LOOKED), HEAD))
        return []

    def column(self, name: str) -> "pa.ChunkedArray":
        """The values of a column, or of a field in one."""
        with _rust():
            return self.table.to_table(columns=[name])[0]

    def values(self, group: int, rows: Collection[int], name: str) -> "Iterator[tuple[int, pa.Scalar]]":
        """The values of a column in these rows of a fragment."""
        with _rust():
            fragment = self.table.get_fragments()[group]
        if _is_blob(self.table.schema.field(name)):
            yield from self._blobs(fragment, rows, name)
            return
        scanner = self.table.scanner(
            columns=[name], fragments=[fragment], with_row_address=True, batch_size=ROWS, batch_readahead=1
        )
        wanted = set(rows)
        batches = scanner.to_batches()
        while wanted:
            with _rust():
                batch = next(batches, None)
            if batch is None:
                return
            for address, value in zip(batch["_rowaddr"].to_pylist(), batch[name], strict=True):
                if (row := address & 0xFFFFFFFF) in wanted:
                    wanted.remove(row)
                    yield row, value

    def _blobs(self, fragment: Any, rows: Collection[int], name: str) -> "Iterator[tuple[int, pa.Scalar]]":
        with _rust():
            elsewhere = self._elsewhere(name, fragments=[fragment])
        for some in batched(rows, HANDLES):
            addresses = [fragment.fragment_id << 32 | row for row in some]
            yield from zip(some, self._at(addresses, name, elsewhere), strict=True)

    def _at(
        self, addresses: Sequence[int], name: str, elsewhere: Mapping[int, str], size: int = -1
    ) -> "Iterator[pa.Scalar]":
        """The blobs at these addresses, or so many bytes of each. What a table names elsewhere is not opened."""
        import pyarrow as pa

        with _rust():
            here = [address for address in addresses if address not in elsewhere]
            blobs = iter(self.table.take_blobs(name, addresses=here) if here else ())
        for address in addresses:
            if address in elsewhere:
                yield pa.scalar(elsewhere[address])
                continue
            with _rust():
                blob = next(blobs)
                data = blob and blob.read(size)
            yield pa.scalar(data, pa.large_binary())

    def _elsewhere(self, name: str, **which: Any) -> dict[int, str]:
        """Where blobs lie that are not in the table, by their addresses."""
        import pyarrow.compute as pc

        found = self.table.scanner(columns=[name], with_row_address=True, **which).to_table()
        if found[name].type.get_field_index("kind") < 0:
            return {}
        found = found.filter(pc.equal(pc.struct_field(found[name], "kind"), EXTERNAL))
        uris = pc.struct_field(found[name], "blob_uri")
        return dict(zip(found["_rowaddr"].to_pylist(), uris.to_pylist(), strict=True))


def _is_blob(field: "pa.Field") -> bool:
    """Whether Lance keeps the values of a column apart, in either of its ways."""
    marked = (field.metadata or {}).get(b"lance-encoding:blob") == b"true"
    return marked or getattr(field.type, "extension_name", "") == "lance.blob.v2"


def _ids(field: Any) -> set[int]:
    """The numbers of a column and of all that is in it."""
    return {field.id()}.union(*(_ids(inner) for inner in field.children()))


@contextmanager
def _rust() -> Iterator[None]:
    """What Lance says of damage, as Undecodable: a panic of its Rust is no Exception, and cannot be imported."""
    try:
        yield
    except BaseException as error:
        known = isinstance(error, OSError | ValueError | RuntimeError | LookupError)
        if not known and type(error).__name__ != "PanicException":
            raise
        raise Undecodable(f"its table is damaged: {first_line(error)}") from error
