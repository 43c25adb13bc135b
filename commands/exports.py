"""Heads and embeddings for use elsewhere, and back."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from petrieve.commands.options import DEFAULT_STORE, Endpoint, Json, Store, Trunk, note, path, show
from petrieve.gallery import terminal
from petrieve.store.errors import PetrieveError

if TYPE_CHECKING:
    from petrieve.store.cache import Cache

app = typer.Typer()
EXPORTED = (
    "a new folder or `NAME.parquet` (the embeddings), `NAME.faiss` (an index of them), `NAME.onnx` (pixels to "
    "probabilities), `NAME.head.onnx` or `NAME.safetensors` (the head alone), or a folder `NAME.clip-retrieval`"
)


@app.command(epilog="Example: cli.py export pets.onnx")
def export(
    where: Annotated[Path, typer.Argument(metavar="FILE_OR_FOLDER", parser=path, help=f"What to write: {EXPORTED}.")],
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    as_json: Json = False,
) -> None:
    """Write the head, or the embeddings, for use elsewhere."""
    from petrieve.store.cache import Cache

    kind = where.suffix.lower()
    if where.name.lower().endswith(HEAD):
        kind = HEAD
    if kind not in EXPORTS:
        raise PetrieveError(f"cannot tell from its name what {where} shall be", f"write {EXPORTED}")
    made = EXPORTS[kind](where, Cache.open(store, trunk))
    show({"written": str(where), **made}, terminal.exported, as_json)


def _onnx(file: Path, cache: "Cache") -> dict[str, Any]:
    from petrieve.classifier import head
    from petrieve.extractor.exchange import onnx

    fitted = head.load(cache)
    export = onnx.export_head if file.name.lower().endswith(HEAD) else onnx.export
    return asdict(export(file, cache, weight=fitted.weight, bias=fitted.bias, classes=fitted.classes))


def _safetensors(file: Path, cache: "Cache") -> dict[str, Any]:
    from petrieve.classifier import export, head

    return {"size_bytes": export.export(file, head.load(cache), cache)}


def _data_set(folder: Path, cache: "Cache") -> dict[str, Any]:
    from petrieve.extractor.exchange.embeddings import export_data_set

    return {"photos": export_data_set(cache, folder)}


def _table(file: Path, cache: "Cache") -> dict[str, Any]:
    from petrieve.extractor.exchange.embeddings import export_table

    return {"photos": export_table(cache, file)}


def _clip_retrieval(folder: Path, cache: "Cache") -> dict[str, Any]:
    from petrieve.extractor.exchange.embeddings import export_clip_retrieval

    return {"photos": export_clip_retrieval(cache, folder)}


def _faiss(file: Path, cache: "Cache") -> dict[str, Any]:
    from petrieve.extractor.exchange.faiss import export_index

    count, ids = export_index(cache, file)
    return {"photos": count, "beside": str(ids)}


HEAD = ".head.onnx"
EXPORTS = {
    "": _data_set,
    ".parquet": _table,
    ".clip-retrieval": _clip_retrieval,
    ".faiss": _faiss,
    ".onnx": _onnx,
    HEAD: _onnx,
    ".safetensors": _safetensors,
}


@app.command("import", epilog="Example: cli.py import embeddings/ --photos data/")
def import_(
    where: Annotated[
        Path,
        typer.Argument(metavar="FILE_OR_FOLDER", parser=path, help="The folder or `.parquet` that `export` wrote."),
    ],
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    photos: Annotated[
        Path | None, typer.Option(parser=path, help="Where the folder is now that held them all, if it has moved.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read exported embeddings into a store, a new one or one of the same weights."""
    from petrieve.extractor.exchange.imports import import_embeddings
    from petrieve.index.codes import update

    count, cache = import_embeddings(where, store, photos=photos)
    show({"store": store, "photos": count}, terminal.imported, as_json)
    update.update(cache, patient=True, tell=note)
