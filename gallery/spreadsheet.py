"""Results as CSVs that spreadsheets can be trusted with."""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from petrieve.gallery.words import name
from petrieve.store.files import FORMULA, write_named
from petrieve.store.rows import Unreadable


def predictions(file: Path, found: Sequence[dict[str, Any]]) -> None:
    """Write predictions: photo, label, probability, error, a column for each class, unsure, unfamiliar, and the root.

    Raises:
        PetrieveError: the file cannot be written.
    """
    classes = next((list(one["probabilities"]) for one in found if "label" in one), [])
    rows = []
    for one in found:
        shares = one.get("probabilities", {})
        photo = os.path.join(os.curdir, one["photo"]) if one["photo"].startswith(FORMULA) else one["photo"]
        start = [photo, one.get("label", ""), one.get("probability", ""), one.get("error", "")]
        doubts = (str(one[doubt]).lower() if doubt in one else "" for doubt in ("unsure", "unfamiliar"))
        rows.append([*start, *(shares.get(name, "") for name in classes), *doubts, one["root"]])
    named = (f"p({name})" for name in classes)
    write(file, ["photo", "label", "probability", "error", *named, "unsure", "unfamiliar", "root"], rows)


def unreadable(file: Path, photos: Sequence[Unreadable]) -> None:
    """Write unreadable photos: photo, reason, size in bytes, and when it was modified (UTC).

    Raises:
        PetrieveError: the file cannot be written.
    """
    rows = []
    for bad in photos:
        modified = datetime.fromtimestamp(bad.photo.modified / 1e6, UTC).isoformat(timespec="seconds")
        rows.append([name(bad.photo.path), bad.reason, bad.photo.size, modified])
    write(file, ["photo", "reason", "size", "modified"], rows)


def findings(file: Path, ranked: Sequence[dict[str, Any]]) -> None:
    """Write the audited photos, worst first: photo, label, suggested, reason, score.

    Raises:
        PetrieveError: the file cannot be written.
    """
    columns = ("photo", "label", "suggested", "reason", "score")
    write(file, columns, [[one[column] if one[column] is not None else "" for column in columns] for one in ranked])


def duplicates(file: Path, groups: Sequence[Any]) -> None:
    """Write near-copies, a line for each photo: group, kind, photo, whether it is the best, pixels and bytes.

    Raises:
        PetrieveError: the file cannot be written.
    """
    rows = [
        [
            number,
            group.kind,
            name(one.photo),
            "yes" if one is group.photos[0] else "no",
            one.width,
            one.height,
            one.size,
        ]
        for number, group in enumerate(groups, 1)
        for one in group.photos
    ]
    write(file, ["group", "kind", "photo", "best", "width", "height", "size"], rows)


def write(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV in which no cell is a spreadsheet's formula.

    Raises:
        PetrieveError: the file cannot be written.
    """
    write_named(file, as_csv([header, *rows]))


def as_csv(rows: Iterable[Sequence[object]]) -> bytes:
    """Lines of such a CSV."""
    lines = io.StringIO(newline="")
    writer = csv.writer(lines)  # ends lines as RFC 4180 does: with "\n" alone it leaves a "\r" in a cell unquoted
    writer.writerows([_cell(value) for value in row] for row in rows)
    return lines.getvalue().encode("utf-8", "surrogateescape")


def _cell(value: object) -> object:
    """The value, behind an apostrophe where a spreadsheet would take its text for a formula."""
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    return f"'{value}"
