"""The workers of a run on a cluster: one in each place that there is, wherever nodes come and go."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from math import ceil
from typing import Any

from petrieve.extractor.engines.cluster import want
from petrieve.extractor.engines.units import Merge, Unit
from petrieve.extractor.engines.worker import Done, Facts, Job, Worker, mismatch
from petrieve.store.errors import PetrieveError

TICK, LOOK = 0.5, 5.0  # seconds between looks: at a run without results, and at nodes that have joined
NOTE, BOUND = 60.0, 600.0  # seconds without anything new, after which a run says what it waits for, and gives up
PATIENCE = 0.1  # seconds more for each photo of a unit, before its worker counts as hung
VOTE = 60.0  # seconds that the choice of a precision waits for other workers after the first has answered
FAILS = 3  # workers of a node in a row that end before any work: then it gets no more
CORES = 16  # of a worker without a GPU at most: one process keeps 16 busy
AT_ONCE = 2  # units of a worker: the next is read and decoded while the last photos of one are embedded
FACTS, LOAD = "facts", "load"
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Slot:
    """Where a worker may be."""

    node: str  # Ray's name of it
    host: str
    cores: int
    number: int  # of those on this node


@dataclass(eq=False)
class Hand:
    """A worker and its tasks, by Ray's references, each with its start."""

    actor: Any
    slot: Slot
    under_way: dict[Any, tuple[Unit | Merge | str, float]] = field(default_factory=dict)
    facts: Facts | None = None
    ready: bool = False
    done: bool = False  # whether it has finished a task
    ended: bool = False
    merged: bool = False  # whether it merged pieces when it ended, which may be why

    def ask(self, reference: Any, what: Unit | Merge | str) -> None:
        """Note a task that it was given."""
        self.under_way[reference] = what, time.monotonic()

    @property
    def tasks(self) -> list[Unit | Merge]:
        """Its tasks."""
        return [one for one, _ in self.under_way.values() if isinstance(one, Unit | Merge)]

    @property
    def units(self) -> list[Unit]:
        """The units that it has."""
        return [one for one, _ in self.under_way.values() if isinstance(one, Unit)]

    @property
    def waits(self) -> bool:
        """Whether it has reported its facts, and has no task."""
        return self.facts is not None and not (self.ready or self.ended or self.under_way)


@dataclass(frozen=True, eq=False)
class Heard:
    """A worker's task and its result: an error if the task failed or the worker ended."""

    hand: Hand
    task: Unit | Merge
    answer: Done | str | Exception
    killed: bool  # whether the task may be the cause: the worker ended, and its node did not


class Crew:
    """The workers of a job, at most `most`; each is made with the job and `shared`."""

    def __init__(self, job: Job, shared: Sequence[Any], precision: str, most: int | None, tell: Tell) -> None:
        self.job, self.precision, self.hands = job, precision, list[Hand]()
        self.moved = time.monotonic()  # when the last result came
        self._shared, self._most, self._tell = shared, most, tell
        self._barred: dict[str, str] = {}  # nodes that get no work, and why
        self._fails: Counter[str] = Counter()
        self._slots = list[Slot]()
        self._looked, self._noted, self._met, self._said = -LOOK, 0.0, 0.0, False
        self._made, self._wanted = count(1), False

    def hire(self) -> None:
        """Start a worker wherever there is room, and load the trunk of those that have reported."""
        if time.monotonic() - self._looked > LOOK:
            self._look()
            self._want()
            taken = {hand.slot for hand in self.hands}
            for slot in self._slots:
                full = self._most is not None and len(self.hands) >= self._most
                if not (full or slot in taken or slot.node in self._barred):
                    self._start(slot)
        if self.precision == "auto":
            self._choose()
        if self.precision != "auto":
            for hand in self.hands:
                if hand.waits:
                    hand.ask(hand.actor.load.remote(self.precision), LOAD)
        if not self._said and self.hands and all(hand.ready for hand in self.hands):
            self._said = True
            self._tell(self._words())

    def _look(self) -> None:
        self._looked, self._slots = time.monotonic(), slots(self.job.device)

    def _choose(self) -> None:
        """Take the precision that most of the first workers choose; one without room to start has no vote."""
        votes = Counter(hand.facts.precision for hand in self.hands if hand.facts and not hand.ended)
        self._met = self._met or (time.monotonic() if votes else 0.0)
        if votes and (all(hand.facts for hand in self.hands) or time.monotonic() - self._met > VOTE):
            self.precision = min(votes, key=lambda one: (-votes[one], one))

    def _words(self) -> str:
        """What the run uses, in one line."""
        hardware = Counter(hand.facts.hardware for hand in self.hands if hand.facts)
        nodes = len({hand.slot.node for hand in self.hands})
        each = ", ".join(f"{count} × {name}" for name, count in sorted(hardware.items()))
        some = f"{nodes} node{'s' * (nodes > 1)}, {len(self.hands)} worker{'s' * (len(self.hands) > 1)}"
        return f"{some} ({each}), {self.precision}"

    def _want(self) -> None:
        """Ask for nodes if `most` is given and exceeds the room: for nodes as large as the present ones."""
        if self._most is not None and len(self._slots) < self._most:
            cores = max((slot.cores for slot in self._slots), default=1)
            self._wanted = True
            want(self._most, {"GPU": 1} if self.job.device == "cuda" else {"CPU": cores})

    def end(self) -> None:
        """End all workers, and ask for no more nodes."""
        for hand in self.hands:
            self.let_go(hand)
        if self._wanted:
            with suppress(Exception):  # the cluster may be gone
                want(0, {})

    def _start(self, slot: Slot) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        made = ray.remote(Worker).options(
            name=f"petrieve embed on {slot.host}, {next(self._made)}",
            num_cpus=slot.cores,
            num_gpus=int(self.job.device == "cuda"),
            max_concurrency=AT_ONCE + 1,
            scheduling_strategy=NodeAffinitySchedulingStrategy(slot.node, soft=False),
        )
        hand = Hand(made.remote(self.job, *self._shared), slot)
        hand.ask(hand.actor.facts.remote(), FACTS)
        self.hands.append(hand)

    def heard(self) -> Iterator[Heard]:
        """The results since the last call, after TICK at most."""
        import ray

        of = {reference: hand for hand in self.hands for reference in hand.under_way}
        if not of:
            time.sleep(TICK)
        elif ray.wait(list(of), timeout=TICK)[0]:
            self.moved = time.monotonic()
            for reference in ray.wait(list(of), num_returns=len(of), timeout=0)[0]:
                hand = of[reference]
                answer = self._answer(hand, reference)
                what, _ = hand.under_way.pop(reference)
                if isinstance(what, Unit | Merge):
                    hand.done = hand.done or isinstance(answer, Done)
                    yield Heard(hand, what, answer, self._may_be_why(hand, what))
                elif what == LOAD:
                    hand.ready = not hand.ended
        self.hands = [hand for hand in self.hands if hand.under_way or not hand.ended]

    def hung(self) -> Iterator[Heard]:
        """The units of hung workers, which are ended."""
        now = time.monotonic()
        for hand in self.hands:
            sizes = [(len(what) if isinstance(what, Unit) else 0, since) for what, since in hand.under_way.values()]
            if any(now - since > BOUND + PATIENCE * size for size, since in sizes):
                tasks = hand.tasks
                self.let_go(hand)
                hand.under_way.clear()  # Ray never reports some tasks that are lost with their node
                yield from (Heard(hand, task, TimeoutError("hangs"), self._may_be_why(hand, task)) for task in tasks)

    def _answer(self, hand: Hand, reference: Any) -> Any:
        """A worker's answer, or its error if it failed or ended."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            answer = ray.get(reference)
        except RayError as error:
            found = error.cause if isinstance(error, RayTaskError) else error
            self._fail(hand, found)
            return found
        if isinstance(answer, Facts):
            hand.facts = answer
            if why := mismatch(answer):
                self._bar(hand, why)
        return answer

    def _fail(self, hand: Hand, error: Exception) -> None:
        """Drop a worker that failed or ended, and its node if no worker there has done anything lately.

        A task that is suspected of ending workers does not count against the node.
        """
        if hand.ended:
            return
        node, suspects = hand.slot.node, any(unit.kills for unit in hand.units)
        self._look()
        self._fails[node] = 0 if hand.done else self._fails[node] + (not suspects)
        if isinstance(error, PetrieveError) and not hand.ready:
            self._bar(hand, str(error))
        elif self._fails[node] >= FAILS:
            self._bar(hand, f"its workers end before they have done anything: {_why(error)}")
        self.let_go(hand)

    def _bar(self, hand: Hand, why: str) -> None:
        if hand.slot.node not in self._barred:
            self._barred[hand.slot.node] = why
            self._tell(f"{hand.slot.host} gets no work: {why}")
        self.let_go(hand)

    def _is_there(self, hand: Hand) -> bool:
        """Whether a worker's node was there when the last worker ended."""
        return any(slot.node == hand.slot.node for slot in self._slots)

    def _may_be_why(self, hand: Hand, task: Unit | Merge) -> bool:
        """Whether a task may have ended its worker: not if its node is gone, nor photos while pieces were merged."""
        return self._is_there(hand) and (isinstance(task, Merge) or not hand.merged)

    def let_go(self, hand: Hand) -> None:
        """End a worker."""
        import ray

        hand.ended, hand.merged = True, hand.merged or len(hand.tasks) > len(hand.units)
        with suppress(Exception):  # it may be gone with its node
            ray.kill(hand.actor)

    def watch(self) -> None:
        """Say what the run waits for, if nothing comes.

        Raises:
            PetrieveError: no node can be used, or for BOUND none had room.
        """
        now = time.monotonic()
        there = {slot.node for slot in self._slots}
        if not self.hands and there and there <= self._barred.keys():
            raise PetrieveError(f"no node can be used: {next(iter(self._barred.values()))}", "see to that first")
        quiet = now - self.moved
        if quiet > BOUND and not any(hand.ready and not hand.ended for hand in self.hands):
            raise PetrieveError(f"for {quiet:.0f} s the run {self._waits()}", "see that the cluster has room for it")
        if now - max(self.moved, self._noted) > NOTE:
            self._noted = now
            self._tell(f"for {quiet:.0f} s the run {self._waits()}")

    def _waits(self) -> str:
        """What the run waits for, in words."""
        at_work = Counter(hand.slot.host for hand in self.hands for _ in hand.units)
        if at_work:
            return "waits for " + ", ".join(f"{units} units on {host}" for host, units in sorted(at_work.items()))
        starting = sorted({hand.slot.host for hand in self.hands})
        if starting:
            return f"waits for workers to start on {', '.join(starting)}"
        return f"waits for a node with {'a GPU' if self.job.device == 'cuda' else 'cores'}"


def _why(error: Exception) -> str:
    """The reason in an error of Ray: its last line; the first lines say where it was raised."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def device(name: str, most: int | None) -> str:
    """The device of a run with `most` workers, if given: `auto` is GPUs where the cluster has one.

    Raises:
        PetrieveError: it names one GPU among others, which a cluster does not know by name; or the cluster has no GPU,
            and without `most` asks for none.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise PetrieveError(f"a cluster has no device {name!r}", 'use `device="cpu"`, `cuda` or `auto`')
    gpus = name != "cpu" and bool(slots("cuda"))
    if name == "cuda" and not gpus and most is None:
        raise PetrieveError(
            "the cluster has no GPU", 'use `device="cpu"`; where an autoscaler can start some, name `workers=…`'
        )
    return ("cuda" if gpus else "cpu") if name == "auto" else name


def slots(device: str) -> list[Slot]:
    """Where in the cluster a worker may be: one for each GPU, or for each CORES cores and what is left of them."""
    import ray

    found = []
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        has = node["Resources"]
        cores, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
        count = gpus if device == "cuda" else ceil(cores / CORES)
        if node["Alive"]:
            each = [(cores + number) // count for number in range(count)]
            found += [Slot(node["NodeID"], node["NodeManagerHostname"], n, k) for k, n in enumerate(each)]
    return found
