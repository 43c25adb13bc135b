"""How far a run is: a bar in a terminal, lines in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS = 30  # between two lines of a run that nobody watches


@contextmanager
def progress(quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A callback that draws a bar with rate and time left on stderr; a line now and then where that is no terminal."""
    try:
        with _bar(quiet) as draw:
            yield draw
    except KeyboardInterrupt:
        print("interrupted: what was committed stays, and the next `embed` goes on from there", file=sys.stderr)
        raise


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    started = time.perf_counter()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("embedding", total=None)

        def draw(done: int, total: int) -> None:
            rate = done / (time.perf_counter() - started)
            bar.update(task, completed=done, total=total, description=f"embedding, {rate:.1f} photos/s")

        yield draw


def _lines() -> Callable[[int, int], None]:
    """A callback that says on stderr how far a run is, every SECONDS: for logs."""
    started = said = time.perf_counter()

    def line(done: int, total: int) -> None:
        nonlocal said
        now = time.perf_counter()
        if now - said >= SECONDS:
            said = now
            print(f"{done} of {total} photos, {done / (now - started):.1f} photos/s", file=sys.stderr, flush=True)

    return line
