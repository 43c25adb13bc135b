"""Wherever photos are, the store is that of the unpacked folder."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from embedding import Run, again
from servers import Proxy, put_folder
from sources import as_tar, as_zip, embedded, pictures, seen, written


def zipped(folder: Path, file: Path) -> Path:
    as_zip(folder, file)
    return file


def test_11_where_photos_lie_changes_nothing(run: Run, pets: Path, tmp_path: Path, proxy: Proxy, bucket: Any) -> None:
    (pets / "cat" / "notes.txt").write_text("no photo")
    file = zipped(pets, tmp_path / "pets.zip")
    for name in ("pets.tar", "pets.tar.gz"):
        as_tar(pets, tmp_path / name)
    (pets / "cat" / "notes.txt").unlink()  # a table has no place for it
    table = written(tmp_path / "pets.parquet", {"image": pictures(pets)})
    put_folder(bucket, pets, "pets/")
    bucket.upload_file(str(file), "pets.zip")
    places = [file, tmp_path / "pets.tar", tmp_path / "pets.tar.gz", table]
    places += [f"s3://{bucket.name}/pets", f"s3://{bucket.name}/pets.zip"]
    expected = embedded(run, tmp_path / "folder", pets)
    assert {label for _, _, label, _ in expected.values()} == {"cat", "dog"}
    for number, place in enumerate(places):
        assert embedded(run, tmp_path / str(number), place) == expected, place


def test_what_is_no_photo_is_counted(run: Run, pets: Path, tmp_path: Path) -> None:
    (pets / "cat" / "notes.txt").write_text("no photo")
    for source in (pets, zipped(pets, tmp_path / "pets.zip")):
        done = run("embed", source, "--store", tmp_path / "s", "--weights", "bundled", "--json")
        counts = done.json["sources"][str(source)]
        assert (counts["found"], counts["passed_over"]) == (6, {".txt": 1})
        assert "passed over: 1 .txt" in done.err


def test_a_folder_of_archives_alone_is_what_they_hold(run: Run, pets: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    for number, kind in enumerate(("cat", "dog")):
        zipped(pets / kind, shards / f"{number:05}.zip")
    assert again(run, tmp_path / "s", shards) == {"found": 6, "embedded": 6}
    assert again(run, tmp_path / "s", shards / "{00000..00001}.zip") == {"found": 6, "cached": 6}


def test_an_archive_beside_photos_is_named_and_not_read(run: Run, pets: Path, tmp_path: Path) -> None:
    shutil.move(zipped(pets, tmp_path / "pets.zip"), pets)
    done = run("embed", pets, "--store", tmp_path / "s", "--weights", "bundled", "--json")
    assert (done.json["found"], "1 pets.zip" in done.err) == (6, True)


def test_a_photo_of_an_archive_is_asked_for_by_its_name(run: Run, pets: Path, tmp_path: Path) -> None:
    file = zipped(pets, tmp_path / "pets.zip")
    store = tmp_path / "s"
    again(run, store, file)
    name = next((pets / "cat").iterdir()).name
    by_file = run("similar", pets / "cat" / name, "--store", store, "--json").json
    by_name = run("similar", f"{file}/cat/{name}", "--store", store, "--json").json
    assert [one["photo"] for one in by_name["neighbours"]] == [one["photo"] for one in by_file["neighbours"]]
    file.write_bytes(b"")  # it is not read again
    for more in ((), ("--weights", "bundled"), ("--device", "cpu")):
        assert run("similar", f"{file}/cat/{name}", "--store", store, "--json", *more).json == by_name


def tarred(folder: Path, file: Path) -> Path:
    as_tar(folder, file.with_name("pets.tar.gz"))
    return file.with_name("pets.tar.gz")


def tabled(folder: Path, file: Path) -> Path:
    return written(file.with_name("pets.parquet"), {"image": pictures(folder)})


@pytest.mark.parametrize("made_of", [zipped, tarred, tabled])
def test_a_folder_in_an_archive_gives_the_store_of_that_folder(
    run: Run, pets: Path, tmp_path: Path, made_of: Callable[[Path, Path], Path]
) -> None:
    above = tmp_path / "above"
    shutil.copytree(pets, above / "all" / "pets")
    file, store = made_of(above, tmp_path / "pets.zip"), tmp_path / "b"
    for name in ("all/pets/cat", "all/pets"):
        assert embedded(run, tmp_path / "a", above / name) == embedded(run, store, file / name)
        assert again(run, store, file / name)["cached"] == again(run, store, file / name)["found"]
    assert run("verify", "--all", "--store", store).status == 0
    assert run("duplicates", "--store", store).status == 0
    assert again(run, tmp_path / "a", above) == again(run, store, file)
    assert seen(tmp_path / "a", above) == seen(store, file)
    photo = f"all/pets/dog/{min((pets / 'dog').iterdir()).name}"
    for folder, other in ((above, tmp_path / "c"), (file, tmp_path / "d")):
        again(run, other, folder / photo)
    assert seen(tmp_path / "c", above) == seen(tmp_path / "d", file)
