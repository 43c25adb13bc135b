"""Tables of text, in whatever form a spreadsheet has written them."""

import csv
import io
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from petrieve.store.columns import plain
from petrieve.store.errors import PetrieveError, first_line
from petrieve.store.files import FORMULA

SEPARATORS = ",;\t"
REMEDY = "give a CSV in UTF-8, with a header and a column `photo`"


def read_sheet(file: str) -> bytes:
    """The bytes of a sheet.

    Raises:
        PetrieveError: no such file.
    """
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise PetrieveError(f"cannot read labels from {file}: {error.strerror}", REMEDY) from error


def table_of(file: str, data: bytes, named: Collection[str]) -> tuple[list[str], list[list[str]]]:
    """The header, and the rows that hold something, each as long as the header.

    In UTF-8 or UTF-16, with or without a byte order mark; the separator is the one that shows a column of `named`, in
    any case. Cells are as they were written; in UTF-8, bytes that are not text stand as they do in paths.

    Raises:
        PetrieveError: it is not such a table.
    """
    try:
        text = _text(data)
        headers = {one: next(_rows(text, one, strict=False), []) for one in SEPARATORS}
        shows = [one for one, names in headers.items() if any(cell_text(name).casefold() in named for name in names)]
        table = [row for row in _rows(text, (shows or SEPARATORS)[0]) if any(cell.strip() for cell in row)]
    except (csv.Error, ValueError) as error:
        raise PetrieveError(f"cannot read labels from {file}: {first_line(error)}", REMEDY) from error
    if not table:
        raise PetrieveError(f"cannot read labels from {file}: it is empty", REMEDY)
    check_text(file, table[0])
    header, rows = [cell_text(name) for name in table[0]], table[1:]
    while header and not header[-1] and not any(any(row[len(header) - 1 :]) for row in rows):
        header.pop()  # a column in which nothing stands
    for row in rows:
        if any(row[len(header) :]):
            raise PetrieveError(
                f"{file} has {len(header)} columns, and a row of {len(row)} that begins with {row[0]!r}",
                "put what holds a separator in double quotes",
            )
    return header, [[*row[: len(header)], *[""] * (len(header) - len(row))] for row in rows]


def cell_text(cell: str) -> str:
    """What a cell says, without the apostrophe that keeps a spreadsheet from taking it for a formula."""
    text = plain(cell)
    return text[1:] if text[:1] == "'" and text[1:].startswith(FORMULA) else text


def check_text(file: str, cells: Iterable[str]) -> None:
    """Refuse bytes that are not UTF-8.

    Raises:
        PetrieveError: there are some in these cells.
    """
    try:
        "".join(cells).encode()
    except UnicodeEncodeError as error:
        raise PetrieveError(f"cannot read labels from {file}: it is not in UTF-8", REMEDY) from error


def _text(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16")
    if 0 in data[:2]:  # a header begins with a plain letter: in UTF-16 a zero stands beside it
        return data.decode("utf-16-be" if data[0] == 0 else "utf-16-le")
    return data.decode("utf-8-sig", "surrogateescape")


def _rows(text: str, separator: str, *, strict: bool = True) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=strict)
