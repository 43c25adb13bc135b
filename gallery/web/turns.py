"""Long work beside the event loop: a few at once, a few in line, and nobody waits for ever."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.exceptions import HTTPException

T = TypeVar("T")


class Turns:
    """At most `in_line` requests wait, and further ones are refused; none waits longer than `seconds`."""

    def __init__(self, at_once: int, *, in_line: int, seconds: float, what: str) -> None:
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix=what)
        self._most, self._seconds, self._what = at_once + in_line, seconds, what
        self._taken: set[Future[Any]] = set()

    async def run(self, work: Callable[..., T], *given: Any) -> T:
        """What the work gives. Work that nobody waits for any longer keeps its turn until it ends.

        Raises:
            HTTPException: 503 where too many wait, or this has taken too long.
        """
        self._taken = {one for one in self._taken if not one.done()}
        if len(self._taken) >= self._most:
            raise HTTPException(503, f"too many are waiting for {self._what}: try again in a minute")
        turn = self._threads.submit(work, *given)
        self._taken.add(turn)
        done, _ = await asyncio.wait([asyncio.wrap_future(turn)], timeout=self._seconds)
        if done:
            return turn.result()
        turn.cancel()  # if it has not begun
        raise HTTPException(503, f"{self._what} took longer than {self._seconds:.0f} s, and is not waited for")
