"""Tables of Lance: read as Parquet is, whichever way their blobs are kept, and only what a change touches anew."""

import shutil
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest
from embedding import NEW, Run, again, listed, rows
from lance.blob import Blob, blob_array, blob_field
from sources import embedded, pictures

WAYS = ("struct", "bytes", "blob", "blob in 2.0")


def made(folder: Path, photos: list[dict[str, Any]], way: str = "struct", mode: str = "create") -> Path:
    """A table of Lance with these photos, two in each file."""
    data, names = [one["bytes"] for one in photos], [one["path"] for one in photos]
    name, how = pa.field("file_name", pa.string()), {"mode": mode, "max_rows_per_file": 2}
    if way == "struct":
        table = pa.table({"image": photos, "age": list(range(len(photos)))})
    elif way == "bytes":
        table = pa.table({"file_name": names, "image": data})
    elif way == "blob":
        table = pa.table([names, blob_array(data)], schema=pa.schema([name, blob_field("image")]))
    else:
        blob = pa.field("image", pa.large_binary(), metadata={"lance-encoding:blob": "true"})
        table = pa.table([names, pa.array(data, pa.large_binary())], schema=pa.schema([name, blob]))
        how["data_storage_version"] = "2.0"
    lance.write_dataset(table, str(folder), **how)
    return folder


@pytest.mark.parametrize("way", WAYS)
def test_a_table_gives_the_store_of_the_folder(run: Run, pets: Path, tmp_path: Path, way: str) -> None:
    table = made(tmp_path / "pets.lance", pictures(pets), way)
    found = embedded(run, tmp_path / "b", table)
    assert found == embedded(run, tmp_path / "a", pets)
    assert again(run, tmp_path / "b", table) == {"found": 6, "cached": 6}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_added_costs_what_was_added(run: Run, pets: Path, tmp_path: Path, way: str) -> None:
    photos = pictures(pets)
    table = made(tmp_path / "pets.lance", photos[:4], way)
    again(run, tmp_path / "s", table)
    made(table, photos[4:], way, "append")
    assert again(run, tmp_path / "s", table) == {"found": 6, "embedded": 2, "cached": 4}
    lance.dataset(str(table)).optimize.compact_files()
    assert again(run, tmp_path / "s", table) == {"found": 6, "copied": 6}


def test_rows_that_were_deleted_are_not_there(run: Run, pets: Path, tmp_path: Path) -> None:
    photos = pictures(pets)
    table = made(tmp_path / "pets.lance", photos)
    lance.dataset(str(table)).delete("age in (0, 5)")
    assert again(run, tmp_path / "s", table) == {"found": 4, "embedded": 4}
    assert {uri: one.columns for uri, one in rows(tmp_path / "s").items()} == {
        photos[number]["path"]: {"age": number} for number in range(1, 5)
    }


def test_a_table_alone_in_a_folder_is_read_and_beside_photos_it_is_one_thing(
    run: Run, pets: Path, tmp_path: Path
) -> None:
    made(tmp_path / "tables" / "pets.lance", pictures(pets))
    assert again(run, tmp_path / "a", tmp_path / "tables") == {"found": 6, "embedded": 6}
    shutil.copytree(tmp_path / "tables", pets, dirs_exist_ok=True)
    done = run("embed", pets, *NEW, tmp_path / "b")
    assert (done.json["found"], done.json["sources"][str(pets)]["passed_over"]) == (6, {"pets.lance": 1})


def test_a_photo_of_a_table_is_asked_for_and_shown_by_its_name(run: Run, pets: Path, tmp_path: Path) -> None:
    table, sheet = made(tmp_path / "pets.lance", pictures(pets), "blob"), tmp_path / "sheet.jpg"
    again(run, tmp_path / "s", table)
    done = run(
        "similar",
        f"{table}/cat/{sorted((pets / 'cat').iterdir())[0].name}",
        "--store",
        tmp_path / "s",
        "--sheet",
        sheet,
    )
    assert (done.status, sheet.exists()) == (0, True), done.err


def test_a_store_is_no_source(run: Run, pets: Path, tmp_path: Path) -> None:
    store = pets / "store"
    again(run, store, pets)
    for source in (store, store / "photos.lance"):
        done = run("embed", source, *NEW, tmp_path / "s")
        assert (done.status, f"{store} is a store, and holds no photos" in done.err) == (1, True), done.err
    done = run("embed", pets, *NEW, store)
    assert (done.json["cached"], done.json["sources"][str(pets)]["passed_over"]) == (6, {"store": 1})


def test_what_a_table_names_elsewhere_is_not_opened(run: Run, pets: Path, tmp_path: Path) -> None:
    photos = pictures(pets)
    secret = tmp_path / "secret.png"
    secret.write_bytes(photos[0]["bytes"])
    blobs = blob_array([photos[1]["bytes"], Blob.from_uri(f"file://{secret}")])
    table = pa.table([blobs], schema=pa.schema([blob_field("image")]))
    lance.write_dataset(table, str(tmp_path / "p.lance"), allow_external_blob_outside_bases=True)
    assert again(run, tmp_path / "s", tmp_path / "p.lance") == {"found": 2, "embedded": 1, "unreadable": 1}
    assert list(listed(tmp_path / "s").values()) == [f"its row holds a text and no photo: 'file://{secret}'"]


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_table_is_lines(run: Run, pets: Path, tmp_path: Path, way: str) -> None:
    table = made(tmp_path / "pets.lance", pictures(pets), way)
    file = sorted((table / "data").glob("*.lance"))[0]
    file.write_bytes(file.read_bytes()[:-60] + bytes(60))
    done = run("embed", table, *NEW, tmp_path / "s")
    assert (done.status, "its table is damaged: " in done.err) == (1, True), done.err
    assert len(done.err.splitlines()) == 1


def test_a_table_without_photos_is_refused_with_what_it_holds(run: Run, tmp_path: Path) -> None:
    lance.write_dataset(pa.table({"vector": [[0.5]], "caption": ["a cat"]}), str(tmp_path / "v.lance"))
    done = run("embed", tmp_path / "v.lance", *NEW, tmp_path / "s")
    assert (done.status, "holds 1 rows of vector, caption" in done.err) == (1, True), done.err
