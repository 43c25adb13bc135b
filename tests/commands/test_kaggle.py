"""Kaggle's dogs-vs-cats: its folders as they come, and the file that it wants back."""

import csv
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import PHOTOS, Done, need
from hypothesis import given, settings
from hypothesis import strategies as st
from planting import said_in

from petrieve.classifier.figures.clip import SMALLEST_CLIP, clip
from petrieve.store.cache import Cache

Run = Callable[..., Done]


@pytest.fixture
def data(drawn: Path, tmp_path: Path) -> Path:
    """Some drawn photos, named and put as Kaggle does."""
    for kind in ("cat", "dog"):
        for number, file in enumerate(sorted((drawn / kind).iterdir())[:8]):
            target = tmp_path / "data" / "train" / f"{kind}.{number}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    for number, file in zip((10, 9, 2, 1), sorted((drawn / "dog").iterdir())[8:12], strict=True):
        target = tmp_path / "data" / "test1" / f"{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    return tmp_path / "data"


def rows_of(file: Path) -> list[list[str]]:
    with file.open(newline="") as opened:
        return list(csv.reader(opened))


@pytest.mark.parametrize("sources", [["data"], ["data/train", "data/test1"]], ids=["together", "apart"])
def test_kaggles_folders_are_read_as_they_come(run: Run, data: Path, sources: list[str]) -> None:
    assert run("embed", *sources, "--store", "s", "--weights", "bundled").status == 0
    counts = Cache.open("s").counts()
    assert counts["labels"] == {"cat": 8, "dog": 8}
    assert counts["splits"] == {"test": 4, "train": 16}
    told = {Path(path).name: row for path, row in said_in(Cache.open("s")).items()}
    assert (told["cat.0.jpg"]["label"], told["cat.0.jpg"]["split"]) == ("cat", "train")
    assert (told["10.jpg"]["label"], told["10.jpg"]["split"]) == (None, "test")


def test_a_submission_is_by_id_with_the_probability_of_dog(run: Run, data: Path, store: Path) -> None:
    done = run("predict", data / "test1", "--store", store, "--kaggle", "s.csv", "--json")
    assert done.status == 0
    header, *rows = rows_of(Path("s.csv"))
    assert header == ["id", "label"]
    assert [row[0] for row in rows] == ["1", "2", "9", "10"]
    said = {Path(one["photo"]).stem: one["probabilities"]["dog"] for one in done.json}
    kept = run("info", "--store", store, "--json").json["head"]["clip"]
    for number, label in rows:
        assert float(label) == pytest.approx(min(max(said[number], kept), 1 - kept), abs=1e-6)
        assert 0 < float(label) < 1


def test_an_unreadable_photo_has_the_share_of_dogs(run: Run, data: Path, store: Path) -> None:
    (data / "test1" / "5.jpg").write_bytes(b"no photo")
    done = run("predict", data / "test1", "--store", store, "--kaggle", "s.csv")
    assert done.status == 0
    assert ["5", "0.5"] in rows_of(Path("s.csv"))
    assert len(rows_of(Path("s.csv"))) == 6
    assert "5.jpg" in done.err
    assert "share of dogs among the labelled photos" in done.err


def test_the_folder_is_listed_once_so_that_no_file_comes_between(
    run: Run, data: Path, store: Path, tmp_path: Path
) -> None:
    """A file comes whenever the folder has been listed: who lists twice finds more than was numbered."""
    folder, listings = str(data / "test1"), list[str]()
    shutil.copy(data / "test1" / "1.jpg", tmp_path / "spare.jpg")

    def watch(event: str, words: tuple[object, ...]) -> None:
        if event not in ("os.scandir", "os.listdir"):
            return
        listed = os.readlink(f"/proc/self/fd/{words[0]}") if isinstance(words[0], int) else str(words[0])
        if listed.rstrip("/") == folder:
            if listings:
                Path(tmp_path / "spare.jpg").rename(f"{folder}/77.jpg")
            listings.append(folder)

    sys.addaudithook(watch)
    try:
        done = run("predict", folder, "--store", store, "--kaggle", "s.csv")
    finally:
        folder = ""  # a hook stays until the process ends
    assert (done.status, len(listings)) == (0, 1)
    assert [row[0] for row in rows_of(Path("s.csv"))[1:]] == ["1", "2", "9", "10"]


def test_what_is_no_submission_is_one_line(run: Run, data: Path, store: Path, tmp_path: Path) -> None:
    shutil.copy(data / "test1" / "1.jpg", data / "test1" / "1.png")
    shutil.copytree(data, tmp_path / "other")
    for source, words in ((data / "train", "is not a number"), (data / "test1", "are both number 1")):
        done = run("predict", source, "--store", store, "--kaggle", "s.csv")
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
        assert words in done.err
    for kind in ("cat", "dog"):
        (tmp_path / "breeds" / f"{kind}ling").mkdir(parents=True)
        for file in (tmp_path / "other" / "train").glob(f"{kind}.*"):
            shutil.copy(file, tmp_path / "breeds" / f"{kind}ling" / file.name.replace(".", "-", 1))
    assert run("embed", tmp_path / "breeds", "--store", "b", "--weights", "bundled").status == 0
    assert run("fit-head", "--store", "b").status == 0
    done = run("predict", data / "test1", "--store", "b", "--kaggle", "s.csv")
    assert (done.status, done.out, "wants cat and dog" in done.err) == (1, "", True)
    assert not Path("s.csv").exists()


@pytest.mark.real
def test_real_test_photos_make_a_whole_submission(run: Run, store: Path, tmp_path: Path) -> None:
    photos = sorted(need(PHOTOS / "test").iterdir())[:12]
    (tmp_path / "test1").mkdir()
    for photo in photos:
        shutil.copy(photo, tmp_path / "test1")
    assert run("predict", "test1", "--store", store, "--kaggle", "s.csv").status == 0
    ids = [int(row[0]) for row in rows_of(Path("s.csv"))[1:]]
    assert ids == sorted(int(photo.stem) for photo in photos)


def log_loss(given: np.ndarray, kept: float) -> float:
    return float(-np.log(np.clip(given, kept, 1 - kept)).mean())


def test_sure_mistakes_are_clipped_and_calibrated_predictions_are_not() -> None:
    chance = np.random.default_rng(0)
    targets = chance.integers(0, 2, 2000)
    wrong = chance.random(2000) < 0.05
    dog = np.where(targets ^ wrong, 0.999999, 0.000001)  # as sure as can be, and wrong in 5 %
    sure = np.stack([1 - dog, dog], axis=1)
    assert clip(sure, targets) == pytest.approx(wrong.mean(), rel=0.1)
    dog = chance.beta(0.5, 0.5, 2000)
    calibrated = np.stack([1 - dog, dog], axis=1)
    targets = (chance.random(2000) < dog).astype(int)
    kept = clip(calibrated, targets)
    given = calibrated[np.arange(2000), targets]
    assert kept < 0.01
    assert log_loss(given, kept) <= log_loss(given, SMALLEST_CLIP)


@given(seed=st.integers(0, 2**32 - 1), photos=st.integers(1, 60), classes=st.integers(2, 4))
@settings(max_examples=50, deadline=None)
def test_clipping_never_raises_the_loss_that_it_was_chosen_by(seed: int, photos: int, classes: int) -> None:
    chance = np.random.default_rng(seed)
    probabilities = chance.dirichlet(np.full(classes, 0.1), photos)
    targets = chance.integers(0, classes, photos)
    kept = clip(probabilities, targets)
    given = probabilities[np.arange(photos), targets]
    assert SMALLEST_CLIP <= kept <= 0.2
    assert log_loss(given, kept) <= log_loss(given, SMALLEST_CLIP) + 1e-12


def test_the_head_keeps_its_clip(run: Run, store: Path) -> None:
    assert json.loads(run("fit-head", "--store", store, "--json").out)["clip"] >= SMALLEST_CLIP
