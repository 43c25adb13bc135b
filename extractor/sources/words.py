"""What a source says of its photos beside their names: labels, splits and columns that lie with them."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from extractor.sources.labels import COLUMN
from extractor.sources.names import SPLITS
from store.columns import carried, joined, typed
from store.errors import listed
from store.rows import RESERVED

if TYPE_CHECKING:
    import pyarrow as pa

Texts = Mapping[str, str | None]  # by column


@dataclass(frozen=True)
class Words:
    """What is said of photos, by path: label, split and the columns of a schema."""

    rows: dict[str, dict[str, Any]]
    columns: "pa.Schema"  # beyond label and split

    def into(self, columns: "pa.Schema") -> "Words":
        """The same as wider columns hold it."""
        rows = carried(self.rows.values(), self.columns, columns)
        return replace(self, rows=dict(zip(self.rows, rows, strict=True)), columns=columns)


def words_of(source: str, texts: Mapping[str, Texts]) -> Words:
    """What a source says of photos in texts, by path; a column has another type where all its values do.

    `label` and `split` are ours, others the user's own; those that a store has no room for are passed over, and a note
    says so.
    """
    import pyarrow as pa

    names = list(dict.fromkeys(name for row in texts.values() for name in row))
    rows: dict[str, dict[str, Any]] = {path: {} for path in texts}
    columns = []
    if odd := [name for name in names if name in RESERVED or not COLUMN.fullmatch(name)]:
        warnings.warn(f"{source} has columns that are passed over: {listed(odd, 10)}", stacklevel=2)
    for name in (one for one in names if one not in odd):
        cells = [row.get(name) or None for row in texts.values()]
        if name == "label":
            held: Sequence[Any] = cells
        elif name == "split":
            held = [SPLITS.get((cell or "").lower()) for cell in cells]
        else:
            field, held = typed(name, cells)
            if field is None:
                continue
            columns.append(field)
        for row, value in zip(rows.values(), held, strict=True):
            if value is not None:
                row[name] = value
    return Words(rows, pa.schema(columns))


def together(some: Iterable[Words]) -> Words:
    """What several sources say, in columns that hold all of it; of one photo, the later adds to the earlier."""
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
    return Words(rows, pa.schema(list(fields.values())))
