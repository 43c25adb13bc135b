"""Which photos a source holds, and each one's label and split."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petrieve.extractor.sources.annotations.labels import read_labels
from petrieve.extractor.sources.folder import find
from petrieve.extractor.sources.formats import is_photo
from petrieve.store.errors import PetrieveError


def touch(folder: Path, *uris: str, content: bytes = b"\xff\xd8\xff") -> None:
    for uri in uris:
        (folder / uri).parent.mkdir(parents=True, exist_ok=True)
        (folder / uri).write_bytes(content)


def found(folder: Path) -> list[str]:
    return [photo.uri for photo in find(folder)]


def test_photos_come_in_a_stable_order_from_all_depths(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a/2.png", "a/1.jpeg", "c/d/e.webp")
    assert found(tmp_path) == ["a/1.jpeg", "a/2.png", "b.jpg", "c/d/e.webp"]


def test_a_photo_counts_by_its_ending_or_by_its_content(tmp_path: Path) -> None:
    touch(tmp_path, "no_ending", "odd.data", "EMPTY.JPG")
    touch(tmp_path, "notes.txt", "labels.csv", content=b"photo,label\n")
    (tmp_path / "EMPTY.JPG").write_bytes(b"")
    assert found(tmp_path) == ["EMPTY.JPG", "no_ending", "odd.data"]


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, ".petrieve/x.jpg", "._cat.jpg", "cat.jpg")
    assert found(tmp_path) == ["cat.jpg"]


def test_linked_folders_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    touch(tmp_path, "real/cat.jpg")
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    (tmp_path / "same").symlink_to(tmp_path / "real")
    assert found(tmp_path) == ["real/cat.jpg"]


def test_a_dangling_link_and_a_pipe_are_listed_and_do_not_stop_the_rest(tmp_path: Path) -> None:
    touch(tmp_path, "c.jpg")
    (tmp_path / "a.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(tmp_path / "b.jpg")
    assert found(tmp_path) == ["a.jpg", "b.jpg", "c.jpg"]


def test_one_photo_is_a_source_too(tmp_path: Path) -> None:
    touch(tmp_path, "cat.7.jpg")
    (photo,) = find(tmp_path / "cat.7.jpg")
    assert (photo.uri, photo.path) == ("cat.7.jpg", str(tmp_path / "cat.7.jpg"))


def test_a_missing_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PetrieveError, match="check the path"):
        list(find(tmp_path / "nowhere"))


@given(st.binary(max_size=64))
def test_any_bytes_are_told_photo_or_not(head: bytes) -> None:
    assert is_photo(head) in (True, False)


def test_a_csv_keeps_the_types_of_its_columns(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("photo,label,found_on,weight\na/1.jpg,cat,2026-10-01,3.5\nb.jpg,,2026-10-02,\n")
    labels = read_labels(tmp_path / "l.csv")
    assert [str(column.type) for column in labels.columns] == ["date32[day]", "double"]
    assert labels.rows["b.jpg"]["label"] is None


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("where,label\na.jpg,cat\n", "name the column"),
        ("file,path,label\na.jpg,a.jpg,cat\n", "photo_column=…"),
        ("photo,class,choice\na.jpg,cat,dog\n", "label_column=…"),
        ("photo,label,Label\na.jpg,cat,dog\n", "label_column=…"),
        ("photo,label\na.jpg,cat\na.jpg,dog\n", "one row for each photo"),
        ("photo,embedding\na.jpg,1\n", "rename or remove"),
        ("photo,a.b\na.jpg,1\n", "rename or remove"),
        ("", "give a CSV in UTF-8"),
        ("photo,label\n,cat\n", "write its path"),
        ("photo,label\na.jpg,cat,dog\n", "in double quotes"),
        ('photo,label\n"a.jpg,cat\n', "give a CSV in UTF-8"),
        ("photo,split\na.jpg,trian\n", "write train, val or test"),
    ],
)
def test_a_csv_that_cannot_serve_says_what_to_mend(tmp_path: Path, text: str, remedy: str) -> None:
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(PetrieveError, match=remedy):
        read_labels(tmp_path / "l.csv")


def test_a_csv_in_another_encoding_says_which_is_read(tmp_path: Path) -> None:
    for data in (b"photo,gr\xf6\xdfe\na.jpg,1\n", b"photo,label\na.jpg,k\xe4tzchen\n"):
        (tmp_path / "l.csv").write_bytes(data)
        with pytest.raises(PetrieveError, match="CSV in UTF-8"):
            read_labels(tmp_path / "l.csv")
