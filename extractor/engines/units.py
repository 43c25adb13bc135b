"""What a worker is given at a time: photos that lie together, as many as take it some seconds."""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from extractor.sources.held import is_costly
from extractor.sources.source import Part
from extractor.sources.within import narrowed
from store.photo import Photo

Piece = tuple[Part, Sequence[Photo]]


@dataclass(frozen=True, eq=False)
class Unit:
    """Some photos to do, which stay together whatever becomes of the worker that has them."""

    pieces: tuple[Piece, ...]
    known: frozenset[str]  # paths of those that the store has a row of
    kills: int = 0  # how many workers have ended while they had it
    where: str | None = None  # the node of the last of these

    def __len__(self) -> int:
        return sum(len(photos) for _, photos in self.pieces)

    @property
    def photos(self) -> list[Photo]:
        """All its photos, with what is said of them."""
        return [photo for _, photos in self.pieces for photo in photos]


def cut(pieces: Iterable[Piece], known: Container[str], size: Callable[[], int]) -> Iterator[Unit]:
    """These photos in units, each as large as `size` says when it is asked for; what must be read whole stays whole."""
    some, room = list[Piece](), size()
    for part, photos in pieces:
        start = 0
        while start < len(photos):
            taken = photos[start:] if is_costly(part) else photos[start : start + room]
            some.append((narrowed(part, taken), taken))
            start, room = start + len(taken), room - len(taken)
            if room <= 0:
                yield _unit(some, known)
                some, room = [], size()
    if some:
        yield _unit(some, known)


def halves(unit: Unit) -> list[Unit]:
    """The two halves of a unit of two photos and more, which one more kill halves again."""
    first, second = list[Piece](), list[Piece]()
    room = len(unit) // 2
    for part, photos in unit.pieces:
        for half, some in ((first, photos[:room]), (second, photos[room:])):
            if some:
                half.append((narrowed(part, some), some))
        room = max(0, room - len(photos))
    return [replace(_unit(half, unit.known), kills=unit.kills - 1, where=unit.where) for half in (first, second)]


def _unit(pieces: Sequence[Piece], known: Container[str]) -> Unit:
    paths = (photo.path for _, photos in pieces for photo in photos)
    return Unit(tuple(pieces), frozenset(path for path in paths if path in known))
