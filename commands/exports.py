"""Heads and embeddings for use elsewhere, and back."""

from typing import Annotated

import typer

from petrieve.commands.options import DEFAULT_STORE, Endpoint, Json, Store, Trunk, show
from petrieve.gallery.advice import EXPORTED

app = typer.Typer()


@app.command(epilog="Example: cli.py export pets.onnx")
def export(
    where: Annotated[str, typer.Argument(metavar="FILE_OR_FOLDER", help=f"What to write: {EXPORTED}.")],
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    as_json: Json = False,
) -> None:
    """Write the head, or the embeddings, for use elsewhere."""
    from petrieve.api.store import open as opened

    show(opened(store, trunk=trunk).export(where), as_json)


@app.command("import", epilog="Example: cli.py import embeddings/ --photos data/")
def import_(
    where: Annotated[
        str,
        typer.Argument(metavar="FILE_OR_FOLDER", help="The folder or `.parquet` that `export` wrote."),
    ],
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    photos: Annotated[
        str | None, typer.Option(metavar="PATH", help="Where the folder is now that held them all, if it has moved.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read exported embeddings into a store."""
    from petrieve.api.store import open as opened

    show(opened(store).import_(where, photos=photos), as_json)
