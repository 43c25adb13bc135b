"""Files for use elsewhere: the name of a file says what is written."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from petrieve.classifier import export, head
from petrieve.extractor.exchange import faiss, onnx
from petrieve.extractor.exchange.embeddings import export_clip_retrieval, export_data_set, export_table
from petrieve.extractor.trunks.kinds import kind as trunk
from petrieve.gallery.advice import EXPORTED
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError

HEAD = ".head.onnx"


def write(where: Path, cache: Cache) -> dict[str, Any]:
    """What is known of an export that was written: how many `photos` it has, or `size_bytes`, and how near it is.

    Raises:
        PetrieveError: the name says nothing, there is no head that is wanted, or the file cannot be written.
    """
    kind = HEAD if where.name.lower().endswith(HEAD) else where.suffix.lower()
    if kind not in EXPORTS:
        raise PetrieveError(f"cannot tell from its name what {where} shall be", f"write {EXPORTED}")
    return EXPORTS[kind](where, cache)


def _onnx(file: Path, cache: Cache) -> dict[str, Any]:
    fitted = head.load(cache)
    made = onnx.export_head if file.name.lower().endswith(HEAD) else onnx.export
    return asdict(made(file, cache, weight=fitted.weight, bias=fitted.bias, classes=fitted.classes))


def _safetensors(file: Path, cache: Cache) -> dict[str, Any]:
    return {"size_bytes": export.export(file, head.load(cache), cache, trunk(cache.made.kind).head)}


def _data_set(folder: Path, cache: Cache) -> dict[str, Any]:
    return {"photos": export_data_set(cache, folder)}


def _table(file: Path, cache: Cache) -> dict[str, Any]:
    return {"photos": export_table(cache, file)}


def _clip_retrieval(folder: Path, cache: Cache) -> dict[str, Any]:
    return {"photos": export_clip_retrieval(cache, folder)}


def _faiss(file: Path, cache: Cache) -> dict[str, Any]:
    count, ids = faiss.export_index(cache, file)
    return {"photos": count, "beside": str(ids)}


EXPORTS = {
    "": _data_set,
    ".parquet": _table,
    ".clip-retrieval": _clip_retrieval,
    ".faiss": _faiss,
    ".onnx": _onnx,
    HEAD: _onnx,
    ".safetensors": _safetensors,
}
