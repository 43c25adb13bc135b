"""Parquet: the store is the one that the unpacked folder would have given, and other columns say what they say."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from embedding import Run, again, column, listed, rows
from sources import embedded

IMAGE = {"_type": "Image"}


def pictures(folder: Path) -> list[dict[str, Any]]:
    """The photos of a folder as `datasets` keeps them."""
    files = sorted(folder.rglob("*.*"))
    return [{"bytes": file.read_bytes(), "path": str(file.relative_to(folder))} for file in files]


def written(file: Path, columns: Mapping[str, Any], features: Mapping[str, Any] | None = None, **settings: Any) -> Path:
    """A Parquet file of these columns, with what `datasets` would say of them."""
    table = pa.table(dict(columns))
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, **settings)
    return file


def test_parquet_gives_the_store_of_the_folder(run: Run, pets: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "pets.parquet", {"image": pictures(pets)}, row_group_size=4)
    assert embedded(run, tmp_path / "a", pets) == embedded(run, tmp_path / "b", file)
    assert again(run, tmp_path / "b", file) == {"found": 6, "cached": 6}
