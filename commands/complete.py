"""What a shell offers where Tab is pressed: labels, columns and photos of the store that the command line names."""

import os
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from typer import Context

from petrieve.gallery.advice import DEFAULT_STORE
from petrieve.store.errors import PetrieveError
from petrieve.store.photo import is_address, path_of
from petrieve.store.trunks import trunks_of

if TYPE_CHECKING:
    from petrieve.store.cache import Cache

OFFERED = 100  # photos
SPECIAL = set('"$`\\!')  # what bash reads as more than a letter in double quotes


def trunks(context: Context, incomplete: str) -> list[str]:
    """Trunks of the store."""
    with suppress(PetrieveError):
        return _begun(incomplete, trunks_of(_store(context)))
    return []


def columns(context: Context, incomplete: str) -> list[str]:
    """Columns of the store's photos."""
    cache = _opened(context)
    return _begun(incomplete, cache.columns() if cache else ())


def conditions(context: Context, incomplete: str) -> list[str]:
    """A condition for each label and split of the store, as far as the shell can take it."""
    cache = _opened(context)
    counts = cache.counts() if cache else {"labels": {}, "splits": {}}
    values = [(name, value.replace("'", "''")) for name in ("label", "split") for value in counts[f"{name}s"]]
    return _quoted(incomplete, _begun(incomplete, (f"{name} = '{value}'" for name, value in values)))


def photos(context: Context, incomplete: str) -> list[str]:
    """Photos of the store; where there is none, the shell offers files."""
    cache = _opened(context)
    if cache is None:
        return []
    typed = incomplete if is_address(incomplete) else os.path.join(os.getcwd(), incomplete)
    found = (
        path
        for batch in cache.photos(["root", "uri"])
        for path in map(path_of, batch["root"].to_pylist(), batch["uri"].to_pylist())
        if path.startswith(typed)
    )
    return [incomplete + path[len(typed) :] for path in islice(found, OFFERED)]


def _opened(context: Context) -> "Cache | None":
    """The store that the line names so far; None if there is none: a shell has no place for messages."""
    from petrieve.store.cache import Cache

    with suppress(PetrieveError, OSError):
        return Cache.open(_store(context))
    return None


def _store(context: Context) -> str:
    return context.params.get("store") or os.environ.get("PETRIEVE_STORE") or DEFAULT_STORE


def _quoted(incomplete: str, texts: list[str]) -> list[str]:
    """Texts with spaces and single quotes in them, as bash can insert them; other shells quote by themselves.

    Bash inserts them as they are: behind a double quote they may stand, and where nothing is typed in two. Behind a
    single quote, or a word begun without one, nothing that can be inserted would be one word.
    """
    line = os.environ.get("COMP_WORDS")
    if line is None:
        return texts
    before = line.removesuffix(incomplete)[-1:]
    able = [text for text in texts if not SPECIAL.intersection(text)]
    if before == '"':
        return able
    return [] if incomplete or before == "'" else [f'"{text}"' for text in able]


def _begun(incomplete: str, values: Iterable[str]) -> list[str]:
    return [value for value in values if value.startswith(incomplete)]
