"""What the commands share: their options, and how they print."""

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from petrieve.commands import complete
from petrieve.gallery.advice import DEFAULT_STORE as DEFAULT_STORE
from petrieve.gallery.tables import Aside
from petrieve.gallery.words import as_options, called, note
from petrieve.store.buckets import ENDPOINTS

if TYPE_CHECKING:
    from petrieve.api.results import Shown

STORE, COMPUTING = "The store", "Computing"  # groups of options in a command's help


class _NoPandas:
    """A finder that hides pandas from Python."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        """Nothing; for pandas, an error that it is not there."""
        if name == "pandas":
            raise ModuleNotFoundError(name)


def _without_pandas(store: str) -> str:
    """Import pyarrow for a store's tables: it takes half as long where it does not find pandas, which no command needs.

    Where it has been imported already, by a program that runs commands in its own process, it stays as it is.
    """
    if "pyarrow" not in sys.modules:
        sys.meta_path.insert(0, _NoPandas)
        try:
            import pyarrow.dataset  # noqa: F401
        finally:
            sys.meta_path.remove(_NoPandas)
    return store


Store = Annotated[
    str,
    typer.Option(
        envvar="PETRIEVE_STORE",
        show_envvar=False,
        metavar="DIR",
        callback=_without_pandas,
        rich_help_panel=STORE,
        help="Where embeddings and heads are: a folder or `s3://…`.",
    ),
]


def _reach(endpoint: str | None) -> None:
    """Set the usual environment variables, so that buckets are reached at this address."""
    if endpoint is not None:
        if not re.match(r"https?://[^/]", endpoint):
            raise typer.BadParameter("write it as https://HOST or http://HOST:PORT")
        for name in ENDPOINTS:
            os.environ.pop(name, None)
        os.environ["AWS_ENDPOINT_URL"] = endpoint


Endpoint = Annotated[
    str | None,
    typer.Option(metavar="URL", callback=_reach, rich_help_panel=STORE, help="Where `s3://…` is, if not at AWS."),
]
Weights = Annotated[
    str | None,
    typer.Option(
        envvar="PETRIEVE_WEIGHTS",
        show_envvar=False,
        metavar="NAME",
        rich_help_panel=COMPUTING,
        help="`imagenet`, `bundled`, FILE; default: the store's.",
    ),
]
Trunk = Annotated[
    str | None,
    typer.Option(
        metavar="KIND",
        rich_help_panel=STORE,
        autocompletion=complete.trunks,
        help="`densenet121` …; default: the store's first.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        rich_help_panel=COMPUTING,
        show_default=False,
        help="`cpu`, `cuda`, `cuda:1` …; default: a GPU if any.",
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        rich_help_panel=COMPUTING,
        show_default=False,
        help="`float32`, `bfloat16`, `float16`, `int8`.",
    ),
]
On = Annotated[
    str,
    typer.Option(metavar="WHERE", rich_help_panel=COMPUTING, help="`local`, `ray` or `ray://HOST:10001`."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def show(result: "Shown", as_json: bool) -> None:
    """Print a result as one JSON document, or as text; lines beside the result go to stderr."""
    if as_json:
        say(result.document(), None)
    else:
        say(None, result.lines())


def say(document: Any, lines: Iterable[str] | None) -> None:
    """Print these lines, or else a document as JSON."""
    if lines is None:
        print(called(json.dumps(document, indent=1, default=str)))  # str: dates of the user's CSV
    for line in lines or ():
        print(as_options(line), file=sys.stderr if isinstance(line, Aside) else sys.stdout)


ALIKE = 3  # notes of one kind that are shown


@dataclass(frozen=True)
class Notes:
    """The notes of one run: of notes that differ by a path alone, as of a thousand shards, the first are shown."""

    counts: Counter[str] = field(default_factory=Counter)  # by text, without paths

    def show(self, words: str) -> None:
        """Show a note, or count it where enough of its kind have been shown."""
        kind = " ".join(word for word in words.split() if os.sep not in word)
        self.counts[kind] += 1
        if self.counts[kind] <= ALIKE:
            note(words)

    def close(self) -> None:
        """Say how many were not shown."""
        for kind, count in self.counts.items():
            if count > ALIKE:
                note(
                    f"{count - ALIKE:,} more {'notes say' if count > ALIKE + 1 else 'note says'} of other files: {kind}"
                )
