"""How far a run is: a bar in a terminal, lines in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS = 30  # between two lines of a run that nobody watches
Listing = Callable[[int], None]  # photos found so far
Progress = Callable[[int, int, int], None]  # photos done, photos in all, bytes read
Draw = tuple[Listing | None, Progress | None]


def watched(words: str) -> None:
    """Say on stderr what a command is at, where it is a terminal that somebody watches."""
    if sys.stderr.isatty():
        print(words, file=sys.stderr, flush=True)


@contextmanager
def progress(quiet: bool) -> Iterator[Draw]:
    """Two callbacks: while photos are listed, and then while they are embedded.

    They draw a bar with rate and time left on stderr; a line now and then where stderr is not a terminal.
    """
    try:
        with _bar(quiet) as draw:
            yield draw
    except KeyboardInterrupt:
        print("interrupted: what was committed stays, and the next `embed` goes on from there", file=sys.stderr)
        raise


@contextmanager
def _bar(quiet: bool) -> Iterator[Draw]:
    if quiet:
        yield None, None
        return
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("listing", total=None)
        begin, rate = _clock()

        def listing(found: int) -> None:
            begin()
            bar.update(task, completed=found, description="listing")

        def draw(done: int, total: int, size_bytes: int) -> None:
            bar.update(task, completed=done, total=total, description=f"embedding, {rate(done, size_bytes)}")

        yield listing, draw


def _lines() -> Draw:
    """Callbacks that say on stderr how far a run is, every SECONDS: for logs."""
    said = time.perf_counter()
    begin, rate = _clock()

    def say(words: Callable[[], str]) -> None:
        nonlocal said
        if time.perf_counter() - said >= SECONDS:
            said = time.perf_counter()
            print(words(), file=sys.stderr, flush=True)

    def listing(found: int) -> None:
        begin()
        say(lambda: f"{found} photos found so far")

    def line(done: int, total: int, size_bytes: int) -> None:
        words = rate(done, size_bytes)
        say(lambda: f"{done} of {total} photos, {words}")

    return listing, line


def _clock() -> tuple[Callable[[], None], Callable[[int, int], str]]:
    """What sets the clock back, and what tells the rate of photos and bytes since then."""
    started = time.perf_counter()

    def begin() -> None:
        nonlocal started
        started = time.perf_counter()

    def rate(done: int, size_bytes: int) -> str:
        seconds = time.perf_counter() - started
        return f"{done / seconds:.1f} photos/s, {size_bytes / 1e6 / seconds:.1f} MB/s"

    return begin, rate
