"""The user's CSV as others write it: which photo and which label it means."""

import csv
import shutil
import unicodedata
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from conftest import Done
from embedding import column, rows, told, uris

from petrieve.extractor.sources.annotations.labels import read_labels
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError
from petrieve.store.known import nothing

Run = Callable[..., Done]
HEADER = "photo,label\n"

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_a_sheet_is_read_as_spreadsheets_write_it(
    tmp_path: Path, encoding: str, separator: str, quoting: Literal[0, 1]
) -> None:
    lines = ["photo,label,Fell,", '"a, b; c.jpg",Kätzchen,"rot\nweiß",', "d.jpg,Hund", ",,,", ""]
    table = list(csv.reader("\r\n".join(lines).splitlines(keepends=True)))
    with open(tmp_path / "l.csv", "w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=separator, quoting=quoting).writerows(table)
    said = read_labels(tmp_path / "l.csv")
    assert said.rows == {
        "a, b; c.jpg": {"label": "Kätzchen", "Fell": "rot\nweiß"},
        "d.jpg": {"label": "Hund", "Fell": None},
    }


@pytest.mark.parametrize("photo", "photo Photo PATH file filepath File_Name filename image image_path".split())
@pytest.mark.parametrize("label", "label Label LABEL class Class ground_truth choice".split())
def test_a_column_that_other_tools_call_so_is_the_photo_or_the_label(tmp_path: Path, photo: str, label: str) -> None:
    (tmp_path / "l.csv").write_text(f"{label},{photo},SPLIT\n cat ,a.jpg,Training\n")
    said = read_labels(tmp_path / "l.csv")
    assert (said.rows, said.columns.names) == ({"a.jpg": {"label": "cat", "split": "train"}}, [])


def test_another_word_is_a_column_beside_our_own(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("photo,path,label,class\na.jpg,x,cat,felid\n")
    assert read_labels(tmp_path / "l.csv").rows == {"a.jpg": {"path": "x", "label": "cat", "class": "felid"}}


def test_the_columns_of_photo_and_label_can_be_named(run: Run, store: Path, drawn: Path) -> None:
    (name,) = uris(drawn, 1)
    text = f"path,file,label,breed\n1,{name},cat,Manx\n"
    assert told(run, drawn, store, text).status == 1
    done = told(run, drawn, store, text, "--photo-column", "file", "--label-column", "breed")
    assert (done.status, "passed over: label" in done.err) == (0, True), done.err
    assert (rows(store)[name].label, column(store, "path")) == ("Manx", {name: 1})
    done = told(run, drawn, store, text, "--photo-column", "files")
    assert (done.status, "has no column 'files', only path, file, label, breed" in done.err) == (1, True)
    assert told(run, drawn, store, text, "--photo-column", "file", "--label-column", "file").status == 1
    assert run("embed", drawn, "--store", store, "--photo-column", "file").status == 1


@pytest.mark.parametrize(("written", "split"), [("training", "train"), ("Dev", "val"), ("testing", "test"), ("", None)])
def test_near_misses_of_splits_are_taken_as_meant(tmp_path: Path, written: str, split: str | None) -> None:
    (tmp_path / "l.csv").write_text(f"photo,split\na.jpg,{written}\n")
    assert read_labels(tmp_path / "l.csv").rows["a.jpg"]["split"] == split


def test_a_csv_without_labels_is_said(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("photo,breed\na.jpg,Manx\n")
    with pytest.warns(UserWarning, match=r"l\.csv has no column `label`.*`label_column=…` says which"):
        assert read_labels(tmp_path / "l.csv").rows == {"a.jpg": {"breed": "Manx"}}
    assert read_labels(tmp_path / "l.csv", label="breed").rows["a.jpg"]["label"] == "Manx"


def test_what_predict_writes_is_taken_back(
    run: Run, store: Path, drawn: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "cat" / "broken.jpg").write_bytes(b"no photo")
    (photos / "cat" / "\udcff.jpg").write_bytes(next((photos / "dog").iterdir()).read_bytes())
    monkeypatch.chdir(photos.parent)
    done = run("predict", photos.name, "--store", store, "--csv", "p.csv", "--json")
    said = {one["photo"]: one.get("label") for one in done.json}
    monkeypatch.chdir(photos)
    shutil.copy("../p.csv", "here.csv")
    assert run("embed", photos, "--store", store).status == 0
    done = run("embed", photos, "--store", store, "--labels", "here.csv")  # wherever one stands
    passed = "here.csv has columns that are passed over: probability, error, p(cat), p(dog), unsure, unfamiliar, root"
    assert (done.status, passed in done.err) == (0, True), done.err
    found = {uri: photo.label for uri, photo in rows(store).items() if photo.root == str(photos)}
    assert found == {photo: label for photo, label in said.items() if label}
    assert Cache.open(store).unreadable()[str(photos / "cat/broken.jpg")].photo.label == "cat"
    assert set(Cache.open(store).columns()) == {"label", "split"}


def test_what_audit_writes_is_taken_back(run: Run, store: Path, drawn: Path, tmp_path: Path) -> None:
    assert run("audit", "--store", store, "--csv", tmp_path / "a.csv").status == 0
    text = (tmp_path / "a.csv").read_text().splitlines()
    name, _, rest = text[1].partition(",")
    text[1] = f"{name},'=Manx,{rest.partition(',')[2]}"
    done = told(run, drawn, store, "\n".join(text))
    assert (done.status, "passed over: suggested, reason, score" in done.err) == (0, True), done.err
    assert {photo.path: photo.label for photo in rows(store).values()}[name] == "=Manx"


def test_what_label_studio_writes_is_taken_back(run: Run, store: Path, drawn: Path) -> None:
    first, second, third, fourth, fifth, sixth = uris(drawn, 6)
    under = drawn.parent.name
    lines = [
        "annotation_id,annotator,choice,created_at,id,image,lead_time,updated_at,was_cancelled",
        f'1,1,"lynx","2026-10-01T12:00:00.000250Z",1,"/data/upload/3/0a1b2c3d-{Path(first).name}",3.1,"",False',
        f'2,1,"lynx","",2,"/data/local-files/?d={under}/{drawn.name}/{second.replace("/", "%2F")}",2.0,"",False',
        f'3,1,"lynx","",3,"http://here:8080/data/local-files/?d={third}",2.5,"",False',
        f'4,1,"","",4,"{fourth}",1.5,"",True',
        f'5,1,"lynx","",5,"http://localhost:8000/{fifth}",1.25,"",False',
        f'6,1,"lynx","",6,"s3://bucket/elsewhere/{sixth}",1.25,"",False',
    ]
    done = told(run, drawn, store, "\n".join(lines))
    assert (done.status, "names 1 photo(s) that the source does not hold, first 's3://bucket" in done.err) == (0, True)
    labels = {uri: photo.label for uri, photo in rows(store).items()}
    assert [labels[uri] for uri in (first, second, third, fourth, fifth, sixth)] == ["lynx"] * 3 + [
        "cat", "lynx", "cat",
    ]  # fmt: skip
    lines[1] = lines[1].replace('"lynx"', '"{""choices"": [""cat"", ""dog""]}"')
    assert "several labels" in told(run, drawn, store, "\n".join(lines)).err


def test_columns_of_ones_own_that_cannot_be_stored_are_refused(run: Run, store: Path, drawn: Path) -> None:
    done = told(run, drawn, store, f"photo,reason\n{uris(drawn, 1)[0]},lost\n")
    assert (done.status, "rename or remove it" in done.err) == (1, True)


def test_a_row_whose_photo_is_gone_is_a_note_and_waits_for_it(run: Run, store: Path, photos: Path) -> None:
    first, second, third = uris(photos, 3)
    run("embed", photos, "--store", store)
    (photos / first).rename(photos.parent / "kept.jpg")
    run("embed", photos, "--store", store)
    text = f"photo,label,pet\n{first},lynx,Rex\n{second},lynx,Bo\nnowhere.jpg,cat,Max\n"
    done = told(run, photos, store, text)
    assert (done.status, "names 2 photo(s) that the source does not hold" in done.err) == (0, True), done.err
    (photos.parent / "kept.jpg").rename(photos / first)
    assert run("embed", photos, "--store", store).status == 0
    found = {photo.uri: photo for photo in rows(store).values() if photo.root == str(photos)}
    assert [(found[uri].label, found[uri].columns["pet"]) for uri in (first, second, third)] == [
        ("lynx", "Rex"), ("lynx", "Bo"), ("cat", None),
    ]  # fmt: skip


NFC, NFD = (unicodedata.normalize(form, "Müsli.jpg") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("names", "asked", "meant"),
    [
        ([NFD], NFC, NFD),
        ([NFC], f"./{NFD}", NFC),
        (["cat/1.JPG"], "cat\\1.jpg", "cat/1.JPG"),
        (["cat/1.jpg"], " cat/1.Jpg ", "cat/1.jpg"),
        (["cat/1.jpg", "cat/1.JPG"], "cat/1.JPG", "cat/1.JPG"),
        (["cat/1.jpg", "cat/1.JPG"], "cat/1.Jpg", None),
        ([NFC, NFD], NFD, NFD),
        (["Cat/1.jpg"], "cat/1.jpg", None),
        (["a\\b.jpg"], "a\\b.jpg", "a\\b.jpg"),
        (["cat/1.jpg"], "photos\\cat\\1.JPG", "cat/1.jpg"),
        (["cat/1.jpg"], "photos/cat/1.jpg", "cat/1.jpg"),
    ],
)
def test_a_photo_is_found_by_a_name_that_looks_the_same(
    tmp_path: Path, names: list[str], asked: str, meant: str | None
) -> None:
    from petrieve.extractor.sources.folder import find

    for name in [*names, "other.jpg"]:
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(b"\xff\xd8\xff")
    (tmp_path / "l.csv").write_text(f"photo,label\n{asked},lynx\nother.jpg,lynx\n")
    found = {photo.path: photo for photo in find(tmp_path / "photos")}
    with pytest.warns(UserWarning, match="does not hold") if meant is None else nullcontext():
        said = read_labels(tmp_path / "l.csv").by_path(found.values, nothing(), np.zeros(0, bool))
    assert set(said) == {str(tmp_path / "photos" / name) for name in ("other.jpg", *([meant] if meant else []))}


def test_one_photo_named_in_two_ways_is_refused(run: Run, store: Path, drawn: Path) -> None:
    (name,) = uris(drawn, 1)
    done = told(run, drawn, store, f"{HEADER}{name},cat\n{drawn / name},dog\n")
    assert (done.status, "keep one row for each photo" in done.err) == (1, True)


def test_a_name_that_is_one_photo_from_the_source_and_another_from_here_is_refused(tmp_path: Path) -> None:
    from petrieve.extractor.sources.folder import find

    for name in ("data/cat/1.jpg", "data/data/cat/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\xff\xd8\xff")
    (tmp_path / "l.csv").write_text(f"{HEADER}data/cat/1.jpg,cat\n")
    found = {photo.path: photo for photo in find(tmp_path / "data")}
    with pytest.raises(PetrieveError, match="write its absolute path"):
        read_labels(tmp_path / "l.csv").by_path(found.values, nothing(), np.zeros(0, bool))


def test_labels_that_look_the_same_are_one_and_those_of_other_case_are_named(
    run: Run, store: Path, drawn: Path
) -> None:
    names = uris(drawn, 8)
    labels = ["Bär ", unicodedata.normalize("NFD", "Bär"), "\u00a0Bär", "Cat", "CAT", "Dog", " Cat", "dog"]
    done = told(run, drawn, store, HEADER + "".join(map("{},{}\n".format, names, labels)))
    words = "labels that differ by case alone are different classes: 'CAT' and 'Cat' and 'cat', 'Dog' and 'dog'"
    assert (done.status, done.err) == (0, f"note: {words}\n")
    assert run("info", "--store", store, "--json").json["labels"]["Bär"] == 3
    assert words in run("fit-head", "--store", store).err


def test_folders_that_look_the_same_are_one_label_also_in_a_store_that_had_two(
    run: Run, few: Path, tmp_path: Path
) -> None:
    import lance

    (few / "cat ").mkdir()
    for file in sorted((few / "cat").iterdir())[:3]:
        file.rename(few / "cat " / file.name)
    assert run("embed", few, "--store", tmp_path / "s", "--weights", "bundled").status == 0
    assert run("info", "--store", tmp_path / "s", "--json").json["labels"] == {"cat": 6}
    lance.dataset(str(tmp_path / "s" / "photos.lance")).update({"label": "'cat '"}, "uri LIKE 'cat /%'")
    Cache.open(tmp_path / "s").sign()
    assert run("embed", few, "--store", tmp_path / "s").status == 0
    assert run("info", "--store", tmp_path / "s", "--json").json["labels"] == {"cat": 6}
