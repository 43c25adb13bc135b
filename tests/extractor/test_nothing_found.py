"""Without a photo in it, a source is refused with a list of what it holds."""

import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from embedding import NEW, Run, again, listed
from sources import as_tar, pictures, seen

FOUND = {
    "texts and a sheet": ({"1.txt": b"", "2.txt": b"", "metadata.csv": b""}, "holds 2 .txt, 1 "),
    "an archive": ({"inner.zip": b"PK\5\6" + bytes(18)}, "holds 1 "),
    "nothing": ({}, "holds nothing"),
    "many kinds": ({f"x.{number}": b"" for number in range(50)}, "1 .16, 1 .17, …"),
}


@pytest.mark.parametrize(("entries", "said"), FOUND.values(), ids=FOUND)
def test_an_archive_without_photos_is_said_to_hold_what_it_does(
    run: Run, tmp_path: Path, entries: dict[str, bytes], said: str
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    done = run("embed", tmp_path / "a.zip", *NEW, tmp_path / "s")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert f"there is no photo in {tmp_path / 'a.zip'}: {tmp_path / 'a.zip'} holds" in done.err
    assert said in done.err
    assert "name a folder or an archive with JPEG" in done.err
    assert ("archives in archives are not read" in done.err) == ("inner.zip" in entries)
    assert not (tmp_path / "s").exists()


def test_nobody_is_told_to_draw_pets_into_an_archive(run: Run, pets: Path, tmp_path: Path) -> None:
    as_tar(pets, tmp_path / "pets.tar")
    done = run("embed", tmp_path / "pets.tar" / "mouse", *NEW, tmp_path / "s")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "cli.py sample" not in done.err


def test_a_folder_of_archives_without_photos_is_said_to_hold_what_these_do(run: Run, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    for name in "ab":
        with zipfile.ZipFile(tmp_path / "p" / f"{name}.zip", "w") as archive:
            archive.writestr("notes.txt", "")
    done = run("embed", tmp_path / "p", *NEW, tmp_path / "s")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "holds 2 .txt" in done.err


def test_few_photos_among_many_other_files_are_counted(run: Run, pets: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in pets.rglob("*.*"):
            archive.write(path, path.name)
        for number in range(2000):
            archive.writestr(f"{number}.xml", "")
    done = run("embed", tmp_path / "a.zip", "--store", tmp_path / "s", "--weights", "bundled")
    assert "6 photos found" in done.out
    assert "passed over: 2000 .xml" in done.err


def test_a_source_without_photos_among_others_is_refused_before_anything_is_embedded(
    run: Run, pets: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("notes.txt", "")
    done = run("embed", pets, tmp_path / "a.zip", *NEW, tmp_path / "s")
    assert (done.status, "a.zip holds 1 .txt" in done.err, (tmp_path / "s").exists()) == (1, True, False)
    assert again(run, tmp_path / "s", pets) == {"found": 6, "embedded": 6}


@pytest.mark.parametrize("broken", ["cut.zip", "empty.zip", "cut.tar", "cut.parquet"])
def test_a_broken_archive_among_several_sources_loses_none_of_the_others(
    run: Run, pets: Path, tmp_path: Path, broken: str
) -> None:
    """It is listed among what is unreadable, or refused before anything is embedded."""
    file = tmp_path / broken
    with zipfile.ZipFile(file, "w") as archive:
        for path in (pets / "cat").iterdir():
            archive.write(path, path.name)
    if file.suffix == ".tar":
        as_tar(pets / "cat", file)
    if file.suffix == ".parquet":
        pq.write_table(pa.table({"image": pictures(pets / "cat")}), file)
    file.write_bytes(b"" if broken == "empty.zip" else file.read_bytes()[: file.stat().st_size // 2])
    done = run("embed", file, pets / "dog", pets / "cat", *NEW, tmp_path / "s")
    assert done.status in (0, 1)
    if done.status:
        assert (done.err.count("\n"), broken in done.err, (tmp_path / "s").exists()) == (1, True, False)
        again(run, tmp_path / "s", pets / "dog", pets / "cat")
    else:
        assert done.json["unreadable"]
        assert any(path.startswith(str(file)) for path in listed(tmp_path / "s"))
    assert len(seen(tmp_path / "s", pets).keys() & {str(one.relative_to(pets)) for one in pets.rglob("*.*")}) == 6
