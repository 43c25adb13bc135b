"""Sheets beside photos annotate them without being asked for."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Done
from embedding import Run
from hypothesis import given
from hypothesis import strategies as st
from sources import as_tar

from petrieve.extractor.sources.annotations.beside import MAX_BYTES, Sheet, annotations_beside
from petrieve.store.cache import Cache

NEW = ("--weights", "bundled", "--store")


def names(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.suffix in (".jpg", ".png"))


def told(run: Run, pets: Path, store: Path, *words: object) -> tuple[dict[str, Any], Done]:
    """Label, split and columns of photos by uri, and what the run said."""
    done = run("embed", pets, *NEW, store, *words)
    assert done.status == 0, done.err
    cache = Cache.open(store)
    names = cache.columns()
    rows = [row for batch in cache.photos(["uri", *names]) for row in batch.to_pylist()]
    return {row["uri"]: {name: row[name] for name in names} for row in rows}, done


@pytest.mark.parametrize("kind", ["metadata.csv", "labels.csv", "metadata.jsonl", "METADATA.CSV"])
def test_a_sheet_beside_photos_gives_label_split_and_columns(run: Run, pets: Path, tmp_path: Path, kind: str) -> None:
    first, second, *rest = names(pets)
    lines = [{"file_name": first, "label": "tabby", "split": "val", "weight": 4}, {"file_name": second, "weight": 5}]
    if kind.endswith("jsonl"):
        (pets / kind).write_text("\n".join(json.dumps(line) for line in lines))
    else:
        (pets / kind).write_text(f"file_name,label,split,weight\n{first},tabby,val,4\n{second},,,5\n")
    found, done = told(run, pets, tmp_path / "s")
    assert found[first] == {"label": "tabby", "split": "val", "weight": 4}
    assert found[second] == {"label": "cat", "split": None, "weight": 5}, "where it says nothing the folder does"
    assert {found[one]["label"] for one in rest} == {"cat", "dog"}
    assert f"{kind}: 2 of 2 lines are of photos here" in done.err
    assert "passed over" not in done.err


def test_names_are_paths_from_the_sheet_and_the_nearest_sheet_says_most(run: Run, pets: Path, tmp_path: Path) -> None:
    first, second = (Path(one).name for one in names(pets / "cat")[:2])
    (pets / "metadata.csv").write_text(f"file_name,label,age\ncat/{first},far,3\ncat\\{second},far,4\n")
    (pets / "cat" / "metadata.csv").write_text(f"file_name,label\n{first},near\nnobody.jpg,none\n")
    found, done = told(run, pets, tmp_path / "s")
    assert found[f"cat/{first}"] == {"label": "near", "split": None, "age": 3}
    assert found[f"cat/{second}"]["label"] == "far"
    assert f"{pets}/cat/metadata.csv: 1 of 2 lines are of photos here" in done.err


def test_a_csv_that_is_named_goes_before_a_sheet_beside_and_known_photos_keep_what_they_have(
    run: Run, pets: Path, tmp_path: Path
) -> None:
    first, second, *_ = names(pets)
    (tmp_path / "l.csv").write_text(f"photo,label\n{first},named\n")
    (pets / "labels.csv").write_text(f"photo,label\n{first},beside\n{second},beside\n")
    found, _ = told(run, pets, tmp_path / "s", "--labels", tmp_path / "l.csv")
    assert (found[first]["label"], found[second]["label"]) == ("named", "beside")
    (pets / "labels.csv").write_text(f"photo,label\n{first},later\n{second},later\n")
    found, done = told(run, pets, tmp_path / "s")
    assert (found[first]["label"], found[second]["label"]) == ("named", "beside")
    assert "labels.csv" not in done.err, "nothing is new, so nobody asks it"


BAD = {
    "no column of photos": b"id,breed\n1,tabby\n",
    "a photo twice": b"photo,label\n{0},a\n{0},b\n",
    "two names of one": b"photo,label\n{0},a\n./{0},b\n",
    "a split that is none": b"photo,split\n{0},tomorrow\n",
    "no table": b"\x00\x01\x02",
    "empty": b"",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_a_sheet_that_is_none_costs_a_note_and_nothing_else(run: Run, pets: Path, tmp_path: Path, data: bytes) -> None:
    plain, _ = told(run, pets, tmp_path / "a")
    (pets / "metadata.csv").write_bytes(data.replace(b"{0}", names(pets)[0].encode()))
    found, done = told(run, pets, tmp_path / "b")
    assert found == plain
    assert "metadata.csv" in done.err.split("it is passed over")[0]
    assert "passed over: 1 metadata.csv" in done.err


def test_what_a_head_has_told_is_not_taken_for_what_somebody_says(
    run: Run, pets: Path, store: Path, tmp_path: Path
) -> None:
    done = run("predict", pets, "--store", store, "--csv", pets / "labels.csv")
    assert done.status == 0
    _, done = told(run, pets, tmp_path / "s")
    assert "labels.csv: it holds a head's results, which `--labels` reads: it is passed over" in done.err
    cache = Cache.open(tmp_path / "s")
    assert not any(mark for batch in cache.photos(["label_by_hand"]) for mark in batch["label_by_hand"].to_pylist())


def test_a_sheet_of_other_photos_is_named(run: Run, pets: Path, tmp_path: Path) -> None:
    (pets / "labels.csv").write_text("photo,label\nx.jpg,a\n/etc/passwd,b\n../y.jpg,c\n")
    found, done = told(run, pets, tmp_path / "s")
    assert {one["label"] for one in found.values()} == {"cat", "dog"}
    assert f"no line is of a photo here in {pets}/labels.csv (3 lines)" in done.err


def test_a_column_that_the_store_has_in_other_letters_is_passed_over(run: Run, pets: Path, tmp_path: Path) -> None:
    first, second, *_ = names(pets)
    (tmp_path / "l.csv").write_text(f"photo,Age\n{first},3\n")
    (pets / second).rename(tmp_path / "later.jpg")
    told(run, pets, tmp_path / "s", "--labels", tmp_path / "l.csv")
    (tmp_path / "later.jpg").rename(pets / second)
    (pets / "metadata.csv").write_text(f"file_name,age,label\n{second},4,tabby\n")
    found, done = told(run, pets, tmp_path / "s")
    assert (found[second]["label"], found[second]["Age"], found[first]["Age"]) == ("tabby", None, 3)
    assert "'Age'" in done.err


def test_a_folder_with_a_sheet_alone_is_told_by_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "metadata.csv").write_text("file_name,label\n1.jpg,cat\n")
    done = run("embed", tmp_path / "p", *NEW, tmp_path / "s")
    assert (done.status, "1 metadata.csv" in done.err) == (1, True)


def test_many_sheets_are_told_of_in_one_line(tmp_path: Path) -> None:
    sheets = [
        Sheet(f"{place}/metadata.csv", lambda _: b"file_name,label\n1.jpg,cat\n2.jpg,dog\n") for place in range(9)
    ]
    photos = {f"{place}/1.jpg": f"/p/{place}/1.jpg" for place in range(9)}
    with pytest.warns(UserWarning, match=r"9 sheets, first /p/0/metadata.csv: 9 of 18 lines are of photos here"):
        annotations, over = annotations_beside("/p", sheets, photos.items)
    assert annotations
    assert {path: row["label"] for path, row in annotations.rows.items()} == dict.fromkeys(photos.values(), "cat")
    assert over == []


def test_a_sheet_that_is_too_large_is_not_read_to_its_end() -> None:
    sheet = Sheet("metadata.csv", lambda most: bytes(most))
    with pytest.warns(UserWarning, match=rf"over {MAX_BYTES >> 20} MB, which `labels=…` reads: it is passed over"):
        assert annotations_beside("/p", [sheet], {"1.jpg": "/p/1.jpg"}.items) == (None, ["metadata.csv"])


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.sampled_from(["metadata.csv", "metadata.jsonl", "labels.csv"]), st.binary() | st.text().map(str.encode))
def test_whatever_a_sheet_holds_photos_are_not_lost_by_it(kind: str, data: bytes) -> None:
    annotations, over = annotations_beside("/p", [Sheet(kind, lambda most: data[:most])], {"1.jpg": "/p/1.jpg"}.items)
    assert bool(annotations) != bool(over)


CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers())


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.lists(st.dictionaries(st.sampled_from(["label", "age", "caption", "uri", "_x", "split"]), CELLS), max_size=3))
def test_lines_of_json_are_columns_or_notes(lines: list[dict[str, object]]) -> None:
    data = "\n".join(json.dumps({"file_name": f"{n}.jpg", **line}) for n, line in enumerate(lines)).encode()
    photos = {f"{n}.jpg": f"/p/{n}.jpg" for n in range(3)}
    annotations, over = annotations_beside("/p", [Sheet("metadata.jsonl", lambda most: data[:most])], photos.items)
    assert bool(annotations) != bool(over)
    for row in annotations.rows.values() if annotations else ():
        assert set(row) <= {"label", "age", "caption", "split"}
        assert None not in row.values()


def as_zip(folder: Path, file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for path in sorted(folder.rglob("*.*")):
            made.write(path, path.relative_to(folder))


@pytest.mark.parametrize(("name", "pack"), [("pets.zip", as_zip), ("pets.tar", as_tar), ("pets.tar.gz", as_tar)])
def test_sheets_in_archives_say_what_those_in_the_folder_do(
    run: Run, pets: Path, tmp_path: Path, name: str, pack: Callable[[Path, Path], None]
) -> None:
    first, second, *_ = names(pets)
    (pets / "metadata.jsonl").write_text(json.dumps({"file_name": first, "label": "tabby", "age": 3}))
    (pets / "cat" / "labels.csv").write_text(f"photo,label\n{Path(second).name},ginger\nnobody.jpg,x\n")
    (pets / "dog" / "metadata.csv").write_text("id,breed\n1,poodle\n")
    pack(pets, tmp_path / name)
    found, done = told(run, tmp_path / name, tmp_path / "a")
    assert found == told(run, pets, tmp_path / "b")[0]
    assert (found[first]["label"], found[first]["age"], found[second]["label"]) == ("tabby", 3, "ginger")
    assert f"{name}/cat/labels.csv: 1 of 2 lines are of photos here" in done.err
    assert f"{name}/dog/metadata.csv has no column `photo`" in done.err
    assert "passed over: 1 metadata.csv" in done.err
    shards = tmp_path / "shards"
    shards.mkdir()
    (tmp_path / name).rename(shards / name)
    within = told(run, shards, tmp_path / "c")[0]
    assert {f"{name}/{uri}": row for uri, row in found.items()} == within
