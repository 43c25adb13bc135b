"""The one type of expected failure, and how it is worded."""

import re
import sys
import warnings
from collections.abc import Sequence


class PetrieveError(Exception):
    """What went wrong, and what mends it: one line for the person who reads it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what = what
        self.remedy = remedy

    def __reduce__(self) -> "tuple[type[PetrieveError], tuple[str, str]]":
        return type(self), (self.what, self.remedy)  # it may arise in another process


def not_installed(what: str, package: str | None, extra: str | None = None) -> PetrieveError:
    """The error that something needs a package; the remedy installs it, or the extra that brings it."""
    install = f'"petrieve[{extra}]"' if extra else package
    return PetrieveError(f"{what} needs {package}, which is not installed", f"run `pip install {install}`")


def remedy_of(error: OSError) -> str:
    """What mends it that a path cannot be opened."""
    return "check the path" if isinstance(error, FileNotFoundError) else "check the path and its permissions"


def warn(words: str) -> None:
    """Warn of something at the user's own line: the one that called the outermost function of Petrieve."""
    level, outside, frame = 1, 2, sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]
        level += 1
        if str(frame.f_globals.get("__name__")).partition(".")[0] == "petrieve":
            outside = level + 1
    warnings.warn(words, stacklevel=outside)


def first_line(error: BaseException) -> str:
    """What another library's error says, in one line and without where in its source it arose.

    What may hold secrets is left out: what follows the ? of an address, and what a server says beyond its status.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    line = re.sub(r"(status code: \d+[\w ]*).*", r"\1", lines[0].split(", /home/")[0])
    return re.sub(r"(https?://[^\s?]*)\?\S*", r"\1", line).rstrip(".")


def listed(words: Sequence[str], most: int) -> str:
    """The first of these words; an … stands for the rest."""
    return ", ".join(words[:most]) + (", …" if len(words) > most else "")


NO_MEMORY = "not enough memory to decode it"


class Undecodable(Exception):
    """Why a file is not a photo that can be shown, in words for its owner."""
