"""A store in a notebook: what its methods take, and what their answers can do."""

import copy
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Done
from PIL import Image, ImageOps

import petrieve

Run = Callable[..., Done]
LATER = "torch numpy lance pyarrow faiss sklearn scipy ray PIL typer rich pandas http.client urllib.request".split()


@pytest.fixture
def photo(drawn: Path) -> Path:
    return sorted(drawn.rglob("*.png"))[0]


def test_opening_a_store_imports_nothing_heavy() -> None:
    code = f"import sys, petrieve; petrieve.open('x'); print([one for one in {LATER} if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_all_that_is_public_is_there() -> None:
    assert [name for name in petrieve.__all__ if not getattr(petrieve, name)] == []
    assert set(petrieve.__all__) <= set(dir(petrieve))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        petrieve.nothing  # noqa: B018


def nearest(store: petrieve.Store, photo: object) -> petrieve.Match:
    return store.similar(photo, k=1)[0]  # type: ignore[arg-type]


def test_a_photo_in_memory_is_the_file_that_it_came_from(store: Path, photo: Path) -> None:
    opened = petrieve.open(store)
    with Image.open(photo) as picture:
        for one in (picture, picture.convert("RGBA"), picture.convert("CMYK")):
            found = nearest(opened, one)
            assert (found.photo, found.similarity) == (str(photo), 1.0), one.mode
    # Of the file itself the copy in the store is left out, by its bytes.
    assert opened.similar(photo.read_bytes()).left_out == (str(photo),)
    # With a precision all are computed, instead of taken from the store, which rounds.
    both = opened.predict([Image.open(photo), photo, photo.read_bytes()], precision="float32")
    assert [one.photo for one in both] == ["0", f"{photo.parent.name}/{photo.name}", "2"]
    assert len({one.probability for one in both}) == 1


def test_a_picture_is_seen_as_its_exif_says(store: Path, photo: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(photo) as picture:
        picture.transpose(Image.Transpose.ROTATE_90).save("turned.png", exif=exif)
    with Image.open("turned.png") as turned:
        for one in (turned, ImageOps.exif_transpose(turned)):
            assert nearest(petrieve.open(store), one).similarity == 1.0


def test_a_picture_that_cannot_be_read_costs_one_photo(store: Path, photo: Path) -> None:
    Path("cut.png").write_bytes(photo.read_bytes()[:3000])
    closed = Image.new("RGB", (9, 9))
    closed.close()
    bad = [Image.new("RGB", (0, 0)), Image.open("cut.png"), closed, b"none"]
    said = petrieve.open(store).predict([*bad, photo])
    assert [bool(one.error) for one in said] == [True] * 4 + [False]
    for one in bad:
        with pytest.raises(petrieve.PetrieveError, match="cannot embed the photo: "):
            petrieve.open(store).similar(one)


def test_what_is_no_photo_is_a_mistake_in_the_program(store: Path) -> None:
    for one in (3, None, np.zeros((9, 9, 3)), bytearray(9), open(os.devnull, "rb")):  # noqa: SIM115
        with pytest.raises(TypeError, match="a photo is a path, bytes or a picture of Pillow's, and not"):
            petrieve.open(store).similar(one)  # type: ignore[arg-type]


def test_what_is_no_number_or_place_is_named_in_plain_words(store: Path, photo: Path) -> None:
    opened = petrieve.open(store)
    for call, words in (
        (lambda: opened.similar(photo, k="five"), "k is a whole number from 1, not 'five'"),  # type: ignore[arg-type]
        (lambda: opened.similar(photo, top=5), "Store.similar() got an unexpected keyword argument 'top'"),  # type: ignore[call-arg]
        (lambda: petrieve.open(3), "a place is a path or an address, and not int"),  # type: ignore[arg-type]
        (lambda: opened.embed(3), "a place is a path or an address, and not int"),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match=f"^{re.escape(words)}$"):
            call()


def test_an_error_in_a_condition_shows_no_other_error(store: Path, photo: Path) -> None:
    with pytest.raises(petrieve.PetrieveError) as refused:
        petrieve.open(store).similar(photo, where="lable = 'cat'")
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_a_condition_that_no_photo_fulfils_says_so(store: Path, photo: Path) -> None:
    for where, words in (
        ("label = 'dgo'", "; is 'dog' meant?"),
        ("label = '?'", "; the labels are cat, dog"),
        ("width < 0", ""),
    ):
        with pytest.warns(UserWarning, match=f"^{re.escape(f'no photo has {where}{words}')}$"):
            assert not petrieve.open(store).similar(photo, where=where)


def test_labels_are_a_file_and_no_frame(store: Path) -> None:
    with pytest.raises(TypeError, match="DataFrame"):
        petrieve.open(store).embed("a", labels=petrieve.open(store).to_pandas())  # type: ignore[arg-type]


def test_photos_may_come_one_by_one(store: Path, photo: Path) -> None:
    opened = petrieve.open(store)
    for some in ([photo], (photo,), {photo}, (one for one in [photo]), np.array([str(photo)])):
        assert opened.similar(some).photos == (str(photo),)  # type: ignore[arg-type]
    assert len(opened.predict(one for one in [photo])) == 1
    assert len(opened.predict([])) == 0
    with pytest.raises(petrieve.PetrieveError, match="there is no photo to look for; name one"):
        opened.similar([])


def test_the_home_folder_is_meant_where_no_shell_has_seen_it(
    store: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    shutil.move(store, "home/store")
    shutil.copy(photo, "home/a.png")
    opened = petrieve.open("~/store")
    opened.predict("~/a.png", csv="~/a.csv")
    opened.similar("~/a.png", sheet="~/a.jpg")
    opened.export("~/a.parquet")
    petrieve.sample("~/drawn", photos=2)
    petrieve.open("~/other").embed("~/drawn", weights="bundled", quiet=True)
    petrieve.open("~/third").import_("~/a.parquet")
    made = {"a.csv", "a.jpg", "a.png", "a.parquet", "drawn", "other", "store", "third"}
    assert {one.name for one in (tmp_path / "home").iterdir()} == made
    assert not Path("~").exists()


WRONG: dict[str, tuple[Callable[[petrieve.Store], object], str]] = {
    "k": (lambda store: store.similar(b"", k=0), "cannot"),
    "similarity": (lambda store: store.similar(Image.new("RGB", (9, 9)), min_similarity=2), "from -1 to 1"),
    "recall": (lambda store: store.build_index(recall=2), "a share such as 0.99"),
    "sample": (lambda store: store.verify(sample=-1), "from 0 on"),
    "forget": (lambda store: store.embed("a", forget=1), "`forget=…` goes with `prune=True`"),
    "workers": (lambda store: store.embed("a", workers=1), "`workers=…` goes with `on=…`"),
    "no source": (lambda store: store.embed([]), "no source to take photos from; name a folder"),
    "no source, no store": (lambda _: petrieve.open("none").embed([]), "no source to take photos from; name a folder"),
    "column": (lambda store: store.embed("a", photo_column="b"), "name it with `labels=…`"),
    "bucket": (lambda store: store.export("s3://bucket/a.parquet"), "is an address, and no path"),
    "trunk": (lambda store: store.compare_trunks("densenet121"), "has one trunk"),
    "origin": (lambda _: petrieve.sample("a", origin="b"), "no photos can be had from 'b'"),
    "sample's folder": (lambda _: petrieve.sample("file/a"), "cannot write file/a/"),
    "no store": (lambda _: petrieve.open("none").info(), "run `petrieve embed FOLDER` first"),
    "a file": (lambda _: petrieve.open("file").info(), "file is a file, and no store"),
    "weights": (lambda store: store.predict(b"", weights="none.pth"), "cannot read weights from"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_mistake_is_told_in_one_line_with_what_mends_it(what: str, store: Path) -> None:
    Path("file").touch()
    call, words = WRONG[what]
    with pytest.raises(petrieve.PetrieveError) as raised:
        call(petrieve.open(store))
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.fixture
def answers(store: Path, photo: Path) -> list[Any]:
    opened = petrieve.open(store)
    return [opened.info(), opened.similar(photo), opened.predict([photo, b"none"]), opened.audit(), opened.duplicates()]


def test_answers_can_be_copied_pickled_and_made_a_dict(answers: list[Any]) -> None:
    for one in answers:
        assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
        assert asdict(one)


def test_answers_are_sequences_of_what_was_found(answers: list[Any], drawn: Path) -> None:
    _, alike, said, audit, _ = answers
    assert (len(alike), len(alike[:3]), alike[0] in alike, [*alike][-1]) == (10, 3, True, alike[-1])
    assert (len(said), said[1].error, len(audit)) == (2, "not a photo", 40)


def test_tables_of_photos_are_joined_by_their_paths(store: Path, photo: Path) -> None:
    opened = petrieve.open(store)
    said, audit = opened.predict([photo.parent, b"none"]), opened.audit()
    assert [one.path for one in said] == [*map(str, sorted(photo.parent.iterdir())), "memory:/1"]
    frame = said.to_pandas().merge(audit.to_pandas(), on="path").merge(opened.to_pandas(), on="path")
    assert list(frame["path"]) == [one.path for one in said[:-1]]
    assert opened.similar(photo, k=2).to_pandas()["path"].isin(audit.to_pandas()["path"]).all()
    assert "path" not in said.document()[0]


def test_a_column_of_the_users_own_that_is_called_path_stays(few: Path) -> None:
    named = sorted(few.rglob("*.*"))
    Path("mine.csv").write_text("".join(["photo,label,path\n", *(f"{one},pet,mine\n" for one in named)]))
    store = petrieve.open("s")
    store.embed(few, labels="mine.csv", weights="bundled", quiet=True)
    assert set(store.to_pandas()["path"]) == {"mine"}


def test_a_table_without_rows_has_its_columns(store: Path, photo: Path) -> None:
    opened = petrieve.open(store)
    for none, some in (
        (opened.predict([]), opened.predict(photo)),
        (opened.similar(photo, min_similarity=1), opened.similar(photo)),
    ):
        assert len(none.to_pandas()) == 0
        assert list(none.to_pandas().columns) == list(some.to_pandas().columns)
    copies = opened.duplicates().to_pandas()
    assert list(copies.columns)[:4] == ["group", "kind", "path", "photo"]


def test_a_notebook_shows_pictures_whatever_photos_are_called(photos: Path) -> None:
    label = "<script>alert(1)<"
    (photos / label / "a").parent.mkdir()
    for one in list((photos / "cat").iterdir())[:12]:
        one.rename(photos / label / f"\"'><b>{one.name}")
    store = petrieve.open("s")
    store.embed(photos, weights="bundled", quiet=True)
    alike = store.similar(sorted((photos / "dog").iterdir())[0], k=99)
    page = alike._repr_html_()
    assert page.count("data:image/jpeg;base64,") == min(1 + len(alike), 40)
    assert len(page) < 1 << 20
    assert (("<script" in page), "'><b>" in page, "&lt;script&gt;" in page) == (False, False, True)
    shutil.rmtree(photos / label)
    assert alike._repr_html_().count("no longer there") > 0
    none = store.similar(sorted((photos / "dog").iterdir())[0], min_similarity=1)._repr_html_()
    assert (none.count("data:image/jpeg;base64,"), none.count("<p>nothing was found</p>")) == (1, 1)


def test_many_may_ask_at_once(store: Path, photo: Path) -> None:
    opened = petrieve.open(store)
    with Image.open(photo) as picture, ThreadPoolExecutor(6) as many:
        asked = [many.submit(nearest, opened, one) for one in [picture.copy(), photo.read_bytes(), photo] * 4]
        assert len({one.result().photo for one in asked}) == 2  # the photo itself, or the next where it is left out


def test_each_call_sees_what_is_in_the_store_then(store: Path, photo: Path, run: Run, tmp_path: Path) -> None:
    opened = petrieve.open(store)
    assert (len(opened), len(opened.similar(photo, k=99))) == (40, 39)
    petrieve.sample("more", photos=3, seed=5)
    assert run("embed", "more", "--store", store).status == 0  # as another process does
    assert (len(opened), len(opened.similar(photo, k=99))) == (43, 42)
    shutil.rmtree(store)
    with pytest.raises(petrieve.PetrieveError, match="there are no embeddings in"):
        opened.similar(photo)
    assert repr(pickle.loads(pickle.dumps(opened))) == f"petrieve.open({str(store)!r})"


def test_an_interrupted_run_goes_on_where_it_was(few: Path) -> None:
    """Ctrl-C in a notebook."""
    store = petrieve.open("s")

    def interrupt() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.embed(few, weights="bundled", quiet=True, stop=interrupt)
    assert store.embed(few, quiet=True, weights="bundled").found == 6
    assert len(store) == 6
