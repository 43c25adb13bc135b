"""Words from outside, made fit to be shown."""

import os

# How a cell begins that a spreadsheet may take for a formula: OWASP, "CSV Injection".
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def printable(text: str) -> str:
    """Text without what would move a terminal's cursor or set its colours."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def name(path: str) -> str:
    """A photo's path, relative to the working folder when it lies inside it, and never like a formula or an option."""
    inside = os.path.relpath(path) + "/" * path.endswith("/")  # a folder stays one
    if inside.startswith(os.pardir):
        return path
    return os.path.join(os.curdir, inside) if inside.startswith(FORMULA) else inside
