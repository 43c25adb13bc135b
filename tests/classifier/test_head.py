"""Heads: what they are fitted on, how they are measured, and what is refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from conftest import Done
from planting import DIMENSION, SEED, empty_store, mistaken, of_trunk, planted, whole
from pyarrow import parquet
from safetensors.numpy import load_file, save_file

from petrieve.classifier import head
from petrieve.classifier.export import export
from petrieve.classifier.fitting.fit import fit
from petrieve.store.cache import Cache
from petrieve.store.known import nothing
from petrieve.store.photo import Photo
from petrieve.store.rows import Embedded

Run = Callable[..., Done]


@pytest.mark.parametrize("method", ["logistic", "linear"])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_head_tells_planted_classes_apart(tmp_path: Path, method: str, classes: int) -> None:
    labels = ("cat", "dog", "rabbit")[:classes]
    cache = planted(tmp_path, {(label, None): 20 for label in labels})
    fitted, report = fit(cache, method=method)
    assert report.accuracy == 1.0
    measured = {"logistic": "5-fold cross-validation", "linear": f"held-out photos, {4 * classes} photos"}
    assert report.evaluated_on == measured[method]
    assert report.photos == 20 * classes, "held-out photos are fitted on in the end"
    assert 0 < report.log_loss < 0.2
    vectors = np.concatenate([batch for _, batch in cache.embeddings()])
    probabilities = fitted.predict(vectors)
    assert fitted.weight.shape == (classes, DIMENSION)
    assert np.allclose(probabilities.sum(axis=1), 1)


@pytest.mark.parametrize("method", ["logistic", "linear"])
def test_labels_that_mean_nothing_are_reported_as_chance(tmp_path: Path, method: str) -> None:
    """Out of fold: a head that was measured on its own photos would report nearly 100 %."""
    cache = planted(tmp_path, {(None, None): 1, ("cat", None): 1, ("dog", None): 1})
    rows = [
        Embedded(Photo("/r", f"{n}.jpg", 1, 1, ("cat", "dog")[n % 2]), n.to_bytes(16, "big"), 1, 1, vector[None])
        for n, vector in enumerate(np.random.default_rng(0).normal(size=(150, DIMENSION)).astype(np.float32))
    ]
    cache.commit(rows, nothing())
    assert 0.2 < fit(cache, method=method)[1].accuracy < 0.8  # three deviations for the 30 that `linear` holds out


def test_the_split_decides_what_is_fitted_and_what_is_measured(tmp_path: Path) -> None:
    counts = {(label, split): n for label in ("cat", "dog") for split, n in (("train", 10), ("test", 4), (None, 3))}
    cache = planted(tmp_path, {**counts, ("hamster", "test"): 2, (None, "test"): 5})
    fitted, report = fit(cache)
    assert (report.photos, report.evaluated_on) == (20, "held-out split, 14 photos")
    assert fitted.classes == ("cat", "dog")


def test_a_split_of_training_photos_alone_is_cross_validated(tmp_path: Path) -> None:
    _, report = fit(planted(tmp_path, {("cat", "train"): 3, ("dog", "train"): 9}))
    assert report.evaluated_on == "3-fold cross-validation"


def test_a_head_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    cache = planted(tmp_path / "a", {("cat", None): 12, ("dog", None): 12})
    rows = list(whole(cache).values())
    other = empty_store(tmp_path / "b")
    other.commit(rows[::-1], nothing())
    for method in ("logistic", "linear"):
        assert np.array_equal(fit(cache, method=method)[0].weight, fit(other, method=method)[0].weight)


@pytest.mark.parametrize(
    ("counts", "remedy"),
    [
        ({("cat", None): 5}, "embed photos of another class"),
        ({("cat", None): 5, ("dog", None): 1}, "add a second photo"),
        ({(None, None): 5}, "in a folder of its name"),
    ],
)
def test_labels_that_make_no_head_say_what_to_mend(
    run: Run, tmp_path: Path, counts: dict[tuple[str | None, str | None], int], remedy: str
) -> None:
    planted(tmp_path / "s", counts)
    done = run("fit-head", "--store", tmp_path / "s")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert remedy in done.err
    assert not (of_trunk(tmp_path / "s").head).exists()


@pytest.mark.parametrize("method", ["logistic", "linear"])
@pytest.mark.parametrize("split", [None, "train"])
def test_a_class_with_one_photo_is_left_out(run: Run, tmp_path: Path, method: str, split: str | None) -> None:
    held_out: dict[tuple[str | None, str | None], int] = {("cat", "test"): 5, ("dog", "test"): 5, ("ferret", "test"): 2}
    counts: dict[tuple[str | None, str | None], int] = {("cat", split): 12, ("dog", split): 12, ("ferret", split): 1}
    planted(tmp_path / "s", counts | (held_out if split else {}))
    done = run("fit-head", "--store", "s", "--method", method, "--json")
    assert (done.status, done.json["classes"], done.json["photos"]) == (0, ["cat", "dog"], 24)
    assert done.err == "note: class 'ferret' has one photo and is left out of the head\n"
    assert not split or done.json["measured"] == 10
    assert run("report", "--store", "s", "--json").json["mistakes"] == mistaken(done.json)
    assert run("audit", "--store", "s").status == 0


def test_several_classes_with_one_photo_are_told_in_one_line(run: Run, tmp_path: Path) -> None:
    rare: dict[tuple[str | None, str | None], int] = {(label, None): 1 for label in ("ferret", "hamster", "rabbit")}
    planted(tmp_path / "s", {("cat", None): 12, ("dog", None): 12, **rare})
    done = run("fit-head", "--store", "s")
    note, _ = done.err.splitlines()
    assert note == "note: classes 'ferret', 'hamster', 'rabbit' have one photo and are left out of the head"


def test_two_pictures_with_two_labels_each_make_no_head(run: Run, tmp_path: Path) -> None:
    cache = empty_store(tmp_path / "s")
    pictures = SEED.normal(size=(2, DIMENSION)).astype(np.float32)
    cache.commit(
        [
            Embedded(
                Photo("/r", f"{n}.jpg", 1, 1, ("cat", "dog")[label]), bytes([n // 2] * 16), 1, 1, pictures[n // 2][None]
            )
            for n, label in enumerate((0, 1, 1, 0))
        ],
        {},
    )
    for method, words in (("logistic", "near-copies with different labels"), ("linear", "too few to hold some out")):
        done = run("fit-head", "--store", tmp_path / "s", "--method", method)
        assert (done.status, done.out, words in done.err.splitlines()[-1]) == (1, "", True)


def test_an_unknown_method_is_an_error(run: Run, store: Path) -> None:
    done = run("fit-head", "--store", store, "--method", "forest")
    assert (done.status, "use one of logistic, linear" in done.err) == (1, True)


def test_a_saved_head_predicts_the_same(store: Path) -> None:
    cache = Cache.open(store)
    fitted, report = fit(cache)
    head.save(fitted, cache)
    loaded = head.load(cache)
    vectors = np.concatenate([batch for _, batch in cache.embeddings()])
    assert np.array_equal(loaded.predict(vectors), fitted.predict(vectors))
    assert loaded.report == report


@pytest.mark.parametrize("method", ["logistic", "linear"])
def test_a_saved_head_of_three_classes_is_read_as_it_was(tmp_path: Path, method: str) -> None:
    cache = planted(tmp_path, {(label, None): 20 for label in ("cat", "dog", "rabbit")})
    fitted, _ = fit(cache, method=method)
    head.save(fitted, cache)
    assert np.array_equal(head.load(cache).weight, fitted.weight)
    export(tmp_path / "alone.safetensors", fitted, cache)
    assert np.array_equal(load_file(tmp_path / "alone.safetensors")["classifier.weight"], fitted.weight)


def test_a_head_of_other_weights_or_a_damaged_one_is_refused(run: Run, store: Path, drawn: Path) -> None:
    file = of_trunk(store).head
    good = file.read_bytes()
    damaged = [good[:100], good[:-4], b"", good.replace(b'"cat\\", ', b'"cat\\"  ')]
    assert good != damaged[-1]
    tensors = load_file(file)
    fitted, _ = fit(Cache.open(store))
    for data in damaged:
        file.write_bytes(data)
        done = run("predict", drawn, "--store", store)
        assert (done.status, done.out) == (1, "")
        assert "run `cli.py fit-head`" in done.err
    other = head.Head(fitted.weight, fitted.bias, fitted.classes, "of other weights", fitted.report)
    head.save(other, Cache.open(store))
    assert "run `cli.py fit-head`" in run("predict", drawn, "--store", store).err
    assert run("info", "--store", store, "--json").json["head"]["fits"] is False
    save_file(tensors, file)
    assert "is damaged" in run("predict", drawn, "--store", store).err


def test_a_store_without_a_head_names_the_command(run: Run, store: Path, drawn: Path) -> None:
    (of_trunk(store).head).unlink()
    assert "run `cli.py fit-head`" in run("predict", drawn, "--store", store).err


def test_a_head_for_other_classes_than_the_photos_now_have_is_told(run: Run, store: Path, photos: Path) -> None:
    shutil.copytree(photos, "labelled")
    Path("labelled/dog").rename("labelled/poodle")
    assert run("embed", "labelled", "--store", "new", "--weights", "bundled").status == 0
    shutil.copy(of_trunk(store).head, of_trunk(Path("new")).path)
    stale = "the head knows 'dog', which no photo in the store is labelled; run `cli.py fit-head`"
    done = run("predict", "labelled/cat", "--store", "new")
    assert (done.status, done.err) == (0, f"note: {stale}\n")
    done = run("report", "--store", "new")
    assert (done.status, done.out, done.err) == (1, "", f"error: {stale}\n")
    assert run("predict", "labelled/cat", "--store", store).err == ""


def test_predict_gives_table_json_and_csv(run: Run, store: Path, drawn: Path, tmp_path: Path) -> None:
    done = run("predict", drawn / "cat", "--store", store, "--json", "--csv", tmp_path / "p.csv")
    assert done.status == 0
    assert len(done.json) == 20
    for one in done.json:
        assert set(one) == {"photo", "root", "label", "probability", "probabilities", "unsure", "unfamiliar"}
        assert one["probability"] == max(one["probabilities"].values())
        assert sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert sum(one["label"] == "cat" for one in done.json) >= 19  # they are the photos it was fitted on
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines[0] == "photo,label,probability,error,p(cat),p(dog),unsure,unfamiliar,root"
    assert len(lines) == 21
    run("export", tmp_path / "p.parquet", "--store", store)
    exported = parquet.read_table(tmp_path / "p.parquet").filter(pc.field("label") == "cat").to_pylist()
    keys = {(one["root"], one["photo"]) for one in exported}
    assert {(one["root"], one["photo"]) for one in done.json} == keys
    assert {(line.rpartition(",")[2], line.partition(",")[0]) for line in lines[1:]} == keys
    assert run("predict", drawn / "cat", "--store", store).out.splitlines()[0].split() == [
        "photo",
        "label",
        "probability",
    ]


def test_predict_goes_on_past_an_unreadable_photo(run: Run, store: Path, photos: Path) -> None:
    (photos / "cat" / "bad.jpg").write_bytes(b"no photo")
    done = run("predict", photos / "cat", "--store", store, "--json")
    bad = [one for one in done.json if set(one) == {"photo", "root", "error"}]
    assert (done.status, len(done.json), bad[0]["error"]) == (0, 21, "not a photo")
    alone = run("predict", photos / "cat" / "bad.jpg", "--store", store)
    assert (alone.status, "not one photo could be read" in alone.err) == (1, True)
