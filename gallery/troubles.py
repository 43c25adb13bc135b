"""What is wrong with an installation, in a terminal."""

from collections.abc import Iterator
from typing import Any

from petrieve.gallery.words import printable


def installed(found: dict[str, Any]) -> Iterator[str]:
    """What is installed, what is wrong with it, and what is to be known of it."""
    yield f"petrieve is imported from {printable(found['versions']['folder'])}"
    yield "petrieve {petrieve}, Python {python}, torch {torch} on {device}, {system}".format(**found["versions"])
    for one in found["troubles"]:
        yield f"{'wrong' if one['wrong'] else 'note'}: {printable(one['what'])}"
        yield f"  why it matters: {printable(one['why'])}"
        yield f"  what to do: {printable(one['remedy'])}"
    if not any(one["wrong"] for one in found["troubles"]):
        yield "nothing is wrong with this installation"
