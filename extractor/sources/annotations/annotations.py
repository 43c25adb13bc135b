"""A source's annotations of its photos: labels, splits and columns that lie with them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from petrieve.extractor.sources.annotations.labels import COLUMN
from petrieve.extractor.sources.annotations.names import SPLITS
from petrieve.store.columns import carried, joined, typed
from petrieve.store.errors import listed, warn
from petrieve.store.rows import RESERVED

if TYPE_CHECKING:
    import pyarrow as pa

Texts = Mapping[str, str | None]  # by column


@dataclass(frozen=True)
class Annotations:
    """Annotations by path: label, split and the columns of a schema."""

    rows: dict[str, dict[str, Any]]
    columns: "pa.Schema"  # beyond label and split

    def into(self, columns: "pa.Schema") -> "Annotations":
        """The same, in wider columns."""
        rows = carried(self.rows.values(), self.columns, columns)
        return replace(self, rows=dict(zip(self.rows, rows, strict=True)), columns=columns)

    def beside(self, names: Iterable[str]) -> "Annotations":
        """The same without columns whose names differ by case alone from one of these or another; a note says so."""
        import pyarrow as pa

        called = {name.casefold(): name for name in names}
        odd = [name for name in self.columns.names if called.setdefault(name.casefold(), name) != name]
        if not odd:
            return self
        others = [f"{name!r} beside {called[name.casefold()]!r}" for name in odd]
        warn(f"columns beside photos are passed over: {listed(others, 10)}")
        rows = {path: {name: row[name] for name in row if name not in odd} for path, row in self.rows.items()}
        return Annotations(rows, pa.schema([field for field in self.columns if field.name not in odd]))


def annotations_of(source: str, texts: Mapping[str, Texts]) -> Annotations:
    """Annotations from texts, by path; a column has another type if all its values do.

    `label` and `split` are ours, others the user's own; those that a store has no room for are passed over, and a note
    says so.
    """
    names = list(dict.fromkeys(name for row in texts.values() for name in row))
    if odd := [name for name in names if not has_room(name)]:
        warn(f"{source} has columns that are passed over: {listed(odd, 10)}")
    columns = ((name, [row.get(name) for row in texts.values()]) for name in names if name not in odd)
    return annotations_in(list(texts), columns)


def annotations_in(paths: Sequence[str], columns: Iterable[tuple[str, Sequence[str | None]]]) -> Annotations:
    """Annotations from columns of texts, row by row of the photos with these paths; as by `annotations_of`."""
    import pyarrow as pa

    rows: dict[str, dict[str, Any]] = {path: {} for path in paths}
    fields = []
    for name, texts in columns:
        cells = [cell or None for cell in texts]
        if name == "label":
            held: Sequence[Any] = cells
        elif name == "split":
            held = [SPLITS.get((cell or "").lower()) for cell in cells]
        else:
            field, held = typed(name, cells)
            if field is None:
                continue
            fields.append(field)
        for row, value in zip(rows.values(), held, strict=True):
            if value is not None:
                row[name] = value
    return Annotations(rows, pa.schema(fields))


def has_room(column: str) -> bool:
    """Whether a store can keep a column of this name: a word that is not one of its own."""
    return column not in RESERVED and COLUMN.fullmatch(column) is not None


def together(some: Iterable[Annotations]) -> Annotations:
    """Annotations from several sources, in columns that hold all; of one photo, the later adds to the earlier."""
    import pyarrow as pa

    every = list(some)
    fields: dict[str, pa.Field] = {}
    for words in every:
        for field in words.columns:
            fields[field.name] = joined(fields[field.name], field) if field.name in fields else field
    rows: dict[str, dict[str, Any]] = {}
    for words in every:
        into = pa.schema([fields[name] for name in words.columns.names])
        for path, row in words.into(into).rows.items():
            rows.setdefault(path, {}).update(row)
    return Annotations(rows, pa.schema(list(fields.values())))
