"""What a folder holds beside photos: other systems' folders, closed ones, very deep ones, and what comes and goes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest
from conftest import ROOT, Done
from embedding import again, listed, rows

from petrieve.extractor.sources.folder import find, read_photo
from petrieve.store.cache import Cache

Run = Callable[..., Done]
# A process of root's may look into every folder, but for one that has given that up.
POWERLESS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")


def as_user(*words: object) -> Done:
    """A command run by a user to whom permissions apply."""
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("root can read every folder")
    command = [*(POWERLESS if os.geteuid() == 0 else ()), sys.executable, str(ROOT / "cli.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "name",
    ["@eaDir", "#recycle", "$RECYCLE.BIN", "$Recycle.Bin", "lost+found", "System Volume Information", "__MACOSX"],
)
def test_folders_that_systems_keep_for_themselves_are_passed_over(pets: Path, name: str) -> None:
    before = list(find(pets))
    shutil.copytree(pets / "cat", pets / "cat" / name / "momo-1.jpg")
    assert list(find(pets)) == before
    assert len(list(find(pets / "cat" / name))) == 3, "named as a source it is one"


def test_what_is_passed_over_is_counted_in_one_note(run: Run, pets: Path, tmp_path: Path) -> None:
    shutil.copytree(pets / "cat", pets / "#recycle")
    for folder in ("cat", "dog"):
        shutil.copytree(pets / folder, pets / folder / "@eaDir" / "x.jpg")
    sources = sorted(pets.iterdir())  # as the shell makes of pets/*
    done = run("embed", *sources, "--store", tmp_path / "s", "--weights", "bundled", "--json")
    assert done.json["found"] == len(rows(tmp_path / "s")) == 6
    assert done.json["labels"] == {"folders": {"cat": 3, "dog": 3}}
    assert done.err.count("note: ") == 1
    assert "passed over: 1 #recycle, 2 @eaDir" in done.err


def test_a_folder_that_cannot_be_listed_costs_itself_and_what_it_held_stays(
    run: Run, pets: Path, tmp_path: Path
) -> None:
    store, closed = tmp_path / "s", pets / "dog"
    again(run, store, pets)
    closed.chmod(0)
    try:
        done = as_user("embed", pets, "--store", store, "--prune", "--json")
        seen = as_user("info", "--unreadable", "--store", store).out
    finally:
        closed.chmod(0o755)
    assert (done.status, done.json["cached"], done.json["unreadable"], done.json["missing"]) == (0, 3, 1, 0), done.err
    assert "dog/  cannot be read: Permission denied" in seen
    assert len(rows(store)) == 6
    assert again(run, store, pets) == {"found": 6, "cached": 6}
    assert (listed(store), Cache.open(store).counts()["gone"]) == ({}, 0)


def test_photos_that_cannot_be_asked_for_their_size_are_listed(run: Run, pets: Path, tmp_path: Path) -> None:
    store, closed = tmp_path / "s", pets / "dog"
    again(run, store, pets)
    closed.chmod(0o444)  # names can be read, and nothing else
    try:
        done = as_user("embed", pets, "--store", store, "--json")
    finally:
        closed.chmod(0o755)
    assert (done.status, done.json["cached"], done.json["unreadable"], done.json["missing"]) == (0, 3, 3, 0), done.err
    assert again(run, store, pets) == {"found": 6, "cached": 6}


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """1,200 folders in each other. Python's own functions that make and remove such fail."""
    folder = tmp_path / "deep"
    below = ""
    for _ in range(1200):
        below += "/d"
    try:
        for end in range(0, len(below) + 1, 2):
            os.mkdir(f"{folder}{below[:end]}")
        yield Path(f"{folder}{below}")
    finally:
        shutil.rmtree(f"{folder}{below}")
        for end in range(len(below) - 2, -1, -2):
            os.rmdir(f"{folder}{below[:end]}")


def test_1200_folders_in_each_other_are_walked(run: Run, pets: Path, deep: Path, tmp_path: Path) -> None:
    shutil.copy(next(find(pets)).path, deep / "x.jpg")
    assert again(run, tmp_path / "s", tmp_path / "deep") == {"found": 1, "embedded": 1}
    assert again(run, tmp_path / "s", tmp_path / "deep") == {"found": 1, "cached": 1}


def test_folders_are_told_apart_where_all_have_the_inode_0(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pets / "cat" / "loop").symlink_to(pets)
    (pets / "same").symlink_to(pets / "cat")
    expected = [photo.uri for photo in find(pets)]
    stat = os.stat

    def without_inode(*args: object, **options: object) -> os.stat_result:
        status = stat(*args, **options)  # type: ignore[arg-type]
        return os.stat_result([status.st_mode, 0, *status[2:]])

    monkeypatch.setattr(os, "stat", without_inode)
    assert [photo.uri for photo in find(pets)] == expected
    assert len(expected) == 6


def test_what_vanishes_while_a_folder_is_walked_costs_itself(pets: Path) -> None:
    photos = list(find(pets))
    listing = find(pets)
    first = next(listing)
    shutil.rmtree(pets / "dog")
    assert [first, *listing] == photos[:3]


def test_photos_that_vanish_while_they_are_looked_at_cost_themselves(tmp_path: Path) -> None:
    files = [tmp_path / f"{number:04}.jpg" for number in range(3000)]
    for file in files:
        file.write_bytes(b"photo")
    deleting = Thread(target=lambda: [file.unlink() for file in reversed(files)])
    deleting.start()
    found = [(photo.uri, photo.size) for photo in find(tmp_path)]
    deleting.join()
    assert found == [(file.name, 5) for file in files[: len(found)]]


def test_names_with_characters_for_private_use_are_names(run: Run, pets: Path, tmp_path: Path) -> None:
    photos = sorted(pets.rglob("*.jpg"))
    places = [os.fsencode(pets), os.fsencode(pets / "caf\uf7c4")]
    os.mkdir(places[1])
    names = [b"\xc4.jpg", "\uf7c4.jpg".encode(), "\uf7ef\uf79f\uf784.jpg".encode(), "\uf700\uf022 é.jpg".encode()]
    for place in places:
        for name in names:
            shutil.copy(photos[0], os.path.join(place, name))
    found = [photo for photo in find(pets) if b"momo" not in os.fsencode(photo.path)]
    assert {os.path.join(place, name) for place in places for name in names} <= {os.fsencode(one.path) for one in found}
    assert len({one.uri for one in found}) == len(found)
    assert all(isinstance(read_photo(photo), tuple) for photo in found)
    assert again(run, tmp_path / "s", pets) == {"found": 14, "embedded": 6, "copied": 8}
    shutil.rmtree(pets / "caf\uf7c4")
    assert again(run, tmp_path / "s", pets) == {"found": 10, "cached": 10, "missing": 4}
