"""Heads and embeddings for use elsewhere, and back."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.options import DEFAULT_STORE, Endpoint, Json, Store, Trunk, note, path, show
from gallery import terminal
from store.errors import PetrieveError

if TYPE_CHECKING:
    from store.cache import Cache

app = typer.Typer()
EXPORTED = "`NAME.onnx` (pixels to probabilities), `NAME.safetensors` (the head alone) or a new folder (the embeddings)"


@app.command(epilog="Example: cli.py export pets.onnx")
def export(
    where: Annotated[Path, typer.Argument(metavar="FILE_OR_FOLDER", parser=path, help=f"What to write: {EXPORTED}.")],
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    as_json: Json = False,
) -> None:
    """Write the head, or the embeddings, for use elsewhere."""
    from store.cache import Cache

    kind = where.suffix.lower()
    if kind not in EXPORTS:
        raise PetrieveError(f"cannot tell from its name what {where} shall be", f"write {EXPORTED}")
    show(EXPORTS[kind](where, Cache.open(store, trunk)), terminal.exported, as_json)


def _export_onnx(file: Path, cache: "Cache") -> dict[str, Any]:
    from classifier import head
    from extractor.exchange import onnx

    fitted = head.load(cache)
    made = onnx.export(file, cache, weight=fitted.weight, bias=fitted.bias, classes=fitted.classes)
    return {"written": str(file), **asdict(made)}


def _export_head(file: Path, cache: "Cache") -> dict[str, Any]:
    from classifier import export, head

    return {"written": str(file), "size_bytes": export.export(file, head.load(cache), cache)}


def _export_embeddings(folder: Path, cache: "Cache") -> dict[str, Any]:
    from extractor.exchange.embeddings import export_embeddings

    return {"written": str(folder), "photos": export_embeddings(cache, folder)}


EXPORTS = {".onnx": _export_onnx, ".safetensors": _export_head, "": _export_embeddings}


@app.command("import", epilog="Example: cli.py import embeddings/ --photos data/")
def import_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", parser=path, help="What `export` wrote.")],
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    photos: Annotated[
        Path | None, typer.Option(parser=path, help="Where the folder is now that held them all, if it has moved.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read exported embeddings into a store, a new one or one of the same weights."""
    from extractor.exchange.imports import import_embeddings
    from index.codes import update

    count, cache = import_embeddings(folder, store, photos=photos)
    show({"store": store, "photos": count}, terminal.imported, as_json)
    update.update(cache, patient=True, tell=note)
