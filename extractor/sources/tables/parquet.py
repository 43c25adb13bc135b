"""Parquet files, as tables of photos."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

from petrieve.extractor.sources.blob import Blob
from petrieve.extractor.sources.tables.rows import Group, Tabled, inner
from petrieve.extractor.sources.tables.texts import is_text
from petrieve.store.errors import Undecodable, first_line

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BUFFER = 1 << 20  # bytes that are read at a time
ROWS = 4  # in memory at a time, beside a page and a dictionary
PEEKED = 8  # rows at a time
LOOKED = 1000  # times these; and row groups


def parquet(blob: Blob, root: str, before: str = "") -> Tabled:
    """The photos of a Parquet file."""
    return Tabled(blob, root, before, opened)


@contextmanager
def opened(blob: Blob) -> "Iterator[File]":
    """A Parquet file as a table.

    Raises:
        OSError: it cannot be read.
        Undecodable: it is damaged.
    """
    import pyarrow.parquet as pq

    with blob.open() as file:
        with _arrow():
            # Buffered before, a column would be in memory whole.
            how = {"buffer_size": BUFFER, "pre_buffer": False, "page_checksum_verification": True}
            made = File(blob, file, pq.ParquetFile(file, **how))
        yield made


@dataclass(frozen=True)
class File:
    """A Parquet file that is open."""

    blob: Blob
    source: BinaryIO
    file: "pq.ParquetFile"

    @property
    def schema(self) -> "pa.Schema":
        """Its columns."""
        with _arrow():
            return self.file.schema_arrow

    def __len__(self) -> int:
        """How many rows it has."""
        count = sum(len(self.rows(group)) for group in range(self.file.num_row_groups))
        if count > self.blob.size:
            raise Undecodable(f"it says that it has {count} rows, in {self.blob.size} bytes")
        return count

    def groups(self, _: str, /) -> Sequence[Group]:
        """Its row groups."""
        end = f"@{self.blob.size}" + (f" {self.blob.version}" if self.blob.version else "")
        return [Group(f"{number}{end}", self.blob.modified) for number in range(self.file.num_row_groups)]

    def rows(self, group: int) -> Sequence[int]:
        """Where in a row group its rows are."""
        return range(self.file.metadata.row_group(group).num_rows)

    def peek(self, name: str) -> "Sequence[pa.Scalar]":
        """The first values of a column that are not null, in the first row group that can be read."""
        for group in range(min(self.file.num_row_groups, LOOKED)):
            try:
                with _arrow():
                    batches = self.file.iter_batches(PEEKED, row_groups=[group], columns=[name], use_threads=False)
                    for batch in islice(batches, LOOKED):
                        batch.validate(full=True)
                        if found := [value for value in batch.column(name) if value.is_valid]:
                            return found
            except Undecodable:
                continue
        return []

    def column(self, name: str) -> "pa.ChunkedArray":
        """The values of a column, or of a field in one."""
        with _arrow():
            read = self._texts.read(columns=[name])
            read.validate(full=True)  # of a damaged file, Arrow can give values outside its buffers
            return inner(read, name)

    def values(self, group: int, rows: Collection[int], name: str) -> "Iterator[tuple[int, pa.Scalar]]":
        """The values of a column in these rows of a row group."""
        wanted, first = set(rows), 0
        with _arrow():
            batches = self.file.iter_batches(ROWS, row_groups=[group], columns=[name], use_threads=False)
        while wanted:
            with _arrow():
                batch = next(batches, None)
                if batch is None:
                    return
                batch.validate(full=True)
            for row, value in enumerate(batch.column(name), first):
                if row in wanted:
                    wanted.remove(row)
                    yield row, value
            first += len(batch)

    @cached_property
    def _texts(self) -> "pq.ParquetFile":
        """The file as it is read for annotations: equal texts are in memory once, as in the file."""
        import pyarrow.parquet as pq

        names = [one.name for one in self.schema if is_text(one.type)]
        return pq.ParquetFile(self.source, metadata=self.file.metadata, read_dictionary=names, pre_buffer=True)


@contextmanager
def _arrow() -> Iterator[None]:
    """Arrow's errors about damage, as Undecodable; an error of reading stays an OSError."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise Undecodable(f"its table is damaged: {first_line(error)}") from error
