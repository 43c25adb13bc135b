"""Labels and columns: from a CSV, from names and from folders."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Done
from embedding import again, repaint, rows

from petrieve.store.cache import Cache

Run = Callable[..., Done]


def test_labels_from_a_csv_win_reach_cached_photos_and_stay(run: Run, few: Path, tmp_path: Path) -> None:
    again(run, tmp_path / "s", few)
    uris = sorted(rows(tmp_path / "s"))
    csv = tmp_path / "labels.csv"
    csv.write_text(f"photo,label,pet,found_on\n{uris[0]},tiger,Rex,2026-10-01\n{few / uris[1]},,Bo,\n")
    assert again(run, tmp_path / "s", few, "--labels", csv) == {"found": 6, "cached": 6}
    version = Cache.open(tmp_path / "s").version
    again(run, tmp_path / "s", few, "--labels", csv)
    assert Cache.open(tmp_path / "s").version == version, "the same labels again write nothing"
    again(run, tmp_path / "s", few)
    repaint(few / uris[0], "brown")  # changed pixels, the same pet
    again(run, tmp_path / "s", few)
    photos = rows(tmp_path / "s")
    assert photos[uris[0]].label == "tiger"
    assert str(photos[uris[0]].columns["found_on"]) == "2026-10-01"
    assert (photos[uris[1]].label, photos[uris[1]].columns["pet"]) == (None, "Bo")
    assert photos[uris[2]].label == Path(uris[2]).parent.name


def test_labels_for_photos_that_are_not_there_are_an_error(run: Run, few: Path, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("photo,label\nnowhere.jpg,cat\n")
    done = run("embed", few, "--labels", tmp_path / "l.csv", "--weights", "bundled")
    assert (done.status, done.out) == (1, "")
    assert "'nowhere.jpg'" in done.err
    assert not Path(".petrieve").exists()


def test_a_csv_may_have_columns_named_like_our_own_words(run: Run, few: Path, tmp_path: Path) -> None:
    uri = str(sorted(few.rglob("*.*"))[0].relative_to(few))
    (tmp_path / "l.csv").write_text(f"photo,path,columns,rows\n{uri},p,c,7\n")
    again(run, tmp_path / "s", few, "--labels", tmp_path / "l.csv")
    assert rows(tmp_path / "s")[uri].columns == {"path": "p", "columns": "c", "rows": 7}


def test_labels_reach_a_photo_that_changed_in_the_same_run(run: Run, few: Path, tmp_path: Path) -> None:
    again(run, tmp_path / "s", few)
    uri = sorted(rows(tmp_path / "s"))[0]
    repaint(few / uri, "brown")
    (tmp_path / "l.csv").write_text(f"photo,label,pet\n./{uri},tiger,NA\n")
    again(run, tmp_path / "s", few, "--labels", tmp_path / "l.csv")
    photo = rows(tmp_path / "s")[uri]
    assert (photo.label, photo.columns) == ("tiger", {"pet": "NA"})


def test_a_folder_embedded_alone_gets_its_labels_from_the_folder_above(run: Run, few: Path, tmp_path: Path) -> None:
    again(run, tmp_path / "s", few / "cat")
    assert {photo.label for photo in rows(tmp_path / "s").values()} == {None}
    again(run, tmp_path / "s", few)
    assert {photo.label for photo in rows(tmp_path / "s").values()} == {"cat"} | (
        {"dog"} if list((few / "dog").iterdir()) else set()
    )


def test_a_label_that_a_csv_took_back_is_not_given_by_the_folder_above(run: Run, few: Path, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(f"photo,label\n{min((few / 'cat').iterdir())},\n")
    again(run, tmp_path / "s", few / "cat", "--labels", tmp_path / "l.csv")
    again(run, tmp_path / "s", few)
    labels = [photo.label for uri, photo in sorted(rows(tmp_path / "s").items()) if "/cat" in photo.root]
    assert labels == [None, *["cat"] * (len(labels) - 1)]


@pytest.mark.parametrize("name", ["_rowid", "_rowaddr", "_x", "embedding", "a.b"])
def test_columns_that_the_table_keeps_to_itself_are_refused(run: Run, few: Path, store: Path, name: str) -> None:
    (few / "l.csv").write_text(f"photo,{name}\ncat/x.jpg,5\n")
    done = run("embed", few, "--store", store, "--labels", few / "l.csv")
    assert (done.status, "rename or remove it" in done.err) == (1, True)
    assert run("info", "--store", store).status == 0


def test_whole_numbers_and_no_numbers_fit_a_column_of_numbers(run: Run, few: Path, tmp_path: Path) -> None:
    uri = str(sorted(few.rglob("*.*"))[0].relative_to(few))
    csv = tmp_path / "l.csv"
    for value in ("", "3.5", "4", ""):
        csv.write_text(f"photo,age\n{uri},{value}\n")
        again(run, tmp_path / "s", few, "--labels", csv)
    assert rows(tmp_path / "s")[uri].columns == {"age": 4.0}


def test_one_uri_in_two_sources_is_ambiguous(run: Run, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        repaint(tmp_path / folder / "1.png", folder.replace("a", "red").replace("b", "blue"))
    csv = tmp_path / "l.csv"
    csv.write_text("photo,label\n1.png,cat\n")
    done = run("embed", tmp_path / "a", tmp_path / "b", "--labels", csv, "--weights", "bundled")
    assert (done.status, "write its absolute path" in done.err) == (1, True)
    csv.write_text(f"photo,label\n{tmp_path}/a/1.png,cat\n")
    assert again(run, tmp_path / "s", tmp_path / "a", tmp_path / "b", "--labels", csv)["embedded"] == 2
