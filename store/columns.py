"""Columns of the user's own: of which type they are, so that every value writes back as it was written."""

import math
import re
import unicodedata
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from petrieve.store.errors import PetrieveError

if TYPE_CHECKING:
    import pyarrow as pa

FORM = b"written"  # in a column's metadata: which of FORMS its values had
NAN = ("NaN", "nan")  # among numbers it is not one: a filter would hold it for larger than all
WHOLE_AS_FLOAT = 1 << 53  # up to here a whole number stays what it is among fractions


class Form(NamedTuple):
    """How values of an Arrow type are written: `read` raises ValueError where a text is not one."""

    type: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]


def plain(text: str) -> str:
    """The text that looks the same and is the same: NFC, without white space around it."""
    return (text if text.isascii() else unicodedata.normalize("NFC", text)).strip()


def _whole(text: str) -> int | None:
    if text in NAN:
        return None
    if abs(value := int(text)) > WHOLE_AS_FLOAT:
        raise ValueError(text)
    return value


def _number(text: str) -> float | None:
    if text in NAN:
        return None
    if not math.isfinite(value := float(text)) or (value == 0 and text[0] == "-"):
        raise ValueError(text)
    return value


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _moment(text: str) -> datetime:
    if (value := datetime.fromisoformat(text)).tzinfo:
        raise ValueError(text)
    return value


def _utc(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


# By an example. The first of a type is the one of columns that say nothing of it.
FORMS = {
    "1": Form("int64", _whole, str),
    "1.5 2": Form("double", _number, lambda value: repr(value).removesuffix(".0")),
    "1.5 2.0": Form("double", _number, repr),
    "true": Form("bool", _truth, lambda value: str(value).lower()),
    "True": Form("bool", _truth, str),
    "TRUE": Form("bool", _truth, lambda value: str(value).upper()),
    "2026-10-01": Form("date32[day]", date.fromisoformat, str),
    "2026-10-01 12:00:00": Form("timestamp[us]", _moment, str),
    "2026-10-01T12:00:00": Form("timestamp[us]", _moment, datetime.isoformat),
    "2026-10-01T12:00:00Z": Form("timestamp[us, tz=UTC]", datetime.fromisoformat, _utc),
}


def typed(name: str, texts: Iterable[str | None]) -> "tuple[pa.Field | None, list[Any]]":
    """The column of these values, and the values as it holds them; no column where there is no value.

    A type is taken if every value writes back as it was: `007` and `1E5` are not numbers.
    """
    import pyarrow as pa

    cells = list(texts)
    if not any(cells):
        return None, cells
    for example, form in FORMS.items():
        values = _read(form, cells)
        if values is not None:
            return pa.field(name, _type(form), metadata={FORM: example.encode()}), values
    return pa.field(name, pa.string()), cells


def _read(form: Form, cells: list[str | None]) -> list[Any] | None:
    """The values of these texts; None if one of them is not of this form, or none is a value."""
    values = []
    for cell in cells:
        try:
            value = form.read(cell) if cell else None
            if value is not None and form.write(value) != cell:
                return None
        except ValueError:
            return None
        values.append(value)
    return values if any(value is not None for value in values) else None


def _type(form: Form) -> "pa.DataType":
    import pyarrow as pa

    return pa.timestamp("us", "UTC") if "tz=" in form.type else pa.type_for_alias(form.type)


def joined(there: "pa.Field", new: "pa.Field") -> "pa.Field":
    """The column that holds what two of one name hold: as it is there where that will do, else a wider one."""
    import pyarrow as pa

    types = (there.type, new.type)
    if there.type == new.type or types == (pa.float64(), pa.int64()):
        return there
    if types == (pa.int64(), pa.float64()):
        return new
    if all(pa.types.is_timestamp(one) for one in types) and there.type.tz == new.type.tz:
        units = ("s", "ms", "us", "ns")
        return max(there, new, key=lambda field: units.index(field.type.unit))
    return pa.field(there.name, pa.string())


def check_case(new: Iterable[str], there: Iterable[str]) -> None:
    """Refuse columns whose names differ by case alone from those that are there.

    Raises:
        PetrieveError: one does.
    """
    called = {name.casefold(): name for name in there}
    for name in new:
        if (other := called.get(name.casefold(), name)) != name and name not in called.values():
            raise PetrieveError(f"the store has a column {other!r}, and {name!r} would be another", "call it the same")


def carried(rows: Iterable[dict[str, Any]], columns: "pa.Schema", into: "pa.Schema") -> list[dict[str, Any]]:
    """Rows as wider columns hold them; what is in none of these columns stays as it is."""
    import pyarrow as pa

    ways: dict[str, Callable[[Any], Any]] = {}
    for old in columns:
        new = into.field(old.name)
        if old.type != new.type and pa.types.is_string(new.type):
            ways[old.name] = _form(old).write
        elif old.type != new.type and pa.types.is_floating(new.type):
            ways[old.name] = float
    return [
        {**row, **{name: way(row[name]) for name, way in ways.items() if row.get(name) is not None}} for row in rows
    ]


def _form(column: "pa.Field") -> Form:
    """How the values of a column are written."""
    said = (column.metadata or {}).get(FORM, b"").decode()
    type_ = re.sub(r"\[(s|ms|ns)\b", "[us", str(column.type))
    forms = [form for example, form in FORMS.items() if form.type == type_ and said in (example, "")]
    return forms[0] if forms else Form(type_, str, str)


def alike(labels: Iterable[str]) -> str | None:
    """The note about labels that differ by case alone; None where there are none."""
    found: dict[str, list[str]] = {}
    for label in sorted(labels):
        found.setdefault(label.casefold(), []).append(label)
    named = [" and ".join(map(repr, some)) for some in found.values() if len(some) > 1]
    return f"labels that differ by case alone are different classes: {', '.join(named)}" if named else None
