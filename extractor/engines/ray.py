"""Parts of sources → written results, by workers of a Ray cluster; only the driver commits them.

Actors of Ray Core, not Ray Data: a run must know the photos and the outcome of each call, to embed each photo once, to
halve a unit that kills a worker, and to commit from one place.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from petrieve.extractor.engines.crew import AT_ONCE, Crew, Hand, Heard, Tell
from petrieve.extractor.engines.units import Among, Merge, Piece, Unit, cut, halves
from petrieve.extractor.engines.worker import Done, Job
from petrieve.store.errors import PetrieveError, first_line
from petrieve.store.forgotten import Lost
from petrieve.store.known import Embeddings

if TYPE_CHECKING:
    from torch import Tensor

# Photos of the first units, so that results come soon, and of the largest; and the seconds that a unit should take:
# long beside the way there and back, and all that a kill costs.
MIN_UNIT, MAX_UNIT, UNIT_SECONDS = 64, 16_384, 10.0
WINDOW, PIECES = 2.0, 64  # seconds, and written pieces, after which results are committed
KILLS = 2  # workers that a unit ends before it is halved; a photo alone, which halving has found, ends one more
REASON = "ends the process that reads it"
GOES_ON = "run the command again when it is there, or on another: what was committed stays"


@dataclass(frozen=True, eq=False)
class Window:
    """Results to commit together; empty if nothing has come, so that a run may stop."""

    done: Sequence[Done] = ()
    blamed: Sequence[Unit] = ()  # single photos that end their workers
    merged: Sequence[str] = ()  # results of the tasks of one call of `merges`
    lost: bool = False  # whether a worker may have written pieces that it did not report


@dataclass(eq=False)
class Merging:
    """Merging of the table's pieces by workers, beside their work: one round of tasks after the other."""

    plan: Callable[[], list[str]]
    waiting: deque[Merge] = field(default_factory=deque)
    under_way: int = 0
    fails: int = 0  # of workers whose nodes are still there
    merged: list[str] = field(default_factory=list)

    @property
    def busy(self) -> bool:
        """Whether a round is under way."""
        return bool(self.waiting or self.under_way)

    def begin(self) -> None:
        """Plan a round, unless one is under way."""
        if not self.busy and self.fails < KILLS:
            self.waiting.extend(map(Merge, self.plan()))

    def give(self, hand: Hand) -> None:
        """Give a worker something to merge if it has room."""
        if self.waiting and len(hand.tasks) < AT_ONCE:
            task = self.waiting.popleft()
            self.under_way += 1
            hand.ask(hand.actor.merge.options(name="merge pieces").remote(task.task), task)

    def heard(self, heard: Heard) -> list[str]:
        """The results of the round, if this was its last task; a lost task is planned again.

        If merging itself fails, it is left to the end of the run.
        """
        self.under_way -= 1
        if isinstance(heard.answer, str):
            self.merged.append(heard.answer)
        else:
            self.fails += heard.killed
        if self.busy:
            return []
        merged, self.merged = self.merged, []
        return merged


@dataclass(eq=False)
class Work:
    """The units of a run: those to come, and those to be done again."""

    units: Iterator[Unit]
    total: int  # photos
    size: int  # of the next unit, in photos
    taken: int = 0
    again: deque[Unit] = field(default_factory=deque)
    through: bool = False

    @property
    def over(self) -> bool:
        """Whether no unit is left."""
        return self.through and not self.again

    def next(self, hand: Hand, nodes: Collection[str]) -> Unit | None:
        """The next unit of a worker on one of these nodes; None if it has enough.

        A unit that has ended a worker is given alone, and to another node if there is one: the node may be the cause.
        """
        if len(hand.units) >= AT_ONCE or any(unit.kills for unit in hand.units):
            return None
        here = [one for one in self.again if one.where != hand.slot.node or len(nodes) == 1]
        if here and here[0].kills and hand.units:
            return None
        if here:
            self.again.remove(here[0])
        unit = here[0] if here else next(self.units, None)
        if unit:
            self.taken += len(unit)
        else:
            self.through = True
        return unit

    def lost(self, unit: Unit, heard: Heard) -> list[Unit]:
        """Queue a unit again, in halves if it has ended KILLS workers; a single photo is then blamed.

        Raises:
            PetrieveError: several workers raise it for this unit.
        """
        self.taken -= len(unit)
        if heard.killed:
            unit = replace(unit, kills=unit.kills + 1, where=heard.hand.slot.node)
        if unit.kills >= KILLS and isinstance(heard.answer, PetrieveError):
            raise heard.answer
        if unit.kills > KILLS and len(unit) == 1:
            return [unit]
        self.again.extend(halves(unit) if unit.kills >= KILLS and len(unit) > 1 else [unit])
        return []

    def measure(self, unit: Unit, seconds: float, workers: int) -> None:
        """Make the next units as large as UNIT_SECONDS are long, and the last ones small."""
        wanted = min(round(len(unit) / seconds * UNIT_SECONDS), 4 * self.size, MAX_UNIT)
        last = (self.total - self.taken) // (AT_ONCE * max(1, workers))
        self.size = max(MIN_UNIT, min(wanted, last))


def results(
    pieces: Iterable[Piece],
    known: Among,
    total: int,
    *,
    job: Job,
    weights: "dict[str, Tensor]",
    there: Embeddings,
    lost: Lost,
    precision: str,
    workers: int | None,
    merges: Callable[[], list[str]],
    tell: Tell,
) -> Generator[Window, None, None]:
    """Results of these photos, a WINDOW at a time and in any order: their embeddings are written, not committed.

    `merges` is called after each and says which pieces of the table workers can merge.

    Raises:
        PetrieveError: no worker can do it, or the cluster fails.
    """
    import ray
    from ray.exceptions import RayError

    work = Work(iter(()), total, MIN_UNIT)
    work.units, merging = cut(pieces, known, lambda: work.size), Merging(lambda: [] if work.over else merges())
    crew = Crew(job, [ray.put(one) for one in (weights, there, lost)], precision, workers, tell)
    try:
        yield from _windows(_turns(crew, work, merging), merging)
    except (RayError, ConnectionError) as error:
        raise PetrieveError(f"the cluster fails: {first_line(error)}", GOES_ON) from error
    finally:
        crew.end()


def _turns(crew: Crew, work: Work, merging: Merging) -> Iterator[Window]:
    """The results of each turn, until all is done."""
    while not work.over or merging.busy or any(hand.units for hand in crew.hands):
        crew.hire()
        ready = [hand for hand in crew.hands if hand.ready and not hand.ended]
        nodes = {hand.slot.node for hand in ready}
        for hand in sorted(ready, key=lambda one: len(one.under_way)):
            merging.give(hand)
            while unit := work.next(hand, nodes):
                hand.ask(hand.actor.embed.options(name=f"embed {len(unit):,} photos").remote(unit), unit)
        done, blamed, merged, lost = list[Done](), list[Unit](), list[str](), False
        for one in [*crew.heard(), *crew.hung()]:
            lost = lost or isinstance(one.answer, Exception)
            if isinstance(one.task, Merge):
                merged += merging.heard(one)
            elif isinstance(one.answer, Done):
                done.append(one.answer)
                work.measure(one.task, one.answer.seconds, len(crew.hands))
            else:
                blamed += work.lost(one.task, one)
        crew.watch()
        yield Window(done, blamed, merged, lost)


def _windows(turns: Iterable[Window], merging: Merging) -> Iterator[Window]:
    """Results, joined with those that come soon after: each commit costs, and so does each look of a run."""
    some, last = list[Window](), time.monotonic()
    for turn in turns:
        some.append(turn)
        pieces = sum(len(one.written.pieces) for each in some for one in each.done)
        if time.monotonic() - last > WINDOW or pieces > PIECES:
            yield _together(some)
            merging.begin()
            some, last = [], time.monotonic()
    yield _together(some)


def _together(some: Sequence[Window]) -> Window:
    """Several windows as one."""
    return Window(
        [done for one in some for done in one.done],
        [unit for one in some for unit in one.blamed],
        [merged for one in some for merged in one.merged],
        any(one.lost for one in some),
    )
