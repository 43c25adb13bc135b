#!/usr/bin/env python3
"""Petrieve's command line: all commands, and how failures are printed."""

import logging
import os
import re
import sys
import warnings
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from petrieve import __version__
from petrieve.commands import embeddings, exports, heads, neighbours, pages, trunks
from petrieve.commands.options import Notes
from petrieve.extractor.sources.bounds import max_megapixels
from petrieve.gallery import words
from petrieve.store.errors import PetrieveError, first_line


class Command(TyperCommand):
    """A command whose help shows no value for options that take none."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its arguments and options."""
        return _flags_without_values(super().get_params(ctx))


class Commands(TyperGroup):
    """The same for the program itself."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its options."""
        return _flags_without_values(super().get_params(ctx))


def _flags_without_values(params: list[Any]) -> list[Any]:
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


app = typer.Typer(
    cls=Commands,
    help="Embed pet photos once; then know what is in them, and find the pets that look alike.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
# Below this many columns the boxes of help would cut off the names of options.
NARROW, BOXED = 60, app.rich_markup_mode
GROUPS = (  # with their titles in the list of commands
    ("Photos", embeddings.app),
    ("What is it?", heads.app),
    ("What is it?", trunks.app),
    ("Who looks like it?", neighbours.app),
    ("Pages and files", pages.app),
    ("Pages and files", exports.app),
)
for title, group in GROUPS:
    for command in group.registered_commands:
        command.rich_help_panel, command.cls = title, Command
    app.add_typer(group)


def _say_version(asked: bool) -> None:
    if asked:
        print(f"petrieve {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which release this is.")
    ] = False,
) -> None:
    """What can be asked without a command."""


@app.command(cls=Command, rich_help_panel="Photos", epilog="Example: cli.py demo")
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where pictures and store go.")] = Path("petrieve-demo"),
) -> None:
    """Try it all on drawn pets: half a minute, no download."""
    photos, new, store = str(folder / "photos"), str(folder / "new"), ("--store", str(folder / "store"))
    for step in (
        ("sample", photos),
        ("embed", photos, "--weights", "bundled", *store),
        ("fit-head", *store),
        ("sample", new, "--photos", "6", "--seed", "1"),
        ("predict", new, *store),
        ("similar", f"{photos}/cat/milo-1.jpg", "-k", "7", "--sheet", str(folder / "similar.jpg"), *store),
    ):
        print(f"$ {words.command(*step)}", flush=True)
        app(step, standalone_mode=False)
    print(f"Look at all of it in a browser: {words.command('gallery', *store)}")
    if find_spec("uvicorn") is None:
        print('That needs `pip install "petrieve[gallery]"`.')
    print(f"The folder {words.name(str(folder))} is only for this; delete it when you like.")


def main() -> None:
    """The `petrieve` command: expected failures are one line and exit status 1."""
    # Threads that wait by spinning starve each other as soon as anything else runs: measured, up to 7 × slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "10")  # numpy's: they then wait 2¹⁰ cycles before they sleep
    os.environ.setdefault("LANCE_LOG", "error")  # we say what it could not do, without the server's answer
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what the terminal cannot write
    notes = Notes()
    warnings.showwarning = lambda message, *_: notes.show(str(message))
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # trouble with a photo is listed with the photo
    for command in (*app.registered_commands, *(one for _, group in GROUPS for one in group.registered_commands)):
        command.epilog = re.sub(r"^Example: \S+", f"Example: {words.program()}", str(command.epilog))
    app.rich_markup_mode = BOXED if get_terminal_size().columns >= NARROW else None
    try:
        max_megapixels()  # a mistake in it ends the command before anything is opened
        app()
    except PetrieveError as error:
        sys.exit(f"error: {words.as_options(words.printable(str(error)))}")
    except OSError as error:
        what = words.printable(f"{error.filename}: {error.strerror}" if error.filename else first_line(error))
        sys.exit(f"error: {what}; check the path, its permissions and the space on its disk")
    finally:
        notes.close()


if __name__ == "__main__":
    main()
