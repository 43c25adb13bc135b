"""Zips: they give the store of the unpacked folder, and commands print the same for both."""

import random
import re
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from embedding import Run, again
from hypothesis import given, settings
from hypothesis import strategies as st
from sources import embedded, seen
from zipping import BLUE, GREEN, RED, STREAMED, UTF8, Item, body, end, held, line, of, zip_at, zipped

from petrieve.extractor.sources.folder import Folder
from petrieve.extractor.sources.places import source_at
from petrieve.extractor.sources.zips.directory import names_are_in


def zip_of(folder: Path, file: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(file, "w", method) as made:
        for path in sorted(folder.rglob("*.*")):
            made.write(path, path.relative_to(folder))
    return file


WORDS = ["cats", "Dogs", "ü", "猫 1", "a b", "__MACOSX", "@eaDir", ".hidden", "x.y", "\\n", "100%"]
CONTENTS = [RED, BLUE, GREEN, b"", b"no photo"]
FILES = ["1.jpg", "2.PNG", "._1.jpg", "é.jpeg", "photo", "notes.txt", "a.json", "Thumbs.db", "movie.dat"]


@st.composite
def trees(draw: st.DrawFn) -> dict[str, bytes]:
    """Files by path; a text's ending is not a photo's."""
    found: dict[str, bytes] = {}
    for folders, name in draw(
        st.lists(st.tuples(st.lists(st.sampled_from(WORDS), max_size=3), st.sampled_from(FILES)))
    ):
        is_text = name.endswith((".txt", ".json"))
        found["/".join([*folders, name])] = b"words" if is_text else draw(st.sampled_from(CONTENTS))
    return found


def unpacked(tree: dict[str, bytes], folder: Path) -> Path:
    for name, data in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    folder.mkdir(exist_ok=True)
    return folder


@settings(max_examples=100, deadline=None)
@given(
    tree=trees(),
    data=st.data(),
    before=st.sampled_from([b"", b"MZ a program", b"PK\3\4 not yet"]),
    counted=st.booleans(),
    comment=st.sampled_from([b"", b"a comment", b"PK\5", bytes(60_000)]),
    zip64=st.booleans(),
)
def test_a_zip_holds_what_the_unpacked_folder_holds(
    tree: dict[str, bytes],
    data: st.DataObject,
    before: bytes,
    counted: bool,
    comment: bytes,
    zip64: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    place = tmp_path_factory.mktemp("zip")
    folder = Folder(str(unpacked(tree, place / "folder")))
    ways = st.tuples(st.sampled_from([0, 8]), st.sampled_from([0, UTF8, UTF8 | STREAMED]))
    items = [Item(name.encode(), held, *data.draw(ways)) for name, held in tree.items()]
    (place / "a.zip").write_bytes(zipped(items, before=before, counted=counted, comment=comment, zip64=zip64))
    made = zip_at(place / "a.zip")
    assert held(made) == held(folder)
    assert made.passed == folder.passed
    shutil.rmtree(place)


def test_photos_come_in_the_order_in_which_they_lie(tmp_path: Path) -> None:
    items = [Item(b"2.png", RED), Item(b"1.png", BLUE)]
    bodies = body(items[0]) + body(items[1])
    lines = line(items[1], len(body(items[0]))) + line(items[0], 0)
    assert list(of(bodies + lines + end(2, len(lines), len(bodies)), tmp_path)) == ["2.png", "1.png"]


def test_photos_that_lie_side_by_side_are_read_at_once(tmp_path: Path) -> None:
    noise = random.Random(0).randbytes(20_000)
    items = [Item(f"{number}.png".encode(), noise, number % 2 * 8) for number in range(200)]
    (tmp_path / "a.zip").write_bytes(zipped(items))
    started = asked()
    assert list(held(zip_at(tmp_path / "a.zip")).values()) == [noise] * 200
    assert asked() - started < 20


def asked() -> int:
    """How often this process has asked the system for bytes."""
    return int(re.findall(r"syscr: (\d+)", Path("/proc/self/io").read_text())[0])


NAMES = {
    b"cats/1.png": "cats/1.png",
    b"/cats/1.png": "cats/1.png",
    b"./cats//1.png": "cats/1.png",
    b"cats/1.png\0.txt": "cats/1.png",
    "猫.png".encode(): "猫.png",
    "猫.png".encode("shift_jis"): "\uf794L.png",
    "é.png".encode("cp437"): "\uf782.png",
}


@pytest.mark.parametrize(("written", "name"), NAMES.items())
def test_what_an_entry_is_called(written: bytes, name: str, tmp_path: Path) -> None:
    assert of(zipped([Item(written, RED)]), tmp_path) == {name: RED}


def test_backslashes_part_names_where_they_were_made_on_windows(tmp_path: Path) -> None:
    for system, name in ((0, "cats/1.png"), (3, "cats\\1.png")):
        assert of(zipped([Item(b"cats\\1.png", RED, system=system)]), tmp_path, f"{system}.zip") == {name: RED}


def test_a_name_in_unicode_beside_the_other_is_the_one(tmp_path: Path) -> None:
    own, name = "é.png".encode("cp850"), "é.png".encode()
    extra = struct.pack("<2HBL", 0x7075, 5 + len(name), 1, zlib.crc32(own)) + name
    assert of(zipped([Item(own, RED, extra=extra)]), tmp_path) == {"é.png": RED}


def test_names_are_in_the_encoding_that_is_said(run: Run, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    request.addfinalizer(lambda: names_are_in(None))
    items = [Item("猫/表.png".encode("shift_jis"), RED), Item("犬/2.png".encode(), BLUE, flags=UTF8)]
    (tmp_path / "a.zip").write_bytes(zipped(items))
    words = ("--store", tmp_path / "s", "--zip-encoding", "shift_jis")
    assert run("embed", tmp_path / "a.zip", "--weights", "bundled", *words).status == 0
    assert sorted(seen(tmp_path / "s", tmp_path / "a.zip")) == ["犬/2.png", "猫/表.png"]
    photo = tmp_path / "a.zip" / "猫" / "表.png"
    assert run("similar", photo, "--sheet", tmp_path / "x.jpg", *words).status == 0
    slip = run("embed", tmp_path / "a.zip", "--zip-encoding", "klingon")
    assert (slip.status, "not an encoding" in slip.err) == (2, True)


@pytest.mark.filterwarnings("ignore:.*twice")
def test_two_entries_with_one_name_are_two_photos(tmp_path: Path) -> None:
    items = [Item(b"cats/1.png", RED), Item(b"cats/1.png", BLUE), Item(b"cats/1 (2).png", GREEN)]
    assert of(zipped(items), tmp_path) == {"cats/1.png": RED, "cats/1 (2).png": BLUE, "cats/1 (2) (2).png": GREEN}


def test_what_is_packed_before_a_zip_hides_no_photo(run: Run, pets: Path, tmp_path: Path) -> None:
    data = zip_of(pets, tmp_path / "pets.zip").read_bytes()
    (tmp_path / "pets.exe").write_bytes(b"MZ" + bytes(3000) + data)
    assert again(run, tmp_path / "s", tmp_path / "pets.exe") == {"found": 6, "embedded": 6}


def test_the_store_of_a_zip_is_that_of_the_folder_and_costs_what_is_new(run: Run, pets: Path, tmp_path: Path) -> None:
    file, store = zip_of(pets, tmp_path / "pets.zip"), tmp_path / "s"
    assert embedded(run, tmp_path / "f", pets) == embedded(run, store, file)
    with zipfile.ZipFile(file, "a") as made:
        made.writestr("dog/new.png", RED)
    assert again(run, store, file) == {"found": 7, "embedded": 1, "cached": 6}
    with zipfile.ZipFile(file) as before, zipfile.ZipFile(tmp_path / "other.zip", "w") as made:
        for name in reversed(before.namelist()):
            made.writestr(before.getinfo(name), before.read(name))
    shutil.move(tmp_path / "other.zip", file)
    assert again(run, store, file) == {"found": 7, "copied": 7}
    data = bytearray(file.read_bytes())
    data[: data.index(b"PK\1\2")] = bytes(data.index(b"PK\1\2"))  # nothing but the directory is left
    file.write_bytes(b"PK\3\4" + data[4:])
    assert again(run, store, file) == {"found": 7, "cached": 7}


def test_what_is_no_longer_in_a_zip_is_gone(run: Run, pets: Path, tmp_path: Path) -> None:
    file, store = zip_of(pets, tmp_path / "pets.zip"), tmp_path / "s"
    again(run, store, file)
    lost = sorted((pets / "cat").iterdir())[0]
    lost.unlink()
    zip_of(pets, file)
    found = run("verify", "--all", "--sample", 0, "--store", store, "--json").json
    assert f"pets.zip/cat/{lost.name}" in found["changed"]
    assert found["findings"] == []
    assert again(run, store, file)["missing"] == 1
    file.unlink()
    done = run("embed", file, "--store", store)
    assert (done.status, "is gone" in done.err) == (1, True)


def test_rot_in_a_zip_is_found(run: Run, pets: Path, tmp_path: Path) -> None:
    file, store = zip_of(pets, tmp_path / "pets.zip", zipfile.ZIP_STORED), tmp_path / "s"
    again(run, store, file)
    data = bytearray(file.read_bytes())
    data[2000] ^= 1
    file.write_bytes(data)
    (finding,) = run("verify", "--all", "--sample", 0, "--store", store, "--json").json["findings"]
    assert "can no longer be read" in finding["what"]


ASKED = [
    ("similar", "{root}/cat/milo-1.jpg", "--sheet", "{out}.jpg"),
    ("predict", "{root}"),
    ("audit", "--csv", "{out}.csv"),
    ("duplicates", "--csv", "{out}-2.csv", "--sheet", "{out}-2.jpg"),
    ("verify", "--all", "--sample", "3"),
    ("evaluate",),
    ("info",),
]


def test_every_command_says_of_a_zip_what_it_says_of_the_folder(
    run: Run, pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # names are whole
    shutil.copy(pets / "cat" / "milo-1.jpg", pets / "cat" / "copy.jpg")
    roots = {"a": pets, "b": zip_of(pets, tmp_path / "photos.zip")}
    for out, root in roots.items():
        again(run, tmp_path / out, root)
        assert run("fit-head", "--store", tmp_path / out).status == 0
    for words in ASKED:
        said = []
        for out, root in roots.items():
            named = [word.format(root=root, out=tmp_path / out) for word in words]
            done = run(*named, "--store", tmp_path / out, "--json")
            assert done.status == 0, done.err
            text = done.out.replace(str(root), "ROOT").replace(str(tmp_path / out), "OUT")
            said.append(re.sub(r'"seconds": [\d.]+', "", text))
        assert said[0] == said[1]
    for name in (".jpg", "-2.jpg", ".csv", "-2.csv"):
        data = [(tmp_path / f"{out}{name}").read_bytes() for out in roots]
        assert data[0].replace(str(pets).encode(), b"ROOT") == data[1].replace(str(roots["b"]).encode(), b"ROOT")


def test_an_archive_in_a_zip_is_named_and_not_opened(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped([Item(b"a/more.zip", zipped([Item(b"1.png", RED)])), Item(b"b.txt", RED)]))
    made = zip_at(tmp_path / "a.zip")
    assert held(made) == {}
    assert made.passed == {"more.zip": 1, ".txt": 1}


def test_a_photo_is_asked_for_below_a_folder_of_a_zip(pets: Path, tmp_path: Path) -> None:
    file = zip_of(pets, tmp_path / "pets.zip")
    assert sorted(held(source_at(f"{file}/cat"))) == sorted(path.name for path in (pets / "cat").iterdir())
