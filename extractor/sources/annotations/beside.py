"""Sheets of annotations beside photos, in a folder or an archive: they are read unasked.

A name in one is a path from the folder that the sheet lies in, as Hugging Face's ImageFolder has it ("Create an image
dataset", datasets 4), or from the source.
"""

import json
import os
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache as once
from functools import partial
from typing import Any, TypeVar

from petrieve.extractor.sources.annotations.annotations import Annotations, together
from petrieve.extractor.sources.annotations.labels import COLUMN_NAMES, Labels, head_columns, labels_of
from petrieve.extractor.sources.annotations.sheets import table_of
from petrieve.extractor.sources.annotations.spellings import loose
from petrieve.extractor.sources.source import Part
from petrieve.store.errors import PetrieveError, Undecodable, listed, warn
from petrieve.store.photo import Photo, as_text
from petrieve.store.rows import Unreadable

One = TypeVar("One", bound=Part)
Out = TypeVar("Out")
NamedPaths = Callable[[], Iterable[tuple[str, str]]]  # by name in a source and path, as often as they are asked for
SHEETS = frozenset({"metadata.csv", "metadata.jsonl", "labels.csv"})
MAX_BYTES = 128 << 20  # 1,000,000 lines with a sentence each
TOO_LARGE = f"it is over {MAX_BYTES >> 20} MB, which `labels=…` reads"
MAX_NAMED = 3  # sheets that have a line of their own


@dataclass(frozen=True)
class Sheet:
    """A sheet of annotations, by its name in the source."""

    name: str
    read: Callable[[int], bytes]  # its first N bytes at most, or OSError or Undecodable


def is_sheet(name: str) -> bool:
    """Whether a file with this name is a sheet of the photos beside it."""
    return os.path.basename(name).casefold() in SHEETS


@dataclass(eq=False)
class Beside:
    """The sheets that lie beside the photos of a source."""

    sheets: list[Sheet] = field(default_factory=list)
    any_listed: bool = False
    held_bytes: int = 0

    def hold(self, name: str, size_bytes: int, read: Callable[[int], bytes]) -> None:
        """Add a sheet that is read now or never: its bytes, unless those of all sheets are too many."""
        self.held_bytes += size_bytes
        data = read(size_bytes) if self.held_bytes <= MAX_BYTES else None

        def again(most: int) -> bytes:
            if data is None:
                raise Undecodable(TOO_LARGE)
            return data[:most]

        self.sheets.append(Sheet(name, again))

    def noted(self, parts: Iterable[One], passed: Counter[str]) -> Iterator[One]:
        """These parts; if there are none, sheets are counted as passed over."""
        for part in parts:
            self.any_listed = True
            yield part
        if not self.any_listed:
            passed.update(os.path.basename(sheet.name) for sheet in self.sheets)

    def annotations(self, source: str, listed: Iterable[Photo], passed: Counter[str]) -> Annotations | None:
        """The sheets' annotations of the photos that are listed in a source (its path or address)."""
        if not self.sheets:
            return None
        start = len(as_text(source).rstrip("/")) + 1
        words, over = annotations_beside(
            source, self.sheets, lambda: ((as_text(photo.path)[start:], photo.path) for photo in listed)
        )
        passed.update(os.path.basename(name) for name in over)
        return words


def entry_of(part: Part, photo: Photo, start: int) -> Sheet:
    """A sheet in an archive, which is read as if it were this photo; its name begins at this place of the uri."""

    def read(most: int) -> bytes:
        if photo.size > most:
            raise Undecodable(TOO_LARGE)
        (one,) = part.read({photo.uri})
        if isinstance(one, Unreadable):
            raise Undecodable(one.reason)
        return one[1]

    return Sheet(photo.uri[start:], read)


def annotations_beside(
    source: str, sheets: Iterable[Sheet], photos: NamedPaths
) -> tuple[Annotations | None, list[str]]:
    """The sheets' annotations of the photos of a source; and which sheets have none.

    The sheet nearest to a photo comes first. Notes say how many of their lines are of these photos, and which sheets
    are passed over, and why.
    """
    said, over = list[Annotations](), list[str]()
    counts = dict[str, tuple[int, int]]()
    tables = [
        (sheet, file := os.path.join(source, sheet.name), _tried(file, partial(_labels, file, sheet)))
        for sheet in sorted(sheets, key=lambda one: (one.name.count("/"), one.name))
    ]
    # The photos may be very many: all are looked through once for all sheets.
    wanted = {place for sheet, _, labels in tables if labels for name in labels.rows for place in _places(sheet, name)}
    exactly = {name: path for name, path in photos() if name in wanted}
    loosely = once(partial(_loosely, wanted, photos))
    for sheet, file, labels in tables:
        meant = _tried(file, partial(_meant, file, sheet, labels.rows, exactly, loosely)) if labels else None
        if labels and meant is not None:
            counts[file] = len(meant), len(labels.rows)
        if labels and meant:
            said.append(Annotations({path: _told(labels.rows[name]) for path, name in meant.items()}, labels.columns))
        else:
            over.append(sheet.name)
    for note in _notes(counts):
        warn(note)
    return (together(said) if said else None), over


def _tried(file: str, work: Callable[[], Out]) -> Out | None:
    """The result of `work` on a sheet; None, with a note, if it fails."""
    try:
        return work()
    except (PetrieveError, Undecodable, OSError, MemoryError) as error:
        why = error.what if isinstance(error, PetrieveError) else f"{file}: {_reason(error)}"
        warn(f"{why}: it is passed over")
        return None


def _places(sheet: Sheet, name: str) -> list[str]:
    """The names in the source that a name in a sheet can mean."""
    folder = posixpath.dirname(as_text(sheet.name))
    return [posixpath.normpath(posixpath.join(above, as_text(name))) for above in (folder, "")]


def _loosely(wanted: Iterable[str], photos: NamedPaths) -> dict[str, str]:
    """The paths of photos whose names look like wanted ones, by the key of their look."""
    keys = set(map(loose, wanted))
    return {key: path for name, path in photos() if (key := loose(name)) in keys}


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row says; an empty cell says nothing, and leaves it to folders."""
    return {name: value for name, value in row.items() if value is not None}


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else str(error)) or "not enough memory to read it"


def _notes(counts: Mapping[str, tuple[int, int]]) -> list[str]:
    some = {file: of for file, of in counts.items() if of[0]}
    none = [f"{file} ({lines:,} lines)" for file, (matched, lines) in counts.items() if not matched]
    notes = [f"{file}: {matched:,} of {lines:,} lines are of photos here" for file, (matched, lines) in some.items()]
    if len(notes) > MAX_NAMED:
        matched, lines = (sum(of[place] for of in some.values()) for place in (0, 1))
        notes = [f"{len(notes):,} sheets, first {next(iter(some))}: {matched:,} of {lines:,} lines are of photos here"]
    return [*notes, *([f"no line is of a photo here in {listed(none, MAX_NAMED)}"] if none else [])]


def _meant(
    file: str,
    sheet: Sheet,
    names: Iterable[str],
    exactly: Mapping[str, str],
    loosely: Callable[[], Mapping[str, str]],
) -> dict[str, str]:
    """The names in a sheet that stand for photos, by the photos' paths.

    Raises:
        PetrieveError: two stand for one.
    """
    found: dict[str, str] = {}
    for name in names:
        places = _places(sheet, name)
        path = next((exactly[one] for one in places if one in exactly), None)
        if path is None:
            path = next((loosely()[key] for one in places if (key := loose(one)) in loosely()), None)
        if path is not None and (other := found.setdefault(path, name)) != name:
            raise PetrieveError(f"{file} names one photo twice, {other!r} and {name!r}", "keep one row for each photo")
    return found


def _labels(file: str, sheet: Sheet) -> Labels:
    """The annotations in a sheet, by the names of photos in it.

    Raises:
        PetrieveError: it is too large, or not such a table.
        OSError, Undecodable: it cannot be read.
    """
    data = sheet.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Undecodable(TOO_LARGE)
    header, rows = _table(file, data) if file.casefold().endswith("l") else table_of(file, data, COLUMN_NAMES["photo"])
    if head_columns(header):  # a prediction must not become an annotation
        raise Undecodable("it holds a head's results, which `labels=…` reads")
    return labels_of(file, header, rows)


def _table(file: str, data: bytes) -> tuple[list[str], list[list[str]]]:
    """Lines of JSON as a table; lists and objects are passed over.

    Raises:
        PetrieveError: a line is not a JSON object.
    """
    rows: list[dict[str, str]] = []
    header: dict[str, None] = {}
    for number, line in enumerate(data.decode("utf-8-sig", "replace").splitlines(), 1):
        if line.strip():
            try:
                cells = {name: _cell(value) for name, value in dict(json.loads(line)).items()}
            except (ValueError, TypeError, RecursionError) as error:
                raise PetrieveError(f"line {number} of {file} is not a JSON object", "mend it") from error
            rows.append({name: cell for name, cell in cells.items() if cell is not None})
            header.update(dict.fromkeys(rows[-1]))
    return list(header), [[row.get(name, "") for name in header] for row in rows]


def _cell(value: object) -> str | None:
    if value is None or isinstance(value, list | dict):
        return None
    return value if isinstance(value, str) else json.dumps(value)
