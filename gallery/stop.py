"""A run that is asked to stop: by Ctrl-C, or by the system."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SHOW_CURSOR = b"\x1b[?25h"  # ECMA-48, as DEC's terminals have it


@contextmanager
def asked_to_stop() -> Iterator[list[int]]:
    """The signals, Ctrl-C and SIGTERM, that have asked the run to stop; another one ends it where it stands."""
    asked: list[int] = []

    def ask(number: int, _frame: object) -> None:
        asked.append(number)
        with suppress(OSError):  # not print: a signal can come in the midst of another print
            os.write(2, SHOW_CURSOR if os.isatty(2) else b"")  # the bar hides it, and may not come to show it again
            os.write(2, b"stopping as soon as the batch under way is committed; another Ctrl-C ends at once\n")
        for one in before:
            signal.signal(one, signal.SIG_DFL)

    # What a shell has set to be ignored, for a run in the background, stays ignored.
    signals = [one for one in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(one) != signal.SIG_IGN]
    before = {one: signal.signal(one, ask) for one in signals}
    try:
        yield asked
    finally:
        for one, handler in before.items():  # what was asked to stop is about to end: another Ctrl-C needs no words
            signal.signal(one, signal.SIG_DFL if asked else handler)
