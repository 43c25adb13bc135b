"""Lines in a terminal: tables, and what is not of the result."""

from collections.abc import Iterator, Sequence
from unicodedata import combining, east_asian_width

from petrieve.gallery.words import printable

LINES = 40  # longer ones are cut; `--json` has all of them


class Aside(str):
    """A line that is not of the result: it goes to stderr."""


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, most: int = LINES) -> Iterator[str]:
    """The lines of a table, of which the last may say how many rows are left out."""
    lines = [tuple(map(printable, row)) for row in [titles, *rows[:most]]]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)).rstrip()
    yield from rest(rows, most)


def _width(text: str) -> int:
    """How many columns a terminal takes for a text: two for a wide letter, as of Chinese, none for an accent above."""
    return sum(0 if combining(one) else 1 + (east_asian_width(one) in "WF") for one in text)


def rest(rows: Sequence[object], most: int) -> Iterator[str]:
    """How many rows there are beyond those that are shown."""
    if len(rows) > most:
        yield f"… and {len(rows) - most} more; `--json` lists all"
