"""Which colour and shape each point of a map has, and what they mean."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from petrieve.gallery.web.ground import Ground
from petrieve.gallery.web.orders import Orders

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# Okabe and Ito, "Color Universal Design", 2008: seven of the eight are told apart on a light page, the most frequent
# first; on a dark one yellow takes the place of black. The last two are of other values, and of none.
KINDS = (
    ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000", "#8a8a8a", "#b9b5ab"),
    ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#0072b2", "#d55e00", "#f0e442", "#8a8a8a", "#565b62"),
)
# Viridis (van der Walt and Smith, matplotlib 1.5), without the end that is like the page: the last is farthest from it.
STEPS = (
    ("#7ad151", "#44bf70", "#22a884", "#2a788e", "#355f8d", "#414487", "#440154", "#8a8a8a", "#b9b5ab"),
    ("#414487", "#355f8d", "#2a788e", "#22a884", "#44bf70", "#7ad151", "#fde725", "#8a8a8a", "#565b62"),
)
COLOURS, OTHER, NONE = 7, 7, 8  # kinds with a colour of their own; the slots of the others, and of what says nothing
HIDDEN = 128
# Paths of 24 × 24, in the order of the slots; `points.js` draws the same.
DOT = "M12 2a10 10 0 1 0 .1 0z"
SHAPES = (
    DOT,
    "M3 3h18v18H3z",
    "M12 2l11 18H1z",
    "M12 1l11 11-11 11L1 12z",
    "M8.5 1h7v7.5H23v7h-7.5V23h-7v-7.5H1v-7h7.5z",
    "M5 1l7 7 7-7 4 4-7 7 7 7-4 4-7-7-7 7-4-4 7-7-7-7z",
    "M12 22L1 4h22z",
    "M12 6a6 6 0 1 0 .1 0z",
    "M12 6a6 6 0 1 0 .1 0z",
)
SCORED = {"unsure": "how sure the head is", "unusual": "how unusual"}
PLAIN = ("label", "split")
SURE = (0.05, 0.2, 0.5, 0.8, 0.95)
RARE = (0.01, 0.05, 0.2, 0.5)  # shares of all points that are more unusual


@dataclass(frozen=True)
class Kind:
    """A line of a legend."""

    slot: int
    name: str
    count: int  # of those that are shown


@dataclass(frozen=True, eq=False)
class Shades:
    """The slot of each point (N,) uint8, HIDDEN where it is not shown, and what the slots mean."""

    key: str
    slots: "np.ndarray"
    kinds: tuple[Kind, ...]
    stepped: bool  # the slots are steps of a scale, and no kinds

    @property
    def colours(self) -> tuple[tuple[str, ...], ...]:
        """By day and by night, of each slot."""
        return STEPS if self.stepped else KINDS

    @property
    def shown(self) -> int:
        """How many points are shown."""
        return sum(kind.count for kind in self.kinds)


def choices(held: dict[str, Any]) -> dict[str, str]:
    """What a map can be coloured by, and how the page names it."""
    columns = {f"column.{one.name}": one.name for one in held["columns"]}
    return {name: name for name in PLAIN} | SCORED | columns


def shades_of(ground: Ground, orders: Orders, by: str, chosen: "np.ndarray | None", key: str) -> Shades:
    """The shades of points by what `choices` has; of those alone that are photos of these rows, or of all.

    Raises:
        PetrieveError: there is no head to say how sure it is.
    """
    import numpy as np

    if by in SCORED:
        slots, names = SCORES[by](np.asarray(orders.score(ground.cache, ground.rows, by))[ground.first])
    else:
        slots, names = _by_values(ground.column_of(by.removeprefix("column.")))
    if chosen is not None:
        slots[~ground.having(chosen)] |= HIDDEN
    counts = np.bincount(slots, minlength=256)
    kinds = tuple(Kind(slot, name, int(counts[slot])) for slot, name in names.items() if counts[slot])
    return Shades(key, slots, kinds, by in SCORED or _is_scale(ground, by))


def _is_scale(ground: Ground, by: str) -> bool:
    return _is_number(ground.cache.photo_schema.field(by.removeprefix("column.")).type)


def _is_number(type_: "pa.DataType") -> bool:
    import pyarrow.types as types

    return any(is_it(type_) for is_it in (types.is_integer, types.is_floating, types.is_date, types.is_timestamp))


def _by_values(said: "pa.ChunkedArray") -> "tuple[np.ndarray, dict[int, str]]":
    """The slot (N,) of each point by its value in a column, and the slots' names."""
    return _steps(said) if _is_number(said.type) else _kinds(said)


def _kinds(said: "pa.ChunkedArray") -> "tuple[np.ndarray, dict[int, str]]":
    """The most frequent values have a slot each, in the order of how frequent they are, whatever is filtered."""
    import numpy as np
    import pyarrow as pa

    whole = said.combine_chunks().dictionary_encode()
    whole = whole if isinstance(whole, pa.DictionaryArray) else whole.combine_chunks()
    codes = whole.indices.fill_null(len(whole.dictionary)).to_numpy(zero_copy_only=False)
    values = [_word(one) for one in whole.dictionary.to_pylist()]
    counts = np.bincount(codes, minlength=len(values) + 1)[: len(values)]
    order = sorted(range(len(values)), key=lambda at: (-counts[at], values[at]))
    slot = np.full(len(values) + 1, OTHER, np.uint8)
    slot[-1] = NONE
    slot[order[:COLOURS]] = np.arange(len(order[:COLOURS]))
    names = {place: values[at] for place, at in enumerate(order[:COLOURS])}
    others = len(values) - len(names)
    return slot[codes], {**names, OTHER: f"{others:,} others", NONE: "none"}


def _steps(said: "pa.ChunkedArray") -> "tuple[np.ndarray, dict[int, str]]":
    """Seven steps of about as many points each; of fewer values one for each."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    dated = pa.types.is_date(said.type) or pa.types.is_timestamp(said.type)
    if dated:
        said = said.cast(pa.timestamp("s")).cast(pa.int64())
    there = said.is_valid().to_numpy()
    numbers = pc.fill_null(said, 0).to_numpy().astype(np.float64)
    there &= np.isfinite(numbers)
    slots = np.full(len(numbers), NONE, np.uint8)
    known = np.sort(numbers[there])
    if not len(known):
        return slots, {NONE: "none"}
    values = np.unique(known)
    bounds = values[1:] if len(values) <= COLOURS else np.unique(np.quantile(known, np.arange(1, COLOURS) / COLOURS))
    slots[there] = np.searchsorted(bounds, numbers[there], "right")
    names = {}
    for slot, part in enumerate(np.split(known, np.searchsorted(known, bounds))):
        if len(part):
            ends = list(dict.fromkeys(_written(one, dated) for one in (part[0], part[-1])))
            names[slot] = " to ".join(ends)
    return slots, {**names, NONE: "none"}


def _written(number: float, dated: bool) -> str:
    import numpy as np

    return str(np.datetime64(int(number), "s").astype("datetime64[D]")) if dated else f"{number:.6g}"


def _word(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _sure(score: "np.ndarray") -> "tuple[np.ndarray, dict[int, str]]":
    """The less probable the head finds a photo's label, the farther from the page."""
    import numpy as np

    ends = [f"{bound:.0%}" for bound in SURE]
    names = [f"below {ends[0]}", *(f"{one} to {two}" for one, two in pairwise(ends))]
    names.append(f"{ends[-1]} and more")
    steps = np.array((6, 5, 4, 3, 1, 0), np.uint8)
    return steps[np.searchsorted(SURE, score, "right")], dict(zip(steps.tolist(), names, strict=True))


def _unusual(score: "np.ndarray") -> "tuple[np.ndarray, dict[int, str]]":
    """The less like its nearest a photo is, the farther from the page."""
    import numpy as np

    names = [f"the most unusual {RARE[0]:.0%}", *(f"the next {b - a:.0%}" for a, b in pairwise(RARE))]
    names.append("the most usual half")
    steps = np.array((6, 5, 4, 2, 0), np.uint8)
    return steps[np.searchsorted(np.quantile(score, RARE), score, "left")], dict(
        zip(steps.tolist(), names, strict=True)
    )


SCORES: "dict[str, Callable[[np.ndarray], tuple[np.ndarray, dict[int, str]]]]" = {"unsure": _sure, "unusual": _unusual}
