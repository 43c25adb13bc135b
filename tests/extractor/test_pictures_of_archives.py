"""Photos in archives are looked at where they are: on sheets, as copies, and by the names that people write."""

import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Done
from embedding import Run, again
from PIL import Image, ImageStat
from sources import as_tar, pictures, seen, written


@pytest.fixture(scope="module")
def made(drawn: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a zip of 12 photos, two of them twice, and the store of it with a head."""
    folder = tmp_path_factory.mktemp("made")
    photos = [path for kind in ("cat", "dog") for path in sorted((drawn / kind).iterdir())[:6]]
    with zipfile.ZipFile(folder / "pets.zip", "w") as archive:
        for path in photos:
            archive.write(path, path.relative_to(drawn))
        for path in photos[:2]:
            archive.write(path, f"again/{path.name}")
    again(run, folder / "s", folder / "pets.zip", "--label-level", 1)
    assert run("fit-head", "--store", folder / "s").status == 0
    return folder


def test_copies_in_an_archive_are_found_and_drawn(run: Run, made: Path, tmp_path: Path) -> None:
    found = run("duplicates", "--store", made / "s", "--sheet", tmp_path / "c.jpg", "--json").json
    groups = [one for one in found["groups"] if one["kind"] == "same bytes"]
    assert [len(one["photos"]) for one in groups] == [2, 2]
    assert found["changed"] == 0
    assert shows(tmp_path / "c.jpg")


def test_a_copy_in_an_archive_that_is_gone_is_none(run: Run, made: Path) -> None:
    (made / "pets.zip").rename(made / "elsewhere.zip")
    try:
        done = run("duplicates", "--store", made / "s", "--json")
        assert done.status == 1 or done.json["groups"] == []
    finally:
        (made / "elsewhere.zip").rename(made / "pets.zip")


def test_neighbours_and_findings_in_an_archive_are_drawn(run: Run, made: Path, tmp_path: Path) -> None:
    name = min(seen(made / "s", made / "pets.zip"))
    at = ("--store", made / "s")
    assert run("similar", made / "pets.zip" / name, *at, "--sheet", tmp_path / "n.jpg").status == 0
    assert shows(tmp_path / "n.jpg")
    assert run("report", *at, "--out", tmp_path / "r.html").status == 0
    done = run("audit", *at, "--sheet", tmp_path / "a.jpg")
    assert done.status == 0
    assert not (tmp_path / "a.jpg").exists() or shows(tmp_path / "a.jpg")


def tarred(drawn: Path, folder: Path) -> Path:
    as_tar(drawn, folder / "pets.tar.gz")
    return folder / "pets.tar.gz"


def tabled(drawn: Path, folder: Path) -> Path:
    return written(folder / "pets.parquet", {"image": pictures(drawn)})


@pytest.mark.parametrize("made_of", [tarred, tabled])
def test_what_is_read_in_one_go_is_not_read_once_for_each_photo(
    run: Run, drawn: Path, tmp_path: Path, made_of: Callable[[Path, Path], Path]
) -> None:
    file = made_of(drawn, tmp_path)
    photos = again(run, tmp_path / "s", file)["embedded"]
    with opened(file) as times:
        assert run("duplicates", "--store", tmp_path / "s").status == 0
    assert 0 < len(times) < photos / 2


def test_few_photos_that_are_asked_about_are_read_in_one_go(run: Run, made: Path, pets: Path, tmp_path: Path) -> None:
    counts = []
    for name in ("cat", "."):
        as_tar(pets / name, tmp_path / "few.tar.gz")
        with opened(tmp_path / "few.tar.gz") as times:
            assert run("predict", tmp_path / "few.tar.gz", "--store", made / "s").status == 0
        counts.append(len(times))
    assert counts[0] == counts[1] > 0


@contextmanager
def opened(file: Path) -> Iterator[list[str]]:
    """How often a file is opened meanwhile."""
    times, watched = list[str](), {str(file)}
    sys.addaudithook(lambda event, words: times.append("") if event == "open" and words[0] in watched else None)
    try:
        yield times
    finally:
        watched.clear()  # a hook stays until the process ends


def test_an_archive_is_no_photo_to_look_for(run: Run, made: Path) -> None:
    for name, count in (("pets.zip", 14), ("pets.zip/cat", 6)):
        done = run("similar", made / name, "--store", made / "s")
        assert (done.status, done.err) == (1, f"error: {made / name} holds {count} photos; name one photo\n")


def shows(sheet: Path) -> bool:
    """Whether the first tile of a sheet is a picture, and not the grey of one that could not be read."""
    with Image.open(sheet) as image:
        return max(ImageStat.Stat(image.crop((12, 12, 232, 232))).stddev) > 10


ODD = ["cat/a [1].jpg", "cat/ü + %20 #1.jpg", "dog/x.zip/1.jpg", "dog/{a,b}.JPG", "dog/ * ?.jpg"]


@pytest.mark.parametrize("way", ["from where one stands", "from the source", "from the root", "with backslashes"])
def test_a_csv_names_photos_of_archives_as_they_are_shown(
    run: Run, pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    file = tmp_path / "data" / "pets [2].zip"
    file.parent.mkdir()
    photos = sorted(pets.rglob("*.*"))
    with zipfile.ZipFile(file, "w") as archive:
        for name, path in zip(ODD, photos, strict=False):
            archive.write(path, name)
    names = {
        "from where one stands": [f"pets [2].zip/{name}" for name in ODD],
        "from the source": ODD,
        "from the root": [f"{file}/{name}" for name in ODD],
        "with backslashes": [f"pets [2].zip/{name}".replace("/", "\\") for name in ODD],
    }[way]
    monkeypatch.chdir(file.parent)
    rows = "".join(f'"{name}",{number}\n' for number, name in enumerate(names))
    (tmp_path / "l.csv").write_text(f"photo,number\n{rows}")
    done: Done = run("embed", file, "--store", tmp_path / "s", "--weights", "bundled", "--labels", tmp_path / "l.csv")
    assert done.status == 0, done.err
    assert "does not hold" not in done.err
    for number, name in enumerate(ODD):
        other = (number + 1) % len(ODD)
        found = run("similar", f"{file}/{name}", "--store", tmp_path / "s", "--where", f"number = {other}", "--json")
        assert [one["photo"] for one in found.json["neighbours"]] == [f"pets [2].zip/{ODD[other]}"]
