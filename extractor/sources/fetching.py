"""Many requests at once: asked ahead of who needs the answers, within a bound on what waits in memory."""

import atexit
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from typing import Any, Generic, TypeVar

from store.asking import Unreached, trouble_of, unreached, waits
from store.buckets import PATIENCE, parted

Answer = TypeVar("Answer")
Known = TypeVar("Known")
# Requests at once: over 20 ms, 96 of small objects are answered at 4,000 a second.
AT_ONCE = 96
# Of answers that come or wait to be taken: the trunk needs a few hundred photos ahead, and a camera's have 5 MB.
BYTES = 256 << 20
PROBE = 5.0  # seconds between two tries of a bucket that has not answered for as long as a request is tried


class Fetch(Generic[Answer]):
    """An answer that comes when there is room for it; who needs it earlier asks by himself. Dropped, it never comes."""

    def __init__(self, ask: Callable[[], Answer], size: int) -> None:
        self.ask, self.size = ask, size  # bytes
        self.taken = threading.Lock()
        self.answer: Future[Answer] = Future()

    def take(self) -> bool:
        """Whether it is the caller's to ask, and nobody else's."""
        return self.taken.acquire(blocking=False)

    def run(self) -> None:
        """Ask, for who has taken it."""
        try:
            self.answer.set_result(self.ask())
        except BaseException as error:
            self.answer.set_exception(error)

    def result(self) -> Answer:
        """The answer; what `ask` raises is raised."""
        if self.take():
            self.run()
        return self.answer.result()


class Fetching:
    """The requests of this process, first come, first served."""

    def __init__(self, at_once: int = AT_ONCE, room: int = BYTES) -> None:
        self.changed = threading.Condition()
        self.waiting: deque[weakref.ref[Fetch[Any]]] = deque()
        self.held: dict[weakref.ref[Fetch[Any]], int] = {}  # bytes
        self.at_once, self.room, self.filled = at_once, room, 0
        self.threads, self.under_way, self.allowed = 0, 0, float(at_once)
        self.troubled: dict[str, tuple[float, float]] = {}  # by bucket: when it first and when it last failed
        self.requests, self.bytes = 0, 0  # answered so far
        self.landing = threading.Event()
        atexit.register(self._land)

    def ahead(self, ask: Callable[[], Answer], size: int) -> Fetch[Answer]:
        """What will come of a request whose answer has about so many bytes."""
        fetch = Fetch(ask, size)
        with self.changed:
            self.waiting.append(weakref.ref(fetch, self._dropped))
            if self.threads < min(self.at_once, self.under_way + len(self.waiting)):
                self.threads += 1
                threading.Thread(target=self._work, name=f"fetch-{self.threads}", daemon=True).start()
            self.changed.notify()
        return fetch

    def asked(self, address: str, ask: Callable[[], tuple[Known, bytes]]) -> tuple[Known, bytes]:
        """What `ask` gets from a bucket, as `store.asking.asked` does, with fewer requests at once meanwhile.

        A bucket that has not answered for PATIENCE is asked by one now and then, and the others are told so.

        Raises:
            FileNotFoundError, PermissionError, Unreached: as there.
        """
        bucket = parted(address)[0]
        left = waits(PATIENCE.total_seconds())
        while True:
            self._check_answers(bucket)
            try:
                known, data = ask()
            except Exception as error:
                trouble = trouble_of(address, error)
                wait = next(left, None) if isinstance(trouble, Unreached) else None
                if isinstance(trouble, Unreached):
                    self._failed(bucket)
                if wait is None or self.landing.is_set():
                    raise trouble from None
            else:
                self._went_well(bucket, len(data))
                return known, data
            self.landing.wait(wait)

    def _check_answers(self, bucket: str) -> None:
        first, last = self.troubled.get(bucket, (0.0, 0.0))
        if last - first > PATIENCE.total_seconds() and time.monotonic() - last < PROBE:
            raise unreached(bucket, "it has not answered for a while")

    def _failed(self, bucket: str) -> None:
        now = time.monotonic()
        with self.changed:
            first, last = self.troubled.get(bucket, (now, now - 1))
            self.troubled[bucket] = first, now
            if now - last > 0.1:  # of many that fail together, the first says it all
                self.allowed = max(1.0, self.allowed / 2)

    def _went_well(self, bucket: str, size: int) -> None:
        with self.changed:
            self.requests += 1
            self.bytes += size
            self.troubled.pop(bucket, None)
            if self.allowed < self.at_once:
                self.allowed = min(self.at_once, self.allowed + 0.25)
                self.changed.notify()

    def _work(self) -> None:
        while True:
            with self.changed:
                while (fetch := self._next()) is None:
                    self.changed.wait()
                self.under_way += 1
                self.changed.notify()  # there may be room for another
            fetch.run()
            del fetch  # whoever wants it has it
            with self.changed:
                self.under_way -= 1

    def _next(self) -> Fetch[Any] | None:
        """The first that nobody has taken or dropped, if there is room for it."""
        while self.waiting and self.under_way < int(self.allowed) and not self.landing.is_set():
            fetch = self.waiting[0]()
            if fetch is None or fetch.answer.done():
                self.waiting.popleft()
            elif self.filled and self.filled + fetch.size > self.room:
                break
            else:
                own = self.waiting.popleft()
                if fetch.take():
                    self.held[own] = fetch.size
                    self.filled += fetch.size
                    return fetch
        return None

    def _dropped(self, fetch: "weakref.ref[Fetch[Any]]") -> None:
        with self.changed:
            self.filled -= self.held.pop(fetch, 0)
            self.changed.notify()

    def _land(self) -> None:
        """Wait for requests in the air: a thread that came back to an interpreter that has ended would abort it."""
        self.landing.set()
        ends = time.monotonic() + PROBE
        while self.under_way and time.monotonic() < ends:
            time.sleep(0.01)


@cache
def fetching() -> Fetching:
    """The one of this process."""
    return Fetching()
