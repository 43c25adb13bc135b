"""A table's pieces: merged while others are added, and removed where no version names them."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest
from conftest import Done
from embedding import NEW
from servers import Proxy, put_folder

from petrieve.store import pieces, tables
from petrieve.store.cache import Cache
from petrieve.store.folder import Store
from petrieve.store.key import Where
from petrieve.store.lock import writing
from petrieve.store.photo import Photo
from petrieve.store.pieces import commit_merges, merge_pieces, merged, merges
from petrieve.store.rows import Embedded, vector_schema, vector_table
from petrieve.store.tables import address, leftovers, let_go, opened, remove_leftovers, write_table

Run = Callable[..., Done]
WIDTH = 8


def rows(numbers: range) -> Any:
    """Made-up embeddings, each with its number as digest."""
    photo = Photo("/p", "x", 0, 0)
    views = [np.full((1, WIDTH), number, np.float32) for number in numbers]
    return vector_table(
        [Embedded(photo, number.to_bytes(16), 1, 1, one) for number, one in zip(numbers, views, strict=True)]
    )


def table_of(place: Any, count: int, each: int = 4) -> lance.LanceDataset:
    """A table of N pieces."""
    write_table(place, vector_schema(WIDTH).empty_table(), mode="create", enable_stable_row_ids=True)
    table = opened(place)
    for number in range(count):
        table.insert(rows(range(number * each, (number + 1) * each)), mode="append")
    return table


def ids(table: lance.LanceDataset) -> dict[bytes, int]:
    found = table.to_table(["digest"], with_row_id=True)
    return dict(zip(found["digest"].to_pylist(), found["_rowid"].to_pylist(), strict=True))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces are full, and many, a thousand times sooner."""
    monkeypatch.setattr(pieces, "SIZES", ((16, 4), (128, 4), (1024, 4)))


@pytest.fixture(params=["disk", "bucket"])
def spot(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Where]:
    """Where a table may be made, on a disk or in a bucket that is held."""
    if request.param == "disk":
        yield tmp_path / "t.lance"
        return
    request.getfixturevalue("proxy")
    store = Store.at(f"s3://{request.getfixturevalue('bucket').name}/s")
    with writing(store):
        yield store.path / "t.lance"


@pytest.mark.usefixtures("small")
def test_pieces_are_merged_by_others_while_rows_are_added(spot: Where) -> None:
    table = table_of(spot, 20)
    before = ids(table)
    tasks = merges(table)
    assert len(tasks) > 1
    assert merges(table, tasks) == [], "no piece is merged twice at once"
    results = []
    for number, task in enumerate(tasks):
        results.append(merged(address(spot), task))
        table.insert(rows(range(1000 + number, 1001 + number)), mode="append")
    assert commit_merges(table, results[1:])
    assert not commit_merges(table, [results[1]]), "what was merged meanwhile is left as it is"
    assert commit_merges(table, results[:1])
    now = ids(opened(spot))
    assert {digest: now[digest] for digest in before} == before
    assert len(now) == len(before) + len(tasks)
    assert len(table.get_fragments()) < 20


@pytest.mark.usefixtures("small")
def test_a_merge_of_rows_that_are_dropped_meanwhile_is_not_taken(tmp_path: Path) -> None:
    table = table_of(tmp_path / "t.lance", 20)
    results = [merged(address(tmp_path / "t.lance"), task) for task in merges(table)]
    opened(tmp_path / "t.lance").delete("_rowid = 5")
    table = opened(tmp_path / "t.lance")
    assert not commit_merges(table, results)
    assert opened(tmp_path / "t.lance").count_rows() == 79


@pytest.mark.usefixtures("small")
def test_a_table_has_few_pieces_however_large_it_grows_and_each_row_is_written_a_few_times(tmp_path: Path) -> None:
    table = table_of(tmp_path / "t.lance", 0)
    written, most = 0, 0
    for number in range(600):
        table.insert(rows(range(number * 4, number * 4 + 4)), mode="append")
        if number % 8 == 7:
            before = {one.fragment_id for one in table.get_fragments()}
            merge_pieces(table)
            now = table.get_fragments()
            written += sum(one.count_rows() for one in now if one.fragment_id not in before)
            most = max(most, len(now))
    assert most < 3 * 4 + 8 + 2400 / 1024
    assert written < 4 * 2400
    assert len(ids(table)) == 2400
    print(f"{most} pieces at most, {written / 2400:.1f} times merged")


@pytest.fixture(params=["disk", "bucket"])
def place(request: pytest.FixtureRequest, made_store: Path, store: Path) -> str:
    """A store of the drawn photos on a disk, and the same in a bucket."""
    if request.param == "disk":
        return str(store)
    request.getfixturevalue("proxy")
    bucket = request.getfixturevalue("bucket")
    put_folder(bucket, made_store, "s/")
    return f"s3://{bucket.name}/s"


def written(vectors: Any, cache: Cache) -> lance.LanceOperation.Append:
    """The vector of a new content, as a worker writes it, and what would commit it."""
    view = np.ones((1, cache.dimension), np.float32)
    new = vector_table([Embedded(Photo("/p", "x", 0, 0), bytes(16), 1, 1, view)])
    return lance.LanceOperation.Append(lance.fragment.write_fragments(new, vectors, mode="append"))


def fail_after_writing(place: str) -> None:
    """A run that writes and does not commit."""
    store = Store.at(place)
    with suppress(ZeroDivisionError), writing(store):
        cache = Cache.open(store.path)
        written(opened(cache.folder.vectors), cache)
        raise ZeroDivisionError


def left(place: str) -> list[Any]:
    return leftovers(Cache.open(place).folder.vectors)


def test_what_a_run_wrote_and_did_not_commit_is_gone_after_the_next(run: Run, drawn: Path, place: str) -> None:
    fail_after_writing(place)
    assert len(left(place)) == 1
    assert run("embed", drawn, *NEW, place).json["cached"] == 40
    assert left(place) == []
    assert run("verify", "--sample", 1, "--store", place).status == 0


def test_what_is_under_way_stays_while_versions_are_let_go(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "KEPT_SECONDS", -2)
    store = Store.at(place)
    with writing(store):
        cache = Cache.open(store.path)
        vectors = opened(cache.folder.vectors)
        append = written(vectors, cache)
        vectors = lance.LanceDataset.commit(vectors, written(vectors, cache), read_version=vectors.version)
        let_go(cache.folder.vectors, vectors)
        assert len(vectors.versions()) == 1
        lance.LanceDataset.commit(vectors, append, read_version=vectors.version)
        remove_leftovers(store)
    table = opened(Cache.open(place).folder.vectors)
    assert table.to_table(["digest"])["digest"].to_pylist().count(bytes(16)) == 2
    assert left(place) == []


def test_a_reader_keeps_its_version_when_leftovers_go(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "SIZES", ((1000, 0),))
    cache = Cache.open(store)
    reader, vectors = opened(cache.folder.vectors), opened(cache.folder.vectors)
    assert len(reader.get_fragments()) > 1
    merge_pieces(vectors)
    written(vectors, cache)
    remove_leftovers(Store(store))
    assert left(str(store)) == []
    assert len(opened(cache.folder.vectors).get_fragments()) == 1
    assert reader.to_table().num_rows == 40


def test_of_many_versions_as_many_are_read_as_tell_of_what_was_written_last(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "VERSIONS_READ", 1)
    cache = Cache.open(store)
    vectors = cache.folder.vectors
    written(opened(vectors), cache)
    for file in vectors.rglob("*.*"):
        age = 1800 if file.name.endswith(".manifest") else 3600
        os.utime(file, (time.time() - age,) * 2)
    (new,) = written(opened(vectors), cache).fragments
    assert [file.name for file in leftovers(vectors)] == [new.files[0].path], "an earlier version may name the other"


def test_a_run_that_was_cut_off_cannot_commit_what_was_removed(
    run: Run, few: Path, proxy: Proxy, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "SIZES", ((1000, 0),))
    address = f"s3://{bucket.name}/s"
    assert run("embed", few, *NEW, address).json["embedded"] == 6
    store = Store.at(address)
    with writing(store):
        cache = Cache.open(store.path)
        asleep = opened(cache.folder.vectors)
        asleep = lance.LanceDataset.commit(asleep, written(asleep, cache), read_version=asleep.version)
        append, results = written(asleep, cache), [merged(tables.address(cache.folder.vectors), *merges(asleep))]
        bucket.put_object(Key="s/.lock", Body=b'{"name": "another", "seconds": 0}')  # as if it had slept for too long
    assert len(left(address)) == 2
    with writing(Store.at(address)):
        assert left(address) == []
    with pytest.raises(OSError, match="incompatible with concurrent transaction Restore"):
        lance.LanceDataset.commit(asleep, append, read_version=asleep.version)
    with pytest.raises(OSError, match="incompatible with concurrent transaction Restore"):
        commit_merges(asleep, results)
    assert run("verify", "--sample", 0, "--store", address).status == 0
