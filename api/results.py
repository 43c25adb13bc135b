"""What a store answers: frozen, printed as the commands print it, and a table or pictures where one wants them."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, overload

from petrieve.gallery import answers, cards, terminal, words
from petrieve.gallery.tables import Aside
from petrieve.store.errors import not_installed
from petrieve.store.photo import path_of

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from petrieve.classifier.auditing.audit import Finding
    from petrieve.index.question import Match

MAX_LINES = 60  # lines that a notebook shows unasked
Row = dict[str, Any]
Picture = Callable[[str], "Image.Image | None"]
One = TypeVar("One", covariant=True)


def pandas() -> Any:
    """The module pandas, which is not among what Petrieve brings.

    Raises:
        PetrieveError: it is not installed.
    """
    try:
        return import_module("pandas")
    except ImportError:
        raise not_installed("a table", "pandas") from None


class Shown:
    """A frozen dataclass that prints as its command does; what a field cannot be compared by is not part of it."""

    @staticmethod
    def say(document: Any, /) -> Iterable[str]:
        """The lines of a document."""
        raise NotImplementedError

    def document(self) -> Any:
        """What the command prints with `--json`: plain lists, dicts, numbers and texts."""
        own = fields(self)  # type: ignore[arg-type]
        hidden = {one.name: None for one in own if not one.compare}
        plain = asdict(replace(self, **hidden))  # type: ignore[type-var, call-overload]
        return {name: value for name, value in plain.items() if name not in hidden}

    def lines(self) -> Iterable[str]:
        """What the command prints."""
        return self.say(self.document())

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def __repr__(self) -> str:
        first = list(islice(self.lines(), MAX_LINES + 1))
        return "\n".join(first[:MAX_LINES] + ["… `print` shows all"] * (len(first) > MAX_LINES))

    def to_pandas(self) -> "pd.DataFrame":
        """A table: a row for each thing that was found, or one row; where rows are photos, `path` is where each is.

        Raises:
            PetrieveError: pandas is not installed.
        """
        return pandas().DataFrame(self._table(), columns=self._columns())

    def _table(self) -> list[Row]:
        return [self.document()]

    def _columns(self) -> list[str] | None:
        """Of the table, also where it has no row; None where it always has one."""
        return None


def located(one: Any) -> Row:
    """The row of a table that a photo's dataclass makes, with its `path` before all else."""
    return {"path": one.path, **asdict(one)}


def columns_of(kind: Any) -> list[str]:
    """The keys of what `located` makes of this dataclass."""
    return ["path", *(one.name for one in fields(kind))]


class Many(Shown, Sequence[One]):
    """A sequence of what was found, in its order."""

    rows: tuple[One, ...]

    @overload
    def __getitem__(self, at: int) -> One: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[One, ...]: ...
    def __getitem__(self, at: int | slice) -> One | tuple[One, ...]:
        """The one at a place, counted from 0, or those of a slice."""
        return self.rows[at]

    def __len__(self) -> int:
        return len(self.rows)

    def _table(self) -> list[Row]:
        return [located(one) for one in self.rows]

    @staticmethod
    def _kind() -> type:
        """The dataclass of each."""
        raise NotImplementedError

    def _columns(self) -> list[str]:
        return columns_of(self._kind())


@dataclass(frozen=True, repr=False)
class Info(Shown):
    """What a store holds."""

    photos: int
    gone: int
    views: int
    labels: dict[str, int]
    splits: dict[str, int]
    unreadable: list[Row]  # photo, reason
    caveats: list[Row]  # photo, caveat
    fingerprint: str
    weights: str
    trunk: str
    trunks: list[str]
    better: str | None  # the command that embeds with ImageNet's weights, where the bundled trunk was used
    head: Row | None  # None where none was fitted
    index: Row
    map: Row | None  # None where none was made
    say = staticmethod(terminal.contents)


@dataclass(frozen=True, repr=False)
class Prediction:
    """What is in a photo; where it cannot be read, `error` says why and the rest is empty."""

    photo: str  # below its root
    root: str
    label: str | None = None
    probability: float | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    unsure: bool = False
    unfamiliar: bool = False
    error: str | None = None

    @property
    def path(self) -> str:
        """Where the photo is, as `path` of every answer has it: its root and `photo` together."""
        return path_of(self.root, self.photo)

    def __repr__(self) -> str:
        values = {"path": self.path, **vars(self)}
        return f"Prediction({', '.join(f'{name}={value!r}' for name, value in values.items())})"


@dataclass(frozen=True, repr=False)
class Predictions(Many[Prediction]):
    """What is in photos, in the order in which `embed` would take them in."""

    rows: tuple[Prediction, ...]
    say = staticmethod(answers.predicted)

    def document(self) -> list[Row]:
        """What the command prints with `--json`."""
        return [_prediction(one) for one in self.rows]

    @staticmethod
    def _kind() -> type:
        return Prediction


def _prediction(one: Prediction) -> Row:
    if one.error is not None:
        return {"photo": one.photo, "root": one.root, "error": one.error}
    return {name: value for name, value in asdict(one).items() if name != "error"}


@dataclass(frozen=True, repr=False)
class Neighbours(Many["Match"]):
    """The photos most like a pet, best first; a notebook shows them."""

    rows: "tuple[Match, ...]"
    photos: tuple[str, ...]  # that were asked about, by the names that they were given
    left_out: tuple[str, ...]  # paths of the same photo
    grouped: bool
    picture: Picture | None = field(compare=False)
    say = staticmethod(answers.neighbours)

    def document(self) -> Row:
        """What the command prints with `--json`."""
        named = {"photo": self.photos[0]} if len(self.photos) == 1 else {"photos": list(self.photos)}
        return {**named, "neighbours": answers.matches(self.rows, grouped=self.grouped)}

    def lines(self) -> Iterator[str]:
        """What the command prints."""
        yield from super().lines()
        if self.left_out:
            same = ", ".join(map(words.name, self.left_out))
            yield Aside(f"left out, being the same photo: {words.printable(same)}")

    @staticmethod
    def _kind() -> type:
        from petrieve.index.question import Match

        return Match

    def _repr_html_(self) -> str:
        asked = [(name, "the photo", os.path.basename(name)) for name in self.photos]
        found = [(one.photo, *cards.neighbour(one)) for one in self.rows]
        return cards.cards([*asked, *found], self.picture, framed=self.photos) + ("" if found else cards.NOTHING)


@dataclass(frozen=True, repr=False)
class Audit(Many["Finding"]):
    """All labelled photos, the worst first; a notebook shows those that are worth a look."""

    rows: "tuple[Finding, ...]"
    of: int  # labelled photos, of which those in `rows` were looked at
    found: dict[str, int]  # how many of each kind
    expected_wrong: float  # about how many of the labels are wrong
    picture: Picture | None = field(compare=False)
    say = staticmethod(answers.audited)

    def document(self) -> Row:
        """What the command prints with `--json`."""
        ranked = [
            {**asdict(one), "photo": words.name(one.photo), "copies": {k: words.name(v) for k, v in one.copies.items()}}
            for one in self.rows
        ]
        found = {"found": self.found, "expected_wrong": self.expected_wrong}
        return {"photos": len(self), "of": self.of, **found, "ranked": ranked}

    def worst(self) -> "list[Finding]":
        """Those that something was found on."""
        return [one for one in self.rows if one.kinds]

    @staticmethod
    def _kind() -> type:
        from petrieve.classifier.auditing.audit import Finding

        return Finding

    def _repr_html_(self) -> str:
        return cards.cards([(one.photo, *cards.finding(one)) for one in self.worst()], self.picture)


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """Several trunks side by side on the same labels."""

    measured_on: int  # photos that all were measured on
    trunks: list[Row]
    say = staticmethod(answers.compared)

    def _table(self) -> list[Row]:
        return self.trunks


@dataclass(frozen=True, repr=False)
class IndexCard(Shown):
    """The kind and size of an index, whether it fits the embeddings, and what is known of it."""

    kind: str | None
    photos: int
    fits: bool
    figures: Row
    say = staticmethod(terminal.index)

    def document(self) -> Row:
        """What the command prints with `--json`."""
        return {"kind": self.kind, "photos": self.photos, "fits": self.fits, **self.figures}


@dataclass(frozen=True, repr=False)
class MapCard(Shown):
    """How photos were laid out in the plane, and how many: contents, each once."""

    method: str
    contents: int
    seconds: float
    say = staticmethod(terminal.mapped)


@dataclass(frozen=True, repr=False)
class Exported(Shown):
    """What was written for use elsewhere, and what is known of it."""

    written: str
    figures: Row
    say = staticmethod(terminal.exported)

    def document(self) -> Row:
        """What the command prints with `--json`."""
        return {"written": self.written, **self.figures}


@dataclass(frozen=True, repr=False)
class Imported(Shown):
    """How many photos' embeddings a store has now of an import."""

    store: str
    photos: int
    say = staticmethod(terminal.imported)


@dataclass(frozen=True, repr=False)
class Page(Shown):
    """The page that was written about a head."""

    file: str
    size_bytes: int
    photos: int  # that were looked at
    of: int  # labelled ones
    mistakes: int
    suspects: int
    say = staticmethod(answers.reported)


@dataclass(frozen=True, repr=False)
class Sample(Shown):
    """Where photos to try things with were put."""

    folder: str
    photos: int
    say = staticmethod(terminal.sampled)
