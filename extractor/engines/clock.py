"""The time that each stage of a run takes: reading, decoding, the trunk."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import ParamSpec, TypeVar

Item = TypeVar("Item")
Out = TypeVar("Out")
Given = ParamSpec("Given")


@dataclass(eq=False)
class Clock:
    """Seconds that each stage was busy, summed over its threads."""

    seconds: Counter[str] = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Count the time of the `with` block for this stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[stage] += time.perf_counter() - started  # type: ignore[assignment]

    def timed(self, stage: str, make: Callable[Given, Out]) -> Callable[Given, Out]:
        """The same function, with the time of its calls counted."""

        def counted(*args: Given.args, **kwargs: Given.kwargs) -> Out:
            with self.during(stage):
                return make(*args, **kwargs)

        return counted

    def each(self, stage: str, items: Iterable[Item]) -> Iterator[Item]:
        """The same items, with the time to get each counted."""
        left = iter(items)
        while True:
            with self.during(stage):
                try:
                    item = next(left)
                except StopIteration:
                    return
            yield item

    def shares(self, **threads: int) -> dict[str, float]:
        """Seconds that each stage was busy, divided by its number of threads, one unless given."""
        return {stage: seconds / threads.get(stage, 1) for stage, seconds in self.seconds.items()}
