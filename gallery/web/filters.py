"""Which photos are meant: the fields of a form, the query of an address and the condition of `--where` say the same."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from petrieve.gallery.web.desk import Desk

if TYPE_CHECKING:
    import pyarrow as pa

    from petrieve.store.cache import Cache

FEW = 40  # values of a column that are chosen from a list
MAX_FIELD_LENGTH = 2000  # characters of a field
PLAIN = ("label", "split")  # whose fields are called as they are


@dataclass(frozen=True)
class Column:
    """One of the user's columns, and what form its values are asked for by: choice, truth, number, date or text."""

    name: str
    kind: str
    values: tuple[tuple[str, int], ...] = ()  # of a choice, and of how many photos


@dataclass(frozen=True)
class Filters:
    """What a form's fields say, by their names: `label`, `is.COLUMN`, `from.COLUMN`, `to.COLUMN`, `has.COLUMN`."""

    fields: tuple[tuple[str, str], ...] = ()
    where: str = ""

    def of(self, name: str) -> str:
        """What stands in a field."""
        return dict(self.fields).get(name, "")

    def condition(self, columns: Sequence[Column]) -> str | None:
        """The same as `--where` has it; what a field says wrongly is passed over."""
        kinds = {one.name: one.kind for one in columns} | dict.fromkeys(PLAIN, "choice")
        told = [condition for name, value in self.fields if (condition := _condition(name, value, kinds))]
        given = [f"({self.where})"] if self.where and told else [self.where] if self.where else []
        return " AND ".join([*told, *given]) or None

    def address(self) -> str:
        """The fields as a part of an address."""
        return urlencode([*self.fields, *([("where", self.where)] if self.where else [])])


NONE = Filters()


def filters_of(given: QueryParams) -> Filters:
    """What an address says."""
    fields = [(name, value.strip()[:MAX_FIELD_LENGTH]) for name, value in given.multi_items() if _is_field(name)]
    return Filters(
        tuple((name, value) for name, value in fields if value), given.get("where", "").strip()[:MAX_FIELD_LENGTH]
    )


def store_facts(desk: Desk) -> dict[str, Any]:
    """What the filters offer: labels and splits with their numbers, the columns, and how many photos there are."""
    # The first page does not wait for the index.
    cache = desk.store.index().cache if "store_facts" in desk.more else desk.store.cache()
    version, found = desk.more.get("store_facts", ("", {}))
    if version != cache.version:
        found = {**cache.counts(), "columns": _columns(cache)}
        desk.more["store_facts"] = (cache.version, found)
    return dict(found)


def _columns(cache: "Cache") -> tuple[Column, ...]:
    """The user's own columns that a form can ask for."""
    names = [name for name in cache.columns() if name not in PLAIN]
    kinds = {name: _kind(cache.photo_schema.field(name).type) for name in names}
    counts = {name: Counter[str]() for name, kind in kinds.items() if kind == "text"}
    for batch in cache.photos(list(counts)) if counts else ():
        for name in list(counts):
            counts[name].update({one["values"]: one["counts"] for one in batch[name].value_counts().to_pylist()})
            if len(counts[name]) > FEW:
                del counts[name]
    chosen = {name: tuple(sorted((one, n) for one, n in of.items() if one is not None)) for name, of in counts.items()}
    return tuple(
        Column(name, "choice" if name in chosen else kind, chosen.get(name, ())) for name, kind in kinds.items() if kind
    )


def _kind(type_: "pa.DataType") -> str:
    import pyarrow as pa

    tests = {
        "truth": pa.types.is_boolean,
        "date": lambda one: pa.types.is_date(one) or pa.types.is_timestamp(one),
        "number": lambda one: pa.types.is_integer(one) or pa.types.is_floating(one),
        "text": pa.types.is_string,
    }
    return next((kind for kind, holds in tests.items() if holds(type_)), "")


def _is_field(name: str) -> bool:
    return name in PLAIN or name.partition(".")[0] in ("is", "from", "to", "has")


def _condition(field: str, value: str, kinds: dict[str, str]) -> str | None:
    """One field as a condition."""
    how, _, name = ("is", "", field) if field in PLAIN else field.partition(".")
    kind, column = kinds.get(name), name if name.isidentifier() else f"`{name}`"
    if kind in ("choice", "text"):
        text = value.replace("'", "''")
        return {"is": f"{column} = '{text}'", "has": f"{column} LIKE '%{text}%'"}.get(how)
    if kind == "truth" and value in ("true", "false"):
        return f"{column} = {value}"
    if kind == "number" and _reads(float, value):
        return {"from": f"{column} >= {value}", "to": f"{column} <= {value}"}.get(how)
    if kind == "date" and _reads(date.fromisoformat, value):
        after = min(date.fromisoformat(value), date(9999, 1, 1)) + timedelta(1)  # of a moment the whole day counts
        return {"from": f"{column} >= date '{value}'", "to": f"{column} < date '{after}'"}.get(how)
    return None


def _reads(read: Any, value: str) -> bool:
    try:
        read(value)
    except ValueError:
        return False
    return value not in ("nan", "inf", "-inf") and "_" not in value
