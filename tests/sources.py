"""What stores that were made of other sources have in common with the store of the unpacked folder."""

import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from embedding import Run, again

from petrieve.store.cache import Cache
from petrieve.store.photo import path_of

IMAGE = {"_type": "Image"}
PET = {"_type": "ClassLabel", "names": ["cat", "dog"]}
Seen = tuple[bytes, bytes, str | None, str | None]  # digest, embedding's bits, label, split


def seen(store: Path | str, root: Path | str) -> dict[str, Seen]:
    """What a store has of each photo, by its path below a folder or a file."""
    found: dict[str, Seen] = {}
    for photos, embeddings in Cache.open(store).embeddings():
        for row, vector in zip(photos.to_pylist(), embeddings, strict=True):
            name = path_of(row["root"], row["uri"]).removeprefix(f"{root}/")
            assert name not in found, f"{name} has two rows"
            found[name] = (row["digest"], vector.tobytes(), row["label"], row["split"])
    return found


def embedded(run: Run, store: Path | str, source: Path | str) -> dict[str, Seen]:
    """What the store of a source has of each photo, by its path below the source."""
    again(run, store, source)
    return seen(store, source)


def pictures(folder: Path) -> list[dict[str, Any]]:
    """The photos of a folder as `datasets` keeps them in a column: bytes beside a path."""
    files = sorted(folder.rglob("*.*"))
    return [{"bytes": file.read_bytes(), "path": str(file.relative_to(folder))} for file in files]


def written(file: Path, columns: Mapping[str, Any], features: Mapping[str, Any] | None = None, **how: Any) -> Path:
    """A Parquet file of these columns, with what `datasets` would say of them."""
    table = pa.table(dict(columns))
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, **how)
    return file


def as_tar(folder: Path, file: Path) -> None:
    """A tar of a folder, packed where its name says so."""
    mode: Literal["w", "w:gz"] = "w:gz" if file.suffix == ".gz" else "w"
    with tarfile.open(file, mode) as made:
        for path in sorted(folder.rglob("*.*")):
            made.add(path, str(path.relative_to(folder)))


def as_zip(folder: Path, file: Path) -> None:
    """A zip of a folder."""
    with zipfile.ZipFile(file, "w") as made:
        for path in sorted(folder.rglob("*.*")):
            made.write(path, path.relative_to(folder))
