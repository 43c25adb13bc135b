"""Units of work: photos that lie together, as many as a worker embeds in some seconds."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from petrieve.extractor.sources.read_once import is_costly
from petrieve.extractor.sources.source import Part
from petrieve.extractor.sources.subfolder import narrowed
from petrieve.store.photo import Columns, Photo, in_columns

Piece = tuple[Part, Sequence[Photo]]  # photos of a part to embed, annotated
Among = Callable[[Sequence[str]], frozenset[str]]  # those of some paths that a store knows


@dataclass(frozen=True, eq=False)
class Unit:
    """Photos to embed, which stay together whatever happens to their worker; kept as they are sent."""

    parts: tuple[tuple[Part, int], ...]  # without their photos, each with the number of these
    columns: Columns
    known: frozenset[str]  # paths of those that the store has a row of
    kills: int = 0  # how many workers have ended while they had it
    where: str | None = None  # the node of the last of these

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def photos(self) -> list[Photo]:
        """All its photos, annotated."""
        return self.columns.photos()

    @property
    def pieces(self) -> list[Piece]:
        """Its photos in the parts in which they are read."""
        left = iter(self.photos)
        taken = ((part, tuple(islice(left, count))) for part, count in self.parts)
        return [(narrowed(part, photos), photos) for part, photos in taken]


@dataclass(frozen=True)
class Merge:
    """Pieces of the table of embeddings that a worker makes one of: a task of `store.pieces`."""

    task: str


def cut(pieces: Iterable[Piece], known: Among, size: Callable[[], int]) -> Iterator[Unit]:
    """These photos in units of `size()` photos each; what must be read whole stays together."""
    some, room = list[Piece](), size()
    for part, photos in pieces:
        whole, start = is_costly(part), 0
        while start < len(photos):
            taken = photos if whole else photos[start : start + room]
            some.append((part, taken))
            start, room = start + len(taken), room - len(taken)
            if room <= 0:
                yield _unit(some, known)
                some, room = [], size()
    if some:
        yield _unit(some, known)


def halves(unit: Unit) -> list[Unit]:
    """The halves of a unit of two photos or more; one more kill halves them again."""
    first, second = list[Piece](), list[Piece]()
    room = len(unit) // 2
    for part, photos in unit.pieces:
        for half, some in ((first, photos[:room]), (second, photos[room:])):
            if some:
                half.append((part, some))
        room = max(0, room - len(photos))
    return [
        replace(_unit(half, unit.known.intersection), kills=unit.kills - 1, where=unit.where)
        for half in (first, second)
    ]


def _unit(pieces: Sequence[Piece], known: Among) -> Unit:
    photos = [photo for _, some in pieces for photo in some]
    parts = tuple((narrowed(part, ()), len(some)) for part, some in pieces)
    return Unit(parts, in_columns(photos), known([photo.path for photo in photos]))
