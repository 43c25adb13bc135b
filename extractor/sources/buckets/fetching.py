"""Many requests at once: asked ahead of who needs the answers, within a bound on what waits in memory."""

import atexit
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from itertools import count
from typing import Any, Generic, TypeVar

from petrieve.store import asking
from petrieve.store.asking import Unreached, trouble_of, unreached, wait_after, waits
from petrieve.store.buckets import parted

Answer = TypeVar("Answer")
Known = TypeVar("Known")
# Requests at once: over 20 ms, 96 of small objects are answered at 4,000 a second.
AT_ONCE = 96
# Of answers under way or not yet taken: the trunk needs a few hundred photos ahead, and a camera's have 5 MB.
BYTES = 256 << 20
PROBE = 5.0  # seconds between two tries of a bucket that has stopped answering


class Fetch(Generic[Answer]):
    """A request that waits for room; who needs the answer earlier sends it himself. If dropped, it is never sent."""

    def __init__(self, line: "Fetching", ask: Callable[[], Answer], size: int) -> None:
        self.line, self.ask, self.size = line, ask, size  # bytes
        self.taken = threading.Lock()
        self.answer: Future[Answer] = Future()
        self.number = number = next(line.numbers)
        self.own = weakref.ref(self, lambda _: line.dropped.append(number))

    def take(self) -> bool:
        """Take the request; whether nobody else has taken it."""
        return self.taken.acquire(blocking=False)

    def run(self) -> None:
        """Send the request, for who has taken it."""
        try:
            self.answer.set_result(self.ask())
        except BaseException as error:
            self.answer.set_exception(error)

    def failed(self) -> bool:
        """Whether it has raised."""
        return self.answer.done() and self.answer.exception() is not None

    def result(self) -> Answer:
        """The answer, whose room is freed; errors of `ask` are raised."""
        if self.take():
            self.run()
        try:
            return self.answer.result()
        finally:
            self.line.make_room(self.number)


class Fetching:
    """The requests of this process, first come, first served."""

    def __init__(self, at_once: int = AT_ONCE, room: int = BYTES) -> None:
        lock = threading.RLock()
        self.work, self.turn = threading.Condition(lock), threading.Condition(lock)
        self.waiting: deque[weakref.ref[Fetch[Any]]] = deque()
        self.numbers = count()
        self.held: dict[int, int] = {}  # bytes of answers under way or not yet taken, by number
        self.dropped: deque[int] = deque()
        self.at_once, self.room, self.filled = at_once, room, 0
        self.threads, self.busy, self.under_way, self.allowed = 0, 0, 0, float(at_once)
        self.troubled: dict[str, tuple[float, float]] = {}  # by bucket: when it first and when it last failed
        self.requests, self.bytes = 0, 0  # answered so far
        self.landing = threading.Event()
        atexit.register(self._land)

    def ahead(self, ask: Callable[[], Answer], size: int) -> Fetch[Answer]:
        """A request that is sent ahead, whose answer has about `size` bytes."""
        fetch = Fetch(self, ask, size)
        with self.work:
            self.waiting.append(fetch.own)
            if self.threads < min(self.at_once, self.busy + len(self.waiting)):
                self.threads += 1
                threading.Thread(target=self._work, name=f"fetch-{self.threads}", daemon=True).start()
            self.work.notify()
        return fetch

    def make_room(self, taken: int) -> None:
        """Free the room of what was taken or dropped."""
        with self.work:
            gone = [taken, *(self.dropped.popleft() for _ in range(len(self.dropped)))]
            self.filled -= sum(self.held.pop(one, 0) for one in gone)
            self.work.notify()

    def asked(self, address: str, ask: Callable[[], tuple[Known, bytes]]) -> tuple[Known, bytes]:
        """The answer of `ask` from a bucket, as by `store.asking.asked`; while it waits, fewer requests are sent at
        once.

        A bucket that has not answered for PATIENCE is asked by one request now and then; the others fail at once.

        Raises:
            FileNotFoundError, PermissionError, Unreached: as there.
        """
        bucket = parted(address)[0]
        left = waits()
        trouble: Exception | None = None
        while True:
            if not self._begin(bucket):
                raise trouble or unreached(bucket, "it has not answered for a while")
            try:
                known, data = ask()
            except Exception as error:
                trouble = trouble_of(address, error)
                self._end(bucket, None if isinstance(trouble, Unreached) else 0)
                wait = wait_after(trouble, left)
                if wait is None or self.landing.is_set():
                    raise trouble from None
            else:
                self._end(bucket, len(data))
                return known, data
            self.landing.wait(wait)

    def answered_so_far(self) -> tuple[int, int]:
        """How many requests, and how many bytes."""
        return self.requests, self.bytes

    def rates(self, before: tuple[int, int], seconds: float) -> dict[str, float] | None:
        """Requests and bytes a second that were answered since `before`; None if none was."""
        requests, size = self.requests - before[0], self.bytes - before[1]
        if not requests:
            return None
        return {"requests_per_second": round(requests / seconds, 1), "bytes_per_second": round(size / seconds)}

    def answered(self, bucket: str) -> None:
        """Note that a bucket can be reached."""
        with self.turn:
            self.troubled.pop(bucket, None)

    def _begin(self, bucket: str) -> bool:
        """Wait for a turn; False if there is none, because this bucket has not answered for too long."""
        with self.turn:
            while self.under_way >= int(self.allowed):
                self.turn.wait()
            first, last = self.troubled.get(bucket, (0.0, 0.0))
            if last - first > asking.PATIENCE and time.monotonic() - last < PROBE:
                self.turn.notify()
                return False
            self.under_way += 1
            return True

    def _end(self, bucket: str, size: int | None) -> None:
        """Record an answer of `size` bytes, or a failure."""
        now = time.monotonic()
        with self.turn:
            self.under_way -= 1
            if size is None:
                first, last = self.troubled.get(bucket, (now, now - 1))
                self.troubled[bucket] = first, now
                if now - last > 0.1:  # of many that fail together, the first says it all
                    self.allowed = max(1.0, self.allowed / 2)
            else:
                self.requests, self.bytes = self.requests + 1, self.bytes + size
                self.answered(bucket)
                self.allowed = min(self.at_once, self.allowed + 0.25)
            self.turn.notify(2)

    def _work(self) -> None:
        while True:
            with self.work:
                while (fetch := self._next()) is None:
                    self.work.wait()
                self.busy += 1
                self.work.notify()  # there may be room for another
            fetch.run()
            del fetch  # its user has a reference
            with self.work:
                self.busy -= 1

    def _next(self) -> Fetch[Any] | None:
        """The first request that is neither taken nor dropped, if there is room for it."""
        while self.waiting and not self.landing.is_set():
            fetch = self.waiting[0]()
            if fetch is not None and self.filled and self.filled + fetch.size > self.room:
                break
            self.waiting.popleft()
            if fetch is not None and fetch.take():
                self.held[fetch.number] = fetch.size
                self.filled += fetch.size
                return fetch
        return None

    def _land(self) -> None:
        """Wait for requests under way: a thread that came back to an interpreter that has ended would abort it."""
        self.landing.set()
        ends = time.monotonic() + PROBE
        while self.under_way and time.monotonic() < ends:
            time.sleep(0.01)


@cache
def fetching() -> Fetching:
    """The `Fetching` of this process."""
    return Fetching()
