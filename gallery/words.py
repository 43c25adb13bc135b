"""Texts from outside, made fit to be shown."""

import os
import re
import shlex
import sys

from petrieve.store.files import FORMULA
from petrieve.store.photo import is_address

# A parameter in a message, as Python has it; and options that are called otherwise.
PARAMETER = re.compile(r'`([a-z][a-z0-9_]*)=(…|True|-?[0-9]+|"[^"`]*")`')
OPTIONS = {"every": "all", "origin": "from"}


def printable(text: str) -> str:
    """Text without what would move a terminal's cursor or set its colours."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def program() -> str:
    """What this command was called by: `petrieve` where that is installed, `cli.py` in a checkout."""
    return "cli.py" if os.path.basename(sys.argv[0]) == "cli.py" else "petrieve"


def called(text: str) -> str:
    """The text with the commands that it advises, `petrieve embed`, named as this program was called."""
    return re.sub(r"(?<=`)petrieve(?= )", program(), text)


def as_options(text: str) -> str:
    """The text as a terminal needs it: also parameters, `device="cpu"` or `prune=True`, written as options."""
    return re.sub(PARAMETER, _option, called(text))


def _option(parameter: re.Match[str]) -> str:
    name, value = parameter[1].replace("_", "-"), parameter[2].strip('"')
    value = "" if value in ("…", "True") else f" {value}"
    return f"`--{OPTIONS.get(name, name)}{value}`"


def note(words: str) -> None:
    """Print a note on stderr: what a person should know, and nothing depends on."""
    print(f"note: {as_options(printable(words))}", file=sys.stderr)


def name(path: str) -> str:
    """A photo's path, relative to the working folder when it lies inside it, and never like a formula or an option."""
    if is_address(path):
        return path
    inside = os.path.relpath(path) + "/" * path.endswith("/")  # a folder stays one
    if inside.startswith(os.pardir):
        return path
    return os.path.join(os.curdir, inside) if inside.startswith(FORMULA) else inside


def command(*parts: str) -> str:
    """A command of ours, as one types it here."""
    return f"{program()} {shlex.join(parts)}"
