"""How many requests an archive in a bucket costs."""

import zipfile
from pathlib import Path
from typing import Any

from embedding import Run, again
from servers import Proxy

from petrieve.extractor.sources.buckets.remote import BLOCK


def test_the_parts_of_an_archive_ask_for_no_byte_twice(
    run: Run, pets: Path, tmp_path: Path, proxy: Proxy, bucket: Any
) -> None:
    photos = [file.read_bytes() for file in sorted(pets.rglob("*.*"))]
    file = tmp_path / "pets.zip"
    with zipfile.ZipFile(file, "w") as made:
        for number in range(600):
            made.writestr(f"{number:03}.jpg", photos[number % 6])
    bucket.upload_file(str(file), file.name)
    counts = again(run, tmp_path / "s", f"s3://{bucket.name}/{file.name}")
    assert counts == {"found": 600, "embedded": 6, "copied": 594}
    blocks = [one.headers["range"] for one in proxy.asked if one.method == "GET" and file.name in one.path]
    assert len(blocks) == len(set(blocks))
    assert len(blocks) <= file.stat().st_size // BLOCK + 2
    assert file.stat().st_size > 5 * BLOCK
