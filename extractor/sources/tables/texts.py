"""Columns of Arrow as texts, which a store gives a type as it does to those of a CSV."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def is_text(kind: "pa.DataType") -> bool:
    """Whether values of this type are texts."""
    import pyarrow.types as types

    if types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def is_whole(kind: "pa.DataType") -> bool:
    """Whether values of this type are whole numbers."""
    import pyarrow.types as types

    return bool(types.is_integer(kind))


def is_word(kind: "pa.DataType") -> bool:
    """Whether values of this type can be written in a cell of a CSV."""
    import pyarrow.types as types

    plain = (types.is_integer, types.is_floating, types.is_boolean, types.is_date, types.is_timestamp)
    return is_text(kind) or any(one(kind) for one in plain)


def texts_of(column: "pa.ChunkedArray", classes: Sequence[str] = ()) -> list[str | None]:
    """The values of a column as texts; whole numbers as the words that they stand for, where there are `classes`.

    A number that stands for no word says nothing. Equal texts are mostly one object.

    Raises:
        ValueError: some are not UTF-8, or not a date of Python's.
        OverflowError: a date is out of range.
    """
    import pyarrow as pa
    import pyarrow.types as types

    kind = column.type
    if types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", "UTC" if kind.tz else None), safe=False)
    elif types.is_date64(kind):
        column = column.cast(pa.date32())
    if is_text(kind):
        return [text for chunk in column.chunks for text in _values(chunk)]
    write = partial(_word, classes) if classes and is_whole(kind) else _writer(kind)
    return [None if value is None else write(value) for chunk in column.chunks for value in _values(chunk)]


def _values(chunk: "pa.Array") -> Iterator[Any]:
    import pyarrow.types as types

    if not types.is_dictionary(chunk.type):
        yield from chunk.to_pylist()
        return
    words = chunk.dictionary.to_pylist()  # each once, however often it stands there
    yield from (None if place is None else words[place] for place in chunk.indices.to_pylist())


def _word(classes: Sequence[str], number: int) -> str | None:
    return classes[number] if 0 <= number < len(classes) else None


def _writer(kind: "pa.DataType") -> Callable[[Any], str | None]:
    import numpy as np
    import pyarrow.types as types

    if types.is_boolean(kind):
        return lambda value: str(value).lower()
    if types.is_float64(kind):
        return repr
    if types.is_floating(kind):  # with its own digits, not with those of a longer type
        return lambda value: str(np.dtype(kind.to_pandas_dtype()).type(value))
    return _moment if types.is_timestamp(kind) else str


def _moment(value: datetime) -> str:
    return value.isoformat().replace("+00:00", "Z") if value.tzinfo else str(value)
