"""Labels and columns that people gave to photos that are gone or forgotten: they come back with path or content."""

import os
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from petrieve.store.columns import carried
from petrieve.store.folder import Store
from petrieve.store.photo import path_of
from petrieve.store.rows import BY_HAND, Embedded, Unreadable, annotated, own, photo_checksums, photo_table
from petrieve.store.tables import let_go, newest, opened, readable, writable, write_table

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]  # of the table of photos, or some of its columns


@dataclass(frozen=True)
class Lost:
    """Labels, splits and columns of photos that are no longer where they were: rows by column."""

    by_path: dict[str, Row] = field(default_factory=dict)
    by_content: dict[bytes, Row] = field(default_factory=dict)

    def of(self, path: str, digest: bytes | None) -> Row:
        """What was said of the photo that was at this path, or else had this content."""
        return self.by_path.get(path) or (self.by_content.get(digest, {}) if digest else {})

    def annotated(self, one: Embedded | Unreadable, known: Container[str]) -> Embedded | Unreadable:
        """A result with what was said of its photo before that went, but for what its CSV says.

        One whose path is `known` is as it was: its row says it.
        """
        photo = one.photo
        if photo.path in known:
            return one
        before = self.of(photo.path, one.digest if isinstance(one, Embedded) else None)
        words = {name: value for name, value in before.items() if BY_HAND.get(name, name) not in photo.columns}
        return replace(one, photo=annotated(photo, words))


def lost(forgotten: Mapping[str, Row], gone: Iterable[Row], schema: "pa.Schema") -> Lost:
    """What was said of photos that are forgotten (by path), and of the rows of those that are gone."""
    names = own(schema)
    by_path = {path: words for path, row in forgotten.items() if (words := said_by_hand(row, names))}
    by_content = {
        row["digest"]: words for row in chain(forgotten.values(), gone) if (words := said_by_hand(row, names))
    }
    return Lost(by_path, by_content)


def said_by_hand(row: Mapping[str, Any], names: Iterable[str]) -> Row:
    """What a CSV has said of a photo, by column; `names` are the user's own.

    A row that an earlier release wrote does not say whence its label is: it counts where the folder says another.
    """
    words = {name: row[name] for name in names if row.get(name) is not None}
    for name, mark in BY_HAND.items():
        unknown = name == "label" and row.get(mark) is None
        if row.get(mark) or (unknown and row[name] not in (None, os.path.basename(os.path.dirname(row["uri"])))):
            words |= {name: row[name], mark: True}
    return words


def remember(store: Store, rows: Iterable[Row], schema: "pa.Schema") -> None:
    """Keep those rows of photos, soon to be forgotten, of which a CSV has said something, in the place of earlier ones.

    Raises:
        PetrieveError: the store cannot be read or written to.
    """
    paths, new = set[str](), list[Row]()
    for row in rows:
        paths.add(path_of(row["root"], row["uri"]))
        new += [row] if said_by_hand(row, own(schema)) else []
    before = remembered(store, schema)
    others = [row for path, row in before.items() if path not in paths]
    if not new and len(others) == len(before):
        return
    table = photo_table([*others, *new], schema)
    with writable(store):
        write_table(store.forgotten, table, mode="overwrite" if newest(store.forgotten) else "create")
        let_go(store.forgotten, opened(store.forgotten))


def remembered(store: Store, schema: "pa.Schema") -> dict[str, Row]:
    """The rows that are kept, by path, the last to be forgotten at the end; damaged ones are passed over.

    Their values are as columns of this schema hold them.
    """
    found = {}
    for table, sound in _kept(store):
        rows = [row for row, is_sound in zip(table.to_pylist(), sound, strict=True) if is_sound]
        found = {path_of(row["root"], row["uri"]): row for row in carried(rows, table.schema, schema)}
    return found


def damaged_rows(store: Store) -> list[str]:
    """The paths of forgotten photos whose rows are not as they were written."""
    found = []
    for table, sound in _kept(store):
        places = zip(table["root"].to_pylist(), table["uri"].to_pylist(), sound, strict=True)
        found += [path_of(root, uri) for root, uri, is_sound in places if not is_sound]
    return found


def _kept(store: Store) -> "Iterator[tuple[pa.Table, list[bool]]]":
    """The table of what is kept, and whether each row is as it was written; nothing where there is none."""
    if newest(store.forgotten):
        with readable(store):
            table = opened(store.forgotten).to_table()
        sums = photo_checksums(table)
        yield table, [one == other for one, other in zip(table["checksum"].to_pylist(), sums, strict=True)]
