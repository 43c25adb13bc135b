"""Photos in buckets: the store that the folder would have given, whatever the network does; against real servers."""

from pathlib import Path
from typing import Any

from embedding import Run, again
from servers import Proxy, put_folder
from sources import embedded


def test_a_bucket_gives_the_store_of_the_folder(
    run: Run, pets: Path, tmp_path: Path, proxy: Proxy, bucket: Any
) -> None:
    (pets / "cat" / "notes.txt").write_text("no photo")
    put_folder(bucket, pets, "pets/")
    bucket.put_object(Key="pets/cat/", Body=b"")
    assert embedded(run, tmp_path / "a", pets) == embedded(run, tmp_path / "b", f"s3://{bucket.name}/pets")
    proxy.asked.clear()
    assert again(run, tmp_path / "b", f"s3://{bucket.name}/pets/") == {"found": 6, "cached": 6}
    assert proxy.count("GET", "/pets/") == 0
