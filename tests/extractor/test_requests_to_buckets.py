"""Requests to a bucket, and messages about a place in it without photos; against a real server."""

import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from embedding import Run, again
from servers import Proxy, put_folder

from petrieve.extractor.sources import unchanged
from petrieve.store.buckets import connected


@pytest.fixture
def address(pets: Path, proxy: Proxy, bucket: Any) -> str:
    """Where the six pets are in a bucket."""
    put_folder(bucket, pets, "pets/")
    return f"s3://{bucket.name}/pets"


def test_a_first_run_looks_at_few_photos_before_it_asks_for_each(
    run: Run, drawn: Path, tmp_path: Path, proxy: Proxy, bucket: Any
) -> None:
    put_folder(bucket, drawn, "drawn/")
    assert again(run, tmp_path / "s", f"s3://{bucket.name}/drawn") == {"found": 40, "embedded": 40}
    assert proxy.count("GET", "/drawn/") <= 40 + 8


def test_threads_that_begin_together_reach_a_bucket_once(
    proxy: Proxy, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.delay = 0.1
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: id(connected(f"s3://{bucket.name}/k")[0]), range(8)))
    assert (len(found), len(proxy.asked)) == (1, 1)


def test_an_archive_that_a_listing_tells_of_is_not_asked_for_by_itself(
    run: Run, pets: Path, tmp_path: Path, proxy: Proxy, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unchanged, "FRESH", -2)
    for kind in ("cat", "dog"):
        with tarfile.open(tmp_path / "made.tar", "w") as made:
            made.add(pets / kind, kind)
        bucket.upload_file(str(tmp_path / "made.tar"), f"shards/{kind}.tar")
    address = f"s3://{bucket.name}/shards"
    assert again(run, tmp_path / "s", address) == {"found": 6, "embedded": 6}
    for place, found, requests in ((address, 6, 0), (f"{address}/cat.tar", 3, 1)):
        proxy.asked.clear()
        assert again(run, tmp_path / "s", place) == {"found": found, "cached": found}
        assert (proxy.count("GET", "/shards/"), proxy.count("HEAD", "/shards/")) == (0, requests)


def test_what_a_place_is_and_what_has_not_changed_is_told_by_few_requests(
    run: Run, tmp_path: Path, address: str, proxy: Proxy, bucket: Any
) -> None:
    key = next(one.key for one in bucket.objects.all())
    bucket.Object("odd.zip/1.jpg").copy({"Bucket": bucket.name, "Key": key})
    above = address.removesuffix("/pets")
    for place, found, gets in ((address, 6, 2), (f"{above}/{key}", 1, 1), (f"{above}/odd.zip/1.jpg", 1, 1)):
        again(run, tmp_path / "s", place)
        proxy.asked.clear()
        assert again(run, tmp_path / "s", place) == {"found": found, "cached": found}
        assert proxy.count("GET") <= gets
        assert proxy.count("HEAD") <= 2


def test_a_photo_is_named_by_its_key_alone_whatever_is_in_it(
    run: Run, pets: Path, tmp_path: Path, address: str, bucket: Any
) -> None:
    first, *_ = sorted((pets / "cat").iterdir())
    bucket.put_object(Key="pets/{a,b}*.jpg", Body=first.read_bytes())
    again(run, tmp_path / "s", address)
    shown = run("similar", f"{address}/{{a,b}}*.jpg", "--store", tmp_path / "s", "--json")
    assert shown.status == 0, shown.err
    done = run("similar", address, "--store", tmp_path / "s")
    assert (done.status, "holds 7 photos; name one photo" in done.err) == (1, True), done.err


def test_what_can_be_done_is_said_where_no_photo_is(
    run: Run, tmp_path: Path, address: str, proxy: Proxy, bucket: Any
) -> None:
    for key in ("data/0.lance", "_versions/1.manifest"):
        bucket.put_object(Key=f"pets.lance/{key}", Body=b"0")
    above = address.removesuffix("/pets")
    for place, words in (
        (f"{above}/pets.lance", "copy a table of Lance to a disk, and name it there: in a bucket it is not read"),
        (f"{above}/*.tar", "name what is before the `*`, which in a bucket means itself, or write `{00..11}`"),
        (f"{above}/none", "; name a prefix or an archive with JPEG"),
    ):
        done = run("embed", place, "--store", tmp_path / "s", "--weights", "bundled")
        assert (done.status, words in done.err, "sample" in done.err) == (1, True, False), done.err
    proxy.fault = lambda one: "403" if "/pets/" in one.path else None
    done = run("embed", address, "--store", tmp_path / "s", "--weights", "bundled")
    assert (done.status, "; see that they can be reached, and run the command again" in done.err) == (1, True), done.err
