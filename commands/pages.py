"""The page to look at."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from petrieve.commands.options import DEFAULT_STORE, Endpoint, Store, Trunk
from petrieve.gallery.words import printable

app = typer.Typer()
PASSWORD = "PETRIEVE_PASSWORD"
STOPPED = 128 + 2  # as shells write it for Ctrl-C


@app.command(epilog="Example: cli.py gallery --port 8765")
def gallery(
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", show_default=False, help="By default one that is free.")
    ] = 0,
    host: Annotated[
        str, typer.Option(metavar="NAME", help="`0.0.0.0`: all who know the password (PETRIEVE_PASSWORD).")
    ] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name that the page is also reached by, as behind a proxy."),
    ] = None,
    library: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", exists=True, file_okay=False, writable=True, help="A folder that photos may be added to."
        ),
    ] = None,
    browse: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it in the browser.")] = True,
) -> None:
    """Open a page: ask about a photo, look through the store."""
    from petrieve.api.store import open as opened
    from petrieve.gallery.web.serve import is_own, serve

    password = None
    if not is_own(host):
        password = os.environ.get(PASSWORD) or _typed()
    try:
        serve(
            opened(store, trunk=trunk),
            host=host,
            port=port,
            allow_host=allow_host or (),
            password=password,
            library=library,
            browse=browse,
            tell=lambda line: print(printable(line), flush=True),
        )
    except KeyboardInterrupt:
        os._exit(STOPPED)  # at once, whatever is being decoded


def _typed() -> str | None:
    """The password, typed; None without a terminal."""
    return typer.prompt("Password for those who open it", hide_input=True) if sys.stdin.isatty() else None
