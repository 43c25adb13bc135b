"""Parquet: the store is the one of the unpacked folder, and other columns become annotations."""

import base64
import random
import shutil
import subprocess
import sys
import warnings
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, Done
from corpus import flipped
from embedding import NEW, Run, again, listed, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from planting import whole
from sources import IMAGE, PET, embedded, pictures, written

from petrieve.extractor.sources.places import parts_of, source_at
from petrieve.store.cache import Cache
from petrieve.store.rows import Unreadable

NOON = datetime.fromisoformat("2026-10-01T12:00:00")
CODECS = ("none", "snappy", "gzip", "zstd", "lz4", "brotli")


def held(file: Path) -> dict[str, bytes | str]:
    """What a source reads of each photo, by its uri: its bytes, or why there are none."""
    found: dict[str, bytes | str] = {}
    for part in source_at(str(file)).parts():
        for one in part.read({photo.uri for photo in part.photos}):
            found |= {one.photo.uri: one.reason} if isinstance(one, Unreadable) else {one[0].uri: one[1]}
    return found


def data_of(folder: Path) -> list[bytes]:
    return [one["bytes"] for one in pictures(folder)]


def noted(run: Run, source: Path, tmp_path: Path) -> Done:
    done = run("embed", source, *NEW, tmp_path / "s")
    assert done.status == 0, done.err
    return done


def test_parquet_gives_the_store_of_the_folder(run: Run, pets: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "pets.parquet", {"image": pictures(pets)}, row_group_size=4)
    assert embedded(run, tmp_path / "a", pets) == embedded(run, tmp_path / "b", file)
    assert again(run, tmp_path / "b", file) == {"found": 6, "cached": 6}


words = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8)
names = st.lists(words.filter(lambda word: word not in (".", "..")), min_size=1, max_size=3).map("/".join)


@settings(max_examples=40, deadline=None)
@given(
    tree=st.dictionaries(names, st.binary(min_size=1, max_size=300), min_size=1, max_size=30),
    rows=st.integers(1, 40),
    codec=st.sampled_from(CODECS),
    dictionary=st.booleans(),
    version=st.sampled_from(("1.0", "2.0")),
)
def test_what_is_written_is_what_is_read_by_its_name(
    tree: dict[str, bytes], rows: int, codec: str, dictionary: bool, version: str
) -> None:
    photos = [{"bytes": data, "path": name} for name, data in tree.items()]
    with TemporaryDirectory() as folder:
        how = {"row_group_size": rows, "compression": codec, "use_dictionary": dictionary, "data_page_version": version}
        file = written(Path(folder) / "p.parquet", {"image": photos}, **how)
        root = str(file)
        of_paths = {
            one[0].path: one[1]
            for part in source_at(root).parts()
            for one in part.read({photo.uri for photo in part.photos})
            if not isinstance(one, Unreadable)
        }
        assert of_paths == {f"{root}/{name}": data for name, data in tree.items()}


def test_a_data_set_of_hugging_face_is_read_as_it_lies(run: Run, pets: Path, tmp_path: Path) -> None:
    """Labels by the words of its classes, splits by the names of its files, the rest as columns."""
    features = {"image": IMAGE, "label": PET, "age": {"_type": "Value", "dtype": "int64"}}
    hub = tmp_path / "hub"
    for number, split in enumerate(("train", "validation", "test")):
        photos = [{"bytes": one, "path": "same.png"} for one in data_of(pets)[2 * number : 2 * number + 2]]
        labels = [-1, -1] if split == "test" else [int(number > 0), int(number > 0)]
        columns = {"image": photos, "label": labels, "age": [3 + number, None]}
        written(hub / "data" / f"{split}-00000-of-00001-0123456789abcdef.parquet", columns, features)
    (hub / "README.md").write_text("---\ndataset_info: pets\n---\n")
    assert noted(run, hub, tmp_path).json["found"] == 6
    got = {uri.split("/")[1].split("-")[0] + uri[-1]: photo for uri, photo in rows(tmp_path / "s").items()}
    assert {name: (photo.split, photo.columns["age"]) for name, photo in got.items()} == {
        "train0": ("train", 3),
        "train1": ("train", None),
        "validation0": ("val", 4),
        "validation1": ("val", None),
        "test0": ("test", 5),
        "test1": ("test", None),
    }
    assert {name: photo.label for name, photo in got.items() if photo.split != "test"} == {
        "train0": "cat",
        "train1": "cat",
        "validation0": "dog",
        "validation1": "dog",
    }


def test_splits_are_those_of_a_column_or_of_files_that_a_pattern_names(run: Run, pets: Path, tmp_path: Path) -> None:
    first, second, third = (data_of(pets)[start : start + 2] for start in (0, 2, 4))
    written(tmp_path / "test-00000.parquet", {"image": first})
    written(tmp_path / "train-00000.parquet", {"image": second})
    done = run("embed", tmp_path / "{train,test}-0000*.parquet", *NEW, tmp_path / "s")
    assert done.json["found"] == 4
    kept = whole(Cache.open(tmp_path / "s")).values()
    assert sorted(str(one.photo.split) for one in kept) == ["test", "test", "train", "train"]
    file = written(tmp_path / "all.parquet", {"image": third, "Split": ["validation", "other"]})
    run("embed", file, *NEW, tmp_path / "t")
    assert {uri: photo.split for uri, photo in rows(tmp_path / "t").items()} == {"row 0": "val", "row 1": None}


@pytest.mark.parametrize(
    ("columns", "called"),
    [
        ({"file_name": ["a/1.png", "a/2.png"]}, ["a/1.png", "a/2.png"]),
        ({"file_name": ["1.png", "1.png"], "id": [7, 8]}, ["7", "8"]),
        ({"path": ["../1.png", "2.png"]}, ["row 0", "row 1"]),
        ({"path": ["/etc/1.png", "2.png"]}, ["row 0", "row 1"]),
        ({"path": ["1.png", None], "key": ["007", "08"]}, ["007", "08"]),
        ({"path": ["cats/", "2.png"]}, ["row 0", "row 1"]),
        ({"caption": ["a", "b"]}, ["row 0", "row 1"]),
    ],
)
def test_photos_are_called_by_what_tells_them_apart_and_leads_nowhere(
    pets: Path, tmp_path: Path, columns: dict[str, Any], called: list[str]
) -> None:
    data = data_of(pets)[:2]
    assert held(written(tmp_path / "p.parquet", {"image": data, **columns})) == dict(zip(called, data, strict=True))


def test_other_columns_are_the_users_own(run: Run, pets: Path, tmp_path: Path) -> None:
    columns = {
        "image": data_of(pets)[:2],
        "class": [7, 8],
        "id": ["007", "08"],
        "age": [3, None],
        "weight": pa.array([0.1, 2.5], pa.float32()),
        "tame": [True, False],
        "born": [date(2026, 10, 1), None],
        "seen": pa.array([NOON, None], pa.timestamp("ns")),
        "colour": pa.array(["red", "red"]).dictionary_encode(),
        "story": ["x" * 5000, ""],
        "vector": [[0.1], [0.2]],
        "width": [10, 20],
        "mask": [b"\0", b"\1"],
    }
    done = noted(run, written(tmp_path / "p.parquet", columns), tmp_path)
    assert "p.parquet has columns that are passed over: story, vector, width, mask" in done.err
    kept = rows(tmp_path / "s")
    assert [kept["007"].label, kept["08"].label] == ["7", "8"]
    assert kept["007"].columns == {
        "id": "007",
        "age": 3,
        "weight": 0.1,
        "tame": True,
        "born": date(2026, 10, 1),
        "seen": NOON,
        "colour": "red",
    }


def test_photos_are_found_however_a_column_holds_them(pets: Path, tmp_path: Path) -> None:
    data = data_of(pets)[:3]
    ways = {
        "bytes": pa.array(data),
        "large": pa.array(data, pa.large_binary()),
        "numbers": pa.array([list(one) for one in data], pa.list_(pa.uint8())),
        "signed": pa.array([list(one) for one in data], pa.list_(pa.uint8())).cast(pa.list_(pa.int8()), safe=False),
        "photo": pa.array([base64.b64encode(one).decode() for one in data]),
        "picture": pa.array(["data:image/png;base64," + base64.b64encode(one).decode() for one in data]),
    }
    for name, values in ways.items():
        file = written(tmp_path / "p.parquet", {"words": ["a", "b", "c"], name: values})
        assert list(held(file).values()) == data, name


def test_a_value_that_is_no_photo_is_a_line_with_its_reason(run: Run, pets: Path, tmp_path: Path) -> None:
    photos = [
        {"bytes": data_of(pets)[0], "path": None},
        None,
        {"bytes": None, "path": "cats/1.jpg"},
        {"bytes": None, "path": None},
        {"bytes": b"", "path": None},
    ]
    file = written(tmp_path / "p.parquet", {"image": photos})
    assert noted(run, file, tmp_path).json["unreadable"] == 4
    assert {path.rpartition("/")[2]: reason for path, reason in listed(tmp_path / "s").items()} == {
        "row 1": "its row holds no photo",
        "row 2": "its row holds only a path, and not the photo: 'cats/1.jpg'",
        "row 3": "its row holds no photo",
        "row 4": "an empty file",
    }
    assert (
        "its row holds a text and no photo: 'a.jpg'"
        in held(written(tmp_path / "q.parquet", {"image": ["a.jpg", base64.b64encode(b"text").decode()]})).values()
    )


def test_of_several_columns_of_photos_the_first_is_taken_and_a_note_says_so(
    run: Run, pets: Path, tmp_path: Path
) -> None:
    first, second = data_of(pets)[:2]
    file = written(tmp_path / "p.parquet", {"front": [first], "back": [second]})
    assert "has photos in front, back: those in front are taken" in noted(run, file, tmp_path).err
    assert held(file) == {"row 0": first}


@pytest.mark.parametrize(
    ("columns", "instead"),
    [
        ({"url": ["http://a/1.jpg"], "caption": ["a cat"]}, "holds 1 rows of url, caption"),
        ({"embedding": [[0.5, 0.5]], "image_path": ["1.jpg"]}, "holds 1 rows of embedding, image_path"),
        ({"images": [[{"bytes": b"\xff\xd8\xff", "path": None}]]}, "holds 1 rows with several photos each in images"),
        ({"image": pa.array([], pa.binary())}, "holds 1 table without rows"),
    ],
)
def test_a_table_without_photos_is_refused_with_what_it_holds(
    run: Run, tmp_path: Path, columns: dict[str, Any], instead: str
) -> None:
    file = written(tmp_path / "p.parquet", columns)
    done = run("embed", file, *NEW, tmp_path / "s")
    assert (done.status, instead in done.err) == (1, True), done.err


def test_tables_of_words_beside_shards_are_passed_over(run: Run, pets: Path, tmp_path: Path) -> None:
    """As img2dataset leaves them."""
    shutil.make_archive(str(tmp_path / "set" / "00000"), "zip", pets)
    written(tmp_path / "set" / "00000.parquet", {"url": ["http://a/1.jpg"] * 6, "key": list("abcdef")})
    done = noted(run, tmp_path / "set", tmp_path)
    assert (done.json["found"], "passed over: 6 rows of url, key" in done.err) == (6, True)


def test_a_table_that_was_written_anew_in_another_order_is_read_and_not_embedded(
    run: Run, pets: Path, tmp_path: Path
) -> None:
    photos, store = pictures(pets), tmp_path / "s"
    file = written(tmp_path / "p.parquet", {"image": photos})
    before = embedded(run, store, file)
    known = rows(store).values()
    written(file, {"image": photos[::-1]}, row_group_size=2)
    moved = [one for part, some in parts_of(known) for one in part.read({photo.uri for photo in some})]
    assert {one[0].uri: one[1] for one in moved if not isinstance(one, Unreadable)} == {
        photo["path"]: photo["bytes"] for photo in photos
    }
    assert again(run, store, file) == {"found": 6, "copied": 6}
    assert embedded(run, store, file) == before


def test_a_cut_table_is_one_line_that_names_it(run: Run, pets: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "p.parquet", {"image": pictures(pets)})
    file.write_bytes(file.read_bytes()[:-200])
    done = run("embed", file, *NEW, tmp_path / "s")
    assert (done.status, len(done.err.splitlines())) == (1, 1)
    assert done.err.startswith(f"error: none of 1 photos can be read, first {file}/: its table is damaged: ")
    assert ".;" not in done.err
    written(tmp_path / "q.parquet", {"image": pictures(pets)})
    shutil.copytree(tmp_path, tmp_path / "set", ignore=lambda *_: {"photos", "s"})
    assert noted(run, tmp_path / "set", tmp_path).json["embedded"] == 6
    assert list(listed(tmp_path / "s")) == [f"{tmp_path}/set/p.parquet/"]
    written(tmp_path / "set" / "p.parquet", {"image": pictures(pets)})
    assert again(run, tmp_path / "s", tmp_path / "set") == {"found": 12, "copied": 6, "cached": 6}
    assert not listed(tmp_path / "s")


def test_a_row_is_held_to_the_size_that_any_photo_may_have(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = sorted(data_of(pets), key=len)[:: len(data_of(pets)) - 1]
    monkeypatch.setattr("petrieve.extractor.sources.tables.rows.max_bytes", lambda: len(large) - 1)
    found = held(written(tmp_path / "pets.parquet", {"image": [small, large]}))
    assert found == {"row 0": small, "row 1": f"over {len(large) - 1 >> 20} MB"}


def test_photos_behind_damage_are_lines_and_others_go_on(run: Run, pets: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "p.parquet", {"image": pictures(pets)}, row_group_size=2, compression="zstd")
    group = pq.read_metadata(file).row_group(1).column(0)
    data = bytearray(file.read_bytes())
    start = group.dictionary_page_offset or group.data_page_offset
    data[start : start + 40] = bytes(40)
    file.write_bytes(data)
    assert noted(run, file, tmp_path).json["embedded"] == 4
    assert [reason.partition(": ")[0] for reason in listed(tmp_path / "s").values()] == ["its table is damaged"] * 2


def test_flipped_bytes_never_break_more_than_they_hit(pets: Path, tmp_path: Path) -> None:
    photos = [{"bytes": one["bytes"][:400], "path": one["path"]} for one in pictures(pets)]
    columns = {"image": photos, "label": [0, 1] * 3, "words": ["a"] * 6}
    file = written(tmp_path / "p.parquet", columns, {"image": IMAGE, "label": PET}, row_group_size=2)
    data, rng = file.read_bytes(), random.Random(0)
    for _ in range(200):
        file.write_bytes(b"PAR1" + flipped(data[::-1], rng)[::-1][4:])
        source = source_at(str(file))
        found = list(source.parts())
        with warnings.catch_warnings(action="ignore"):
            source.annotations([photo for part in found for photo in part.photos])
        for part in found:
            assert len(list(part.read({photo.uri for photo in part.photos}))) == len(part.photos)


MEMORY = """
import re, sys
import pyarrow.compute, pyarrow.parquet
from petrieve.extractor.sources.places import source_at

def taken(what):
    return int(re.search(what + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

before = taken("VmRSS")
(part,) = source_at(sys.argv[1]).parts()
for photo, data in part.read({photo.uri for photo in part.photos}):
    assert len(data) == 250_000
print(taken("VmHWM") - before)
"""


def test_a_row_group_is_not_held_whole(tmp_path: Path) -> None:
    photos = [{"bytes": random.Random(one).randbytes(250_000), "path": None} for one in range(400)]
    file = written(tmp_path / "p.parquet", {"image": photos}, use_dictionary=False, write_batch_size=8)
    done = subprocess.run([sys.executable, "-c", MEMORY, file], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 50_000  # kB, of 100 MB
