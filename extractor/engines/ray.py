"""Parts of sources → written results, by workers of a Ray cluster; the driver, which alone commits, is told of them.

Actors of Ray Core, and not Ray Data: to do each photo once, to halve what kills a worker and to commit from one place,
a run must know which photos each call had and what became of it.
"""

import time
from collections import deque
from collections.abc import Container, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from extractor.engines.crew import AT_ONCE, Crew, Hand, Tell
from extractor.engines.units import Piece, Unit, cut, halves
from extractor.engines.worker import Done, Job
from store.forgotten import Lost
from store.known import Embeddings

if TYPE_CHECKING:
    from torch import Tensor

# Photos of the first units, so that results come soon, and of the largest; and the seconds that those between take:
# the way there and back is short beside them, and a kill costs no more.
FEWEST, MOST, SECONDS = 64, 16_384, 10.0
WINDOW, PIECES = 2.0, 64  # seconds, and written pieces, after which what has come is committed
KILLS = 2  # workers that a unit ends before it is halved
REASON = "ends the process that reads it"


@dataclass(frozen=True, eq=False)
class Window:
    """What is to be committed at once: nothing where nothing has come, so that a run may stop."""

    done: Sequence[Done] = ()
    blamed: Sequence[Unit] = ()  # single photos that end their workers


@dataclass(eq=False)
class Work:
    """The units of a run: those to come, and those to be done again."""

    units: Iterator[Unit]
    total: int  # photos
    size: int = FEWEST  # of the next unit, in photos
    taken: int = 0
    again: deque[Unit] = field(default_factory=deque)
    through: bool = False

    @property
    def over(self) -> bool:
        """Whether there is nothing more to give."""
        return self.through and not self.again

    def next(self, hand: Hand) -> Unit | None:
        """What a worker is to do next; None where it has enough. What may kill it is done by it alone."""
        alone = bool(self.again) and self.again[0].kills > 0
        suspect = any(unit.kills for unit in hand.units)
        if hand.ended or suspect or len(hand.units) >= (1 if alone else AT_ONCE):
            return None
        unit = self.again.popleft() if self.again else next(self.units, None)
        if unit:
            self.taken += len(unit)
        else:
            self.through = True
        return unit

    def lost(self, unit: Unit, *, killed: bool) -> list[Unit]:
        """Have a unit done again whose worker has ended: in halves if it has killed another; one photo is blamed."""
        self.taken -= len(unit)
        unit = replace(unit, kills=unit.kills + killed)
        if unit.kills >= KILLS and len(unit) == 1:
            return [unit]
        self.again.extend(halves(unit) if unit.kills >= KILLS else [unit])
        return []

    def measure(self, unit: Unit, seconds: float, workers: int) -> None:
        """Make the next units as large as SECONDS are long, and the last ones small."""
        wanted = min(round(len(unit) / seconds * SECONDS), 4 * self.size, MOST)
        last = (self.total - self.taken) // (AT_ONCE * max(1, workers))
        self.size = max(FEWEST, min(wanted, last))


def results(
    pieces: Iterable[Piece],
    known: Container[str],
    total: int,
    *,
    job: Job,
    weights: "dict[str, Tensor]",
    there: Embeddings,
    lost: Lost,
    precision: str,
    workers: int | None,
    tell: Tell,
) -> Generator[Window, None, None]:
    """What comes of these photos, WINDOW by WINDOW and in any order: their embeddings are written, and not committed.

    Raises:
        PetrieveError: nobody in the cluster can do it, or nobody can anywhere.
    """
    import ray

    crew = Crew(job, [ray.put(one) for one in (weights, there, lost)], precision, workers, tell)
    work = Work(iter(()), total)
    work.units = cut(pieces, known, lambda: work.size)
    try:
        yield from _windows(_turns(crew, work))
    finally:
        crew.end()


def _turns(crew: Crew, work: Work) -> Iterator[Window]:
    """What has come at each turn, until all is done."""
    while not work.over or any(hand.units for hand in crew.hands):
        crew.hire()
        for hand in sorted(crew.hands, key=lambda one: len(one.under_way)):
            while hand.ready and (unit := work.next(hand)):
                hand.ask(hand.actor.embed.options(name=f"embed {len(unit):,} photos").remote(unit), unit)
        done, blamed = list[Done](), list[Unit]()
        for one in crew.heard():
            if one.answer:
                done.append(one.answer)
                work.measure(one.unit, one.answer.seconds, len(crew.hands))
            else:
                blamed += work.lost(one.unit, killed=not crew.went(one.hand))
        crew.watch()
        yield Window(done, blamed)


def _windows(turns: Iterable[Window]) -> Iterator[Window]:
    """What has come, together with what comes soon after it: each commit costs, and so does each look of a run."""
    done, blamed = list[Done](), list[Unit]()
    last = time.monotonic()
    for turn in turns:
        done += turn.done
        blamed += turn.blamed
        pieces = sum(len(one.written.pieces) for one in done)
        if time.monotonic() - last > WINDOW or pieces > PIECES:
            yield Window(done, blamed)
            done, blamed, last = [], [], time.monotonic()
    yield Window(done, blamed)
