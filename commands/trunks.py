"""Which trunk serves the user's own photos best."""

from typing import Annotated

import typer

from petrieve.commands import complete
from petrieve.commands.options import DEFAULT_STORE, Device, Endpoint, Json, Precision, Store, show

app = typer.Typer()


@app.command("compare-trunks", epilog="Example: cli.py compare-trunks --json")
def compare_trunks(
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunks: Annotated[
        list[str] | None,
        typer.Option("--trunk", metavar="KIND", autocompletion=complete.trunks, help="One to compare; by default all."),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """Say which trunk is right more often on your own labels."""
    from petrieve.api.store import open as opened

    show(opened(store).compare_trunks(trunks, device=device, precision=precision), as_json)
