"""A tar, however it is written and packed, gives the store of the unpacked folder; a bad entry costs only itself."""

import io
import lzma
import os
import random
import re
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import corpus
import pytest
from embedding import Run, again, listed, torture
from hypothesis import given, settings
from hypothesis import strategies as st
from shards import FORMATS, PACKINGS, entry, held, packed, tar_in, tar_of, tarred
from sources import embedded, seen

from petrieve.extractor.sources.archives import archive
from petrieve.extractor.sources.blob import blob_at
from petrieve.extractor.sources.bounds import max_bytes
from petrieve.extractor.sources.places import source_at
from petrieve.store.rows import Unreadable

JPEG = b"\xff\xd8\xff\xe0"
THREE = {"a/1.jpg": JPEG + b"1" * 700, "a/2.jpg": JPEG + b"2" * 1500, "b/3.jpg": JPEG + b"3" * 300}
BLOCK = 512


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


names = st.sampled_from(
    ["cat", "Dog", "__MACOSX", "@eaDir", ".hidden", "a b", "Käse", "22.05", "x" * 120, "b\\c", "ü\udcfe", "-", "a\nb"]
)
endings = st.sampled_from([".jpg", ".JPEG", ".png", ".md", ".csv", "", ".", ".jpg.part", ".tar.jpg"])
contents = st.sampled_from([JPEG, b"a text", b"", JPEG + bytes(600), b"GIF89a" + b"x" * 513, bytes(1024)])
paths = st.builds(
    lambda folders, stem, ending: "/".join([*folders, stem + ending]), st.lists(names, max_size=3), names, endings
)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, bytes]:
    """Files by path, none of which is a folder of another."""
    files: dict[str, bytes] = {}
    for path in draw(st.lists(paths, max_size=8, unique=True)):
        above = ["/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 1)]
        if files.keys().isdisjoint(above) and not any(other.startswith(f"{path}/") for other in files):
            files[path] = draw(contents)
    return files


@settings(max_examples=150, deadline=None)
@given(trees(), st.sampled_from(list(FORMATS)), st.sampled_from(PACKINGS), st.sampled_from(["", "./"]))
def test_a_tar_holds_what_the_unpacked_folder_holds(files: dict[str, bytes], kind: str, packing: str, by: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            data = tar_of({by + name: data for name, data in {**files, "last": b""}.items()}, kind)
        except ValueError:  # a name that is too long for this format
            return
        for name, content in {**files, "last": b""}.items():
            path = Path(folder, "unpacked", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        assert held(written(Path(folder, "a.tar"), packed(data, packing))) == held(Path(folder, "unpacked"))


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_tar_gives_the_store_of_the_folder(run: Run, pets: Path, tmp_path: Path, packing: str) -> None:
    file = written(tmp_path / f"pets.tar{packing}", packed(tar_in(pets), packing))
    assert embedded(run, tmp_path / "a", pets) == embedded(run, tmp_path / "b", file)
    assert again(run, tmp_path / "b", file) == {"found": 6, "cached": 6}


def test_an_old_tar_without_a_mark_is_known_by_its_checksum(tmp_path: Path) -> None:
    data = bytearray(tar_of(THREE))
    for place in _headers(data):
        data[place + 257 : place + 265] = bytes(8)
        _seal(data, place)
    assert held(written(tmp_path / "a", bytes(data)))[0] == THREE


def test_tars_behind_each_other_are_all_read(tmp_path: Path) -> None:
    one, other = tar_of(THREE), tar_of({"c/4.jpg": JPEG})
    assert held(written(tmp_path / "a.tar", one + other))[0] == {**THREE, "c/4.jpg": JPEG}
    behind = b"anything" * 1000  # what lies behind the end is not part of it
    assert held(written(tmp_path / "b.tar", one + behind))[0] == THREE
    halves = packed(one, ".gz") + packed(other, ".gz")
    assert held(written(tmp_path / "c.tar.gz", halves))[0] == {**THREE, "c/4.jpg": JPEG}


def test_a_second_entry_of_the_same_name_is_another_photo(tmp_path: Path) -> None:
    data = tar_of([("a/1.jpg", JPEG + b"old"), ("a/1.jpg", JPEG + b"new"), ("./a/1.jpg", JPEG + b"newest")])
    with pytest.warns(UserWarning, match=r"'a/1\.jpg' twice: the second is called 'a/1 \(2\)\.jpg', and 1 more"):
        found, _ = held(written(tmp_path / "a.tar", data))
    assert found == {"a/1.jpg": JPEG + b"old", "a/1 (2).jpg": JPEG + b"new", "a/1 (3).jpg": JPEG + b"newest"}


def test_no_name_leads_out_of_the_tar(run: Run, pets: Path, tmp_path: Path) -> None:
    photo = next((pets / "cat").iterdir()).read_bytes()
    odd = ["/etc/cat.jpg", "../../cat.jpg", "a/../../b/cat.jpg", "C:\\cat.jpg", "a//b/./cat.jpg", "..", "/"]
    file = written(tmp_path / "a.tar", tar_of([(name, photo) for name in odd]))
    assert again(run, tmp_path / "s", file) == {"found": 5, "embedded": 1, "copied": 2, "unreadable": 2}
    assert listed(tmp_path / "s") == {
        f"{file}/{name}": "its name leads out of the archive" for name in ("cat.jpg", "a/b/cat.jpg")
    }
    assert set(seen(tmp_path / "s", file)) == {"etc/cat.jpg", "C:\\cat.jpg", "a/b/cat (2).jpg"}
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar", "s", pets.name}


def test_archives_within_a_tar_are_named(tmp_path: Path) -> None:
    _, passed = held(written(tmp_path / "a.tar", tar_of({"b/c.zip": b"PK\3\4", "d.tar": tar_of(THREE), "1.jpg": JPEG})))
    assert passed == {"c.zip": 1, "d.tar": 1}


def test_links_within_a_tar_are_further_names_and_what_is_no_file_is_passed_over(tmp_path: Path) -> None:
    links = [
        entry("a/hard.jpg", b"", type=tarfile.LNKTYPE, linkname="a/1.jpg"),
        entry("b/soft.png", b"", type=tarfile.SYMTYPE, linkname="../a/1.jpg"),
        entry("b/out.jpg", b"", type=tarfile.SYMTYPE, linkname="../../a/1.jpg"),
        entry("b/abs.jpg", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        entry("b/loop.jpg", b"", type=tarfile.SYMTYPE, linkname="loop.jpg"),
        entry("b/lost.jpg", b"", type=tarfile.LNKTYPE, linkname="nowhere.jpg"),
        entry("dev.jpg", b"", type=tarfile.CHRTYPE),
        entry("pipe.jpg", b"", type=tarfile.FIFOTYPE),
    ]
    for packing in ("", ".gz"):
        data = tarred([entry("a/1.jpg", JPEG), *links, entry("z.jpg", JPEG + b"z")])
        found, passed = held(written(tmp_path / "a.tar", packed(data, packing)))
        lost = found.pop("b/lost.jpg")
        assert found == {"a/1.jpg": JPEG, "a/hard.jpg": JPEG, "b/soft.png": JPEG, "z.jpg": JPEG + b"z"}
        assert "a link to 'nowhere.jpg'" in str(lost)
        assert passed == {"symbolic link": 3, "device": 1, "named pipe": 1}


def sealed(data: bytes, chance: random.Random) -> bytes:
    """A tar in one of whose headers a byte is another, under a right checksum: so damage reaches what reads it."""
    made = bytearray(data)
    marks = [found.start() - 257 for found in re.finditer(b"ustar", data) if found.start() > 256]
    if marks:
        place = chance.choice(marks)
        made[place + chance.choice((*range(100), *range(124, 160), *range(156, 160), 482))] = chance.randrange(256)
        _seal(made, place) if len(made) >= place + BLOCK else None
    return bytes(made)


def _headers(data: bytes) -> list[int]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [member.offset_data - BLOCK for member in tar]


def _seal(data: bytearray, place: int) -> None:
    """Give a header its right checksum."""
    data[place + 148 : place + 156] = b" " * 8
    data[place + 148 : place + 156] = b"%06o\0 " % sum(data[place : place + BLOCK])


def _cut(data: bytearray) -> None:
    del data[_headers(data)[1] + BLOCK + 100 :]


def _cut_in_header(data: bytearray) -> None:
    del data[_headers(data)[2] + 100 :]


def _scratched(data: bytearray) -> None:
    data[_headers(data)[1]] ^= 1


def _sized(size: bytes) -> Callable[[bytearray], None]:
    def lie(data: bytearray) -> None:
        place = _headers(data)[1]
        data[place + 124 : place + 136] = size
        _seal(data, place)

    return lie


# Ways to spoil a tar of THREE: the reasons of what cannot be read, by uri; all else is there.
LOST = {
    "cut off in a photo": (_cut, {"a/2.jpg": "the tar ends within it", "": "ends too early", "b/3.jpg": None}),
    "cut off in a header": (_cut_in_header, {"b/3.jpg": None, "": "ends too early"}),
    "a header damaged": (_scratched, {"a/2.jpg": None, "": "a header is damaged, at byte 1,536"}),
    "a size far beyond": (_sized(b"77777777777\0"), {"a/2.jpg": "over 1024 MB", "": "ends too early"}),
    "a size in bytes": (_sized(b"\x80" + bytes(4) + b"\7" * 7), {"a/2.jpg": "over 1024 MB", "": "ends too early"}),
    "a size without end": (_sized(b"\x80" + b"\xff" * 11), {"a/2.jpg": None, "": "a header is damaged"}),
    "a size a little beyond": (_sized(b"00000200000\0"), {"a/2.jpg": "ends within it", "": "ends too early"}),
    "a negative size": (_sized(b"\xff" * 12), {"a/2.jpg": None, "": "a header is damaged"}),
    "a size of words": (_sized(b"rather large"), {"a/2.jpg": None, "": "a header is damaged"}),
}


@pytest.mark.parametrize("how", LOST)
def test_what_is_bad_in_a_tar_is_told_and_all_else_is_there(how: str, tmp_path: Path) -> None:
    spoil, lost = LOST[how]
    data = bytearray(tar_of(THREE))
    spoil(data)
    found, _ = held(written(tmp_path / "a.tar", bytes(data)))
    assert {uri: one for uri, one in found.items() if uri not in lost} == {
        uri: one for uri, one in THREE.items() if uri not in lost
    }
    for uri, reason in lost.items():
        assert (reason in str(found[uri])) if reason else uri not in found


@pytest.mark.parametrize("packing", [".gz", ".zst", ".bz2"])
def test_of_a_packed_tar_that_is_cut_off_what_is_whole_comes_out(packing: str, tmp_path: Path) -> None:
    chance = random.Random(0)
    photos = {f"{number}.jpg": JPEG + chance.randbytes(9000) for number in range(200)}
    whole = packed(tar_of(photos), packing)
    found, _ = held(written(tmp_path / "a.tar", whole[: len(whole) // 2]))
    assert "the tar is damaged: it cannot be unpacked" in str(found.pop(""))
    good = {uri: one for uri, one in found.items() if isinstance(one, bytes)}
    assert good == {uri: photos[uri] for uri in good}
    assert len(good) > {".gz": 97, ".zst": 80, ".bz2": 70}[packing]  # zstd packs 128 kB at a time, bzip2 900 kB
    assert len(found) - len(good) <= 1


def test_what_is_packed_and_no_tar_is_named(run: Run, tmp_path: Path) -> None:
    for packing, said in ((".gz", "1 gzip file without a tar in it"), (".zst", "1 zstd file without a tar in it")):
        file = written(tmp_path / f"a.tar{packing}", packed(b"anything" * 100, packing))
        done = run("embed", file, "--store", tmp_path / "s")
        assert (done.status, said in done.err) == (1, True), done.err
    done = run("embed", written(tmp_path / "a.tar.xz", lzma.compress(tar_of(THREE))), "--store", tmp_path / "s")
    assert (done.status, "1 xz file (pack it by gzip or zstd)" in done.err) == (1, True), done.err


def test_a_file_with_holes_and_one_too_large_are_told(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with open(tmp_path / "d" / "holes.jpg", "wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(JPEG)
    (tmp_path / "d" / "whole.jpg").write_bytes(JPEG)
    for kind in ("gnu", "pax"):
        command = ["tar", f"--format={kind}", "--sparse", "-cf", tmp_path / "a.tar", "d"]
        subprocess.run(command, cwd=tmp_path, check=True)
        found, _ = held(tmp_path / "a.tar")
        assert "a file with holes" in str(found.pop("d/holes.jpg"))
        assert found == {"d/whole.jpg": JPEG}
    with open(tmp_path / "b.tar", "wb") as file:
        info = tarfile.TarInfo("large.jpg")
        info.size = max_bytes() + 1
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.seek(info.size - info.size % -BLOCK, 1)
        file.write(tar_of({"small.jpg": JPEG}))
    assert held(tmp_path / "b.tar")[0] == {"large.jpg": "over 1024 MB", "small.jpg": JPEG}


def test_a_tar_that_grows_costs_what_was_added_and_one_made_anew_is_read_again(
    run: Run, pets: Path, tmp_path: Path
) -> None:
    photos = [path.read_bytes() for path in sorted(pets.rglob("*.*"))]
    named = [(f"{number}.jpg", data) for number, data in enumerate(photos)]
    file = written(tmp_path / "a.tar", tar_of(named[:5]))
    again(run, tmp_path / "s", file)
    written(file, tar_of(named))
    assert again(run, tmp_path / "s", file) == {"found": 6, "embedded": 1, "cached": 5}
    # Made to be reproducible, all times are 0: those of the tar itself tell.
    timeless = [entry(name, data, 0) for name, data in named]
    again(run, tmp_path / "s", written(file, tarred(timeless)))
    assert again(run, tmp_path / "s", file) == {"found": 6, "cached": 6}
    os.utime(file, ns=(0, 0))
    assert again(run, tmp_path / "s", file) == {"found": 6, "copied": 6}


def test_what_lies_behind_damage_is_not_gone_and_comes_back_with_a_whole_tar(
    run: Run, pets: Path, tmp_path: Path
) -> None:
    whole = tar_in(pets)
    file = written(tmp_path / "a.tar", whole)
    again(run, tmp_path / "s", file)
    written(file, whole[: len(whole) // 2])
    done = run("embed", file, "--store", tmp_path / "s", "--json")
    assert (done.json["missing"], done.json["unreadable"]) == (0, 2)
    assert sorted(listed(tmp_path / "s").values()) == [
        "the tar ends within it",
        next(reason for reason in listed(tmp_path / "s").values() if reason.startswith("the tar is damaged")),
    ]
    written(file, whole)
    assert again(run, tmp_path / "s", file)["found"] == 6
    assert listed(tmp_path / "s") == {}


def test_a_photo_of_a_tar_that_has_changed_since_is_not_another_one(tmp_path: Path) -> None:
    for packing in PACKINGS:
        file = written(tmp_path / "a.tar", packed(tar_of(THREE), packing))
        source = source_at(str(file))
        (part,) = source.parts()
        written(file, packed(tar_of({"a/0.jpg": JPEG, **THREE}), packing))
        told = [getattr(one, "reason", None) for one in part.read({photo.uri for photo in part.photos})]
        assert told == ["cannot be read: the tar has changed since it was listed"] * 3
        within = replace(part.photos[0], uri="b.jpg", version="tar 00000000@600")
        told = [getattr(one, "reason", "") for one in source.part([*part.photos, within]).read({"b.jpg", "a/1.jpg"})]
        assert len(told) == 2
        assert all("changed since it was listed" in reason for reason in told)


def test_a_tar_that_cannot_be_read_now_is_tried_again(tmp_path: Path) -> None:
    for packing in PACKINGS:
        file = written(tmp_path / "a.tar", packed(tar_of(THREE), packing))
        source = source_at(str(file))
        file.unlink()
        ((told,),) = (list(part.read({photo.uri for photo in part.photos})) for part in source.parts())
        assert isinstance(told, Unreadable)
        assert told.reason == "cannot be read: No such file or directory"


@pytest.mark.filterwarnings("ignore:.*twice:UserWarning")
@pytest.mark.parametrize("seconds", torture(3, 1800))
def test_no_damage_stops_a_run(seconds: int, tmp_path: Path) -> None:
    """Tars damaged in every way are listed and read to their end, in time, and each photo comes once."""
    chance = random.Random(seconds)
    links = [entry("l.jpg", b"", type=tarfile.LNKTYPE, linkname="a/1.jpg")]
    long = [(f"{'x' * 150}/{number}.jpg", JPEG + b"long") for number in range(3)]
    beside = [("a/1.json", b'{"n": 1}'), ("a/1.cls", b"3"), ("a/2.txt", b"cat")]
    files = [*THREE.items(), *long, *beside]
    wholes = [
        tarred([*(entry(*file) for file in files), *links, entry("z.jpg", JPEG)], kind) for kind in ("gnu", "pax")
    ]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        data = chance.choice(wholes)
        for _ in range(chance.randint(1, 3)):
            data = chance.choice(WAYS)(data, chance) if len(data) > 1 else data
        packing = chance.choice(PACKINGS)
        data = packed(data, packing)
        if packing and chance.random() < 0.7:
            data = chance.choice(WAYS)(data, chance)
        last = written(tmp_path / "last.tar", data)  # what a failure leaves behind
        began = time.monotonic()
        if archive(blob_at(str(last)), str(last)):
            found, _ = held(last)
            assert all(".." not in uri.split("/") and uri[:1] != "/" for uri in found)
        assert time.monotonic() - began < 5


WAYS = (corpus.cut, corpus.flipped, corpus.blotted, corpus.spliced, corpus.shuffled, sealed)
