"""Archives, tables and sheets in a bucket: the store that the same file on the disk would have given."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from embedding import Run, again
from pyarrow import parquet
from servers import Proxy, put_folder
from shards import packed, tar_in
from sources import as_zip, embedded, pictures, seen


def file_of(kind: str, folder: Path, place: Path) -> Path:
    """All photos of a folder in one file."""
    file = place / f"pets.{kind}"
    if kind == "zip":
        as_zip(folder, file)
    elif kind == "parquet":
        parquet.write_table(pa.table({"image": pictures(folder)}), file, row_group_size=4)
    else:
        file.write_bytes(packed(tar_in(folder), kind.removeprefix("tar")))
    return file


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "parquet"])
def test_a_file_of_photos_in_a_bucket_is_the_one_on_the_disk_by_a_few_requests(
    run: Run, pets: Path, tmp_path: Path, proxy: Proxy, bucket: Any, kind: str
) -> None:
    file = file_of(kind, pets, tmp_path)
    bucket.upload_file(str(file), f"files/{file.name}")
    address = f"s3://{bucket.name}/files/{file.name}"
    proxy.asked.clear()
    assert embedded(run, tmp_path / "a", file) == embedded(run, tmp_path / "b", address)
    assert proxy.count("GET", file.name) <= 12
    proxy.asked.clear()
    assert again(run, tmp_path / "b", f"s3://{bucket.name}/files") == {"found": 6, "cached": 6}
    name = min(seen(tmp_path / "b", address))
    shown = run("similar", f"{address}/{name}", "--store", tmp_path / "b", "--sheet", tmp_path / "sheet.jpg")
    assert shown.status == 0, shown.err


def test_a_sheet_beside_photos_in_a_bucket_says_their_labels(
    run: Run, pets: Path, tmp_path: Path, proxy: Proxy, bucket: Any
) -> None:
    names = sorted(file.relative_to(pets).as_posix() for file in pets.rglob("*.*"))
    (pets / "metadata.csv").write_text("file_name,label\n" + "".join(f"{name},tom\n" for name in names))
    put_folder(bucket, pets, "pets/")
    found = embedded(run, tmp_path / "b", f"s3://{bucket.name}/pets")
    assert found == embedded(run, tmp_path / "a", pets)
    assert {one[2] for one in found.values()} == {"tom"}
