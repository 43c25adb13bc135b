"""Shards as WebDataset and img2dataset write them, and zips of the same: files beside photos annotate them."""

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
from embedding import Run, again, column, rows
from shards import packed, tar_of
from sources import seen

from petrieve.extractor.sources.places import source_at

KINDS = ("tar", "zip")
JPEG = b"\xff\xd8\xff\xe0"
Said = dict[str, dict[str, Any]]


def said(path: Path, files: dict[str, bytes] | list[tuple[str, bytes]]) -> tuple[Said, dict[str, int], list[str]]:
    """What a shard of these files says of its photos, by uri; what it passes over; and the notes."""
    if path.suffix == ".zip":
        zip_of(path, files)
    else:
        path.write_bytes(tar_of(files))
    source = source_at(str(path))
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        listed = [photo for part in source.parts() for photo in part.photos]
        words = source.annotations(listed)
    told = {name.removeprefix(f"{path}/"): row for name, row in words.rows.items()} if words else {}
    return told, dict(source.passed), [str(note.message) for note in notes]


def zip_of(path: Path, files: dict[str, bytes] | list[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that come twice
        for name, data in files.items() if isinstance(files, dict) else files:
            made.writestr(name, data)


# Files of a shard, and what they say of its photos.
SHARDS: dict[str, tuple[list[tuple[str, bytes]], Said]] = {
    "an index": ([("0.cls", b"3"), ("0.jpg", JPEG)], {"0.jpg": {"label": "3"}}),
    "a name": ([("0.jpg", JPEG), ("0.cls", b"cat\n")], {"0.jpg": {"label": "cat"}}),
    "endings in capitals": ([("0.JPG", JPEG), ("0.CLS", b"cat")], {"0.JPG": {"label": "cat"}}),
    "folders": ([("a/0.jpg", JPEG), ("b/0.jpg", JPEG), ("b/0.cls", b"cat")], {"b/0.jpg": {"label": "cat"}}),
    "far from each other": ([("0.jpg", JPEG), ("1.jpg", JPEG), ("0.cls", b"cat")], {"0.jpg": {"label": "cat"}}),
    "names with dots": (
        [("22.05.png", JPEG), ("22.05.cls", b"cat"), ("22.06.png", JPEG), ("22.06.cls", b"dog")],
        {"22.05.png": {"label": "cat"}, "22.06.png": {"label": "dog"}},
    ),
    "endings with dots": (
        [("0.left.jpg", JPEG), ("0.right.jpg", JPEG), ("0.cls", b"cat")],
        {"0.left.jpg": {"label": "cat"}, "0.right.jpg": {"label": "cat"}},
    ),
    "the nearer name first": (
        [("0.left.jpg", JPEG), ("0.cls", b"cat"), ("0.left.cls", b"dog")],
        {"0.left.jpg": {"label": "dog"}},
    ),
    "two pictures": (
        [("0.jpg", JPEG), ("0.png", JPEG), ("0.cls", b"cat")],
        {"0.jpg": {"label": "cat"}, "0.png": {"label": "cat"}},
    ),
    "texts that are classes": (
        [
            (f"{number}.{ending}", JPEG if ending == "jpg" else b"a cat")
            for number in range(4)
            for ending in ("jpg", "txt")
        ],
        {f"{number}.jpg": {"label": "a cat"} for number in range(4)},
    ),
    "texts that are captions": (
        [("0.jpg", JPEG), ("0.txt", b"a cat asleep"), ("1.jpg", JPEG), ("1.txt", b"a dog on a lawn")],
        {"0.jpg": {"txt": "a cat asleep"}, "1.jpg": {"txt": "a dog on a lawn"}},
    ),
    "texts beside labels": (
        [(f"{n}.{e}", d) for n in range(4) for e, d in (("jpg", JPEG), ("cls", b"1"), ("txt", b"same"))],
        {f"{number}.jpg": {"label": "1", "txt": "same"} for number in range(4)},
    ),
    "an object": (
        [("0.jpg", JPEG), ("0.json", b'{"class": "cat", "age": 3, "in": true, "of": [1, {"x": 2}], "no": null}')],
        {"0.jpg": {"label": "cat", "age": 3, "in": True, "of": '[1, {"x": 2}]'}},
    ),
    "a class beside an object": (
        [("0.jpg", JPEG), ("0.cls", b"7"), ("0.json", b'{"label": "cat", "split": "val"}')],
        {"0.jpg": {"label": "7", "split": "val"}},
    ),
    "a mark of order": ([("0.jpg", JPEG), ("0.cls", b"\xef\xbb\xbfcat")], {"0.jpg": {"label": "cat"}}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", SHARDS)
def test_what_lies_beside_a_photo_is_said_of_it(what: str, kind: str, tmp_path: Path) -> None:
    files, told = SHARDS[what]
    assert said(tmp_path / f"a.{kind}", files) == (told, {}, [])


BAD = {
    "no UTF-8": ("0.cls", b"\xff\xfe", "0.cls: it is not UTF-8"),
    "no JSON": ("0.json", b'{"a": ', "0.json: it is not a JSON object"),
    "no object": ("0.json", b"[1]", "0.json: it is not a JSON object"),
    "deep": ("0.json", b"[" * 100_000, "0.json: "),
    "half a character": ("0.json", b'{"a": "\\ud800"}', "0.json: it is not UTF-8"),
    "a long label": ("0.cls", b"x" * 1000, "0.cls: no name of a class is so long"),
    "large": ("0.txt", b"x" * (1 << 20) + b"x", "0.txt: it is too large"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", BAD)
def test_what_is_bad_beside_a_photo_is_noted_and_costs_itself(what: str, kind: str, tmp_path: Path) -> None:
    name, data, note = BAD[what]
    told, _, notes = said(tmp_path / f"a.{kind}", [("0.jpg", JPEG), (name, data), ("1.jpg", JPEG), ("1.cls", b"cat")])
    assert {uri: row for uri, row in told.items() if row} == {"1.jpg": {"label": "cat"}}
    assert len(notes) == 1
    assert f"{tmp_path}/a.{kind} has annotations that are passed over: {note}" in notes[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_comes_twice_is_noted_and_each_photo_keeps_its_own(kind: str, tmp_path: Path) -> None:
    files = [("0.jpg", JPEG), ("0.cls", b"cat"), ("1.jpg", JPEG), ("0.jpg", JPEG), ("0.cls", b"dog")]
    told, _, notes = said(tmp_path / f"a.{kind}", files)
    assert told == {"0.jpg": {"label": "cat"}, "0 (2).jpg": {"label": "dog"}}
    assert notes == [f"{tmp_path}/a.{kind} has '0.jpg' twice: the second is called '0 (2).jpg', and 1 more"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_of_no_photo_is_passed_over(kind: str, tmp_path: Path) -> None:
    told, passed, notes = said(
        tmp_path / f"a.{kind}", {"0.jpg": JPEG, "readme.txt": b"hello", "1.json": b"{", "0.npy": b""}
    )
    assert (told, passed, notes) == ({}, {".txt": 1, ".json": 1, ".npy": 1}, [])


def test_a_shard_of_metadata_alone_says_what_is_there(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "00000.tar"
    file.write_bytes(tar_of({"0.json": b"{}", "0.txt": b"a cat", "1.json": b"{}"}))
    done = run("embed", file, "--store", tmp_path / "s")
    assert (done.status, "holds 2 .json, 1 .txt" in done.err) == (1, True), done.err


def img2dataset(pets: Path) -> list[tuple[str, bytes]]:
    """A shard as img2dataset 1.4 writes it: key, then picture, text and JSON of each sample."""
    files = []
    for number, path in enumerate(sorted(pets.rglob("*.*"))):
        key, caption = f"00000{number:04}", f"a {path.parent.name}, number {number}"
        told = {"caption": caption, "url": f"https://x.org/{number}.jpg", "key": key, "status": "success"}
        told |= {"error_message": None, "width": 8, "height": 9, "original_width": 8, "original_height": 9}
        told |= {"exif": "{}", "sha256": f"{number:064x}"}
        texts = {"txt": caption.encode(), "json": json.dumps(told, indent=4).encode()}
        files += [(f"{key}{path.suffix}", path.read_bytes()), *((f"{key}.{end}", text) for end, text in texts.items())]
    return files


def test_a_shard_of_img2dataset_keeps_its_columns(run: Run, pets: Path, tmp_path: Path) -> None:
    (tmp_path / "00000.tar").write_bytes(tar_of(img2dataset(pets)))
    done = run("embed", tmp_path / "00000.tar", "--store", tmp_path / "s", "--weights", "bundled", "--json")
    assert done.json["found"] == done.json["embedded"] == 6
    assert "passed over: width, height\n" in done.err
    assert done.json["sources"][str(tmp_path / "00000.tar")]["passed_over"] == {}
    assert set(column(tmp_path / "s", "caption").values()) == {
        f"a {kind}, number {number}" for number, kind in enumerate(["cat"] * 3 + ["dog"] * 3)
    }
    assert len(column(tmp_path / "s", "sha256")) == 6
    assert not column(tmp_path / "s", "txt")


def test_what_is_noted_of_many_shards_is_said_of_the_first(run: Run, pets: Path, tmp_path: Path) -> None:
    photo = next((pets / "cat").iterdir()).read_bytes()
    (tmp_path / "shards").mkdir()
    for number in range(9):
        (tmp_path / "shards" / f"{number:05}.tar").write_bytes(tar_of({"0.jpg": photo, "0.json": b'{"width": 3}'}))
    done = run("embed", tmp_path / "shards", "--store", tmp_path / "s", "--weights", "bundled")
    assert done.err.count(".tar has columns that are passed over: width") == 3
    assert "note: 6 more notes say of other files: has columns that are passed over: width" in done.err


@pytest.mark.parametrize("by", ["folders", "siblings"])
@pytest.mark.parametrize("packing", ["", ".gz"])
def test_shards_of_one_set_are_labelled_as_one(run: Run, pets: Path, tmp_path: Path, by: str, packing: str) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    photos = sorted(pets.rglob("*.*"))
    for number in range(3):
        files = {}
        for path in (photos[number], photos[3 + number]):
            if by == "siblings":
                files |= {path.name: path.read_bytes(), f"{path.stem}.cls": path.parent.name.encode()}
            else:
                files[f"{path.parent.name}/{path.name}"] = path.read_bytes()
        (shards / f"{number:05}.tar{packing}").write_bytes(packed(tar_of(files), packing))
    store = tmp_path / "s"
    assert again(run, store, f"{shards}/{{00000..00002}}.tar{packing}") == {"found": 6, "embedded": 6}
    labels = {name.rsplit("/", 1)[1]: label for name, (_, _, label, _) in seen(store, tmp_path).items()}
    assert labels == {path.name: path.parent.name for path in photos}


def test_shards_that_are_called_by_splits_are_splits(run: Run, pets: Path, tmp_path: Path) -> None:
    photos = sorted(pets.rglob("*.*"))
    for number, split in enumerate(("train-0000", "train-0001", "val-0000")):
        files = {f"{path.parent.name}/{path.name}": path.read_bytes() for path in (photos[number], photos[3 + number])}
        (tmp_path / f"{split}.tar").write_bytes(tar_of(files))
    store = tmp_path / "s"
    again(run, store, *sorted(tmp_path.glob("*.tar")))
    told = {name: (label, split) for name, (_, _, label, split) in seen(store, tmp_path).items()}
    assert {split for _, split in told.values()} == {"train", "val"}
    for name, (label, split) in told.items():
        assert (split, label) == (name.partition("-")[0].rpartition("/")[2], name.split("/")[-2])


def test_words_of_photos_that_are_known_do_not_undo_what_a_csv_said(run: Run, pets: Path, tmp_path: Path) -> None:
    path = next(pets.rglob("*.*"))
    file, store = tmp_path / "a.tar", tmp_path / "s"
    file.write_bytes(tar_of({"0.jpg": path.read_bytes(), "0.cls": b"cat"}))
    (tmp_path / "l.csv").write_text("photo,label\n0.jpg,dog\n")
    again(run, store, file, "--labels", tmp_path / "l.csv")
    file.write_bytes(tar_of({"0.jpg": path.read_bytes(), "0.cls": b"cat", "1.jpg": path.read_bytes()}))
    again(run, store, file)
    assert {uri: photo.label for uri, photo in rows(store).items()} == {"0.jpg": "dog", "1.jpg": None}
