"""The head as scikit-learn's classifier, photos to embeddings as its transformer, alone and in a pipeline."""

import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from planting import cache_of
from planting import drawn as drawn_rows
from servers import Proxy, put_folder
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

import petrieve
from petrieve.classifier import head
from petrieve.store.cache import Cache


def test_import_and_open_need_neither_scikit_learn_nor_torch() -> None:
    code = "import petrieve, sys; petrieve.open('s'); print({'sklearn', 'torch', 'numpy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


@pytest.mark.parametrize("classifier", [petrieve.HeadClassifier(), petrieve.HeadClassifier(1.0, balanced=True)])
def test_the_classifier_passes_the_checks_of_scikit_learn(classifier: petrieve.HeadClassifier) -> None:
    with warnings.catch_warnings(action="ignore"):
        results = check_estimator(classifier, on_skip=None)
    skipped = {one["check_name"] for one in results if one["status"] != "passed"}
    assert skipped <= {"check_array_api_input"}  # asks for a setting of scipy's that is made before it is imported


def test_the_embedder_passes_what_scikit_learn_checks_where_inputs_are_no_numbers() -> None:
    with pytest.warns(UserWarning, match="Can't test estimator PhotoEmbedder"):
        results = check_estimator(petrieve.PhotoEmbedder(), on_skip=None)
    assert {one["status"] for one in results} == {"passed"}


@pytest.mark.parametrize("settings", [{"l2": 10.0}, {}, {"balanced": True}])
def test_the_classifier_is_the_head_of_the_store(tmp_path: Path, settings: dict[str, float]) -> None:
    rows = drawn_rows({"cat": 60, "dog": 30, "rabbit": 12})
    rows += [(label, split, vector * 1.001) for label, split, vector in rows[::7]]  # near-copies
    cache_of(tmp_path / "s", rows)
    store = petrieve.open(tmp_path / "s")
    store.fit_head(**settings)  # type: ignore[arg-type]
    kept = head.load(Cache.open(tmp_path / "s"))
    data = store.dataset()
    made = petrieve.HeadClassifier(**settings)  # type: ignore[arg-type]
    made.fit(data.embeddings, np.array(data.classes)[data.targets])
    assert made.classes_.tolist() == list(kept.classes)
    assert made.l2_ == kept.report.l2
    assert round(made.temperature_, 4) == kept.report.temperature
    np.testing.assert_allclose(made.coef_, kept.weight, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(made.intercept_, kept.bias, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(made.predict_proba(data.embeddings), kept.predict(data.embeddings.numpy()), atol=1e-6)


def test_a_class_with_one_photo_stays_a_class() -> None:
    digits, labels = load_digits(return_X_y=True)
    one = np.flatnonzero(labels == 3)[:1]
    rows = np.concatenate([np.flatnonzero(labels < 3)[:200], one])
    with warnings.catch_warnings(action="error"):
        made = petrieve.HeadClassifier().fit(digits[rows], labels[rows])
    assert made.classes_.tolist() == [0, 1, 2, 3]
    assert made.predict(digits[one]).tolist() == [3]
    with pytest.raises(petrieve.PetrieveError, match="add a second photo of each"):
        petrieve.HeadClassifier().fit(np.eye(3, 64), ["a", "b", "c"])
    with pytest.raises(petrieve.PetrieveError, match="such as 10"):
        petrieve.HeadClassifier(l2=1e9).fit(digits[rows], labels[rows])


def paths_and_labels(folder: Path) -> tuple[list[str], list[str]]:
    paths = sorted(map(str, folder.rglob("*.*")))
    return paths, [Path(path).parent.name for path in paths]


def test_a_pipeline_over_paths_is_cross_validated_with_one_trunk(store: Path, photos: Path) -> None:
    paths, labels = paths_and_labels(photos)  # copies that the store has not seen at these paths
    new = Path(paths[0]).with_name("new.png")
    Image.open(paths[0]).resize((300, 280)).save(new)
    pipeline = make_pipeline(petrieve.PhotoEmbedder(petrieve.open(store)), petrieve.HeadClassifier(l2=10))
    done = cross_validate(pipeline, [*paths, str(new)], [*labels, "cat"], cv=3, return_estimator=True)
    assert done["test_score"].mean() > 0.9
    (used,) = {one[0].store for one in done["estimator"]}
    assert len(used._trunks) == 1
    assert pickle.loads(pickle.dumps(pipeline))[0].store is used


def test_a_grid_is_searched_over_strengths_and_stores(store: Path, drawn: Path) -> None:
    paths, labels = paths_and_labels(drawn)
    pipeline = make_pipeline(petrieve.PhotoEmbedder(), petrieve.HeadClassifier())
    grid = {
        "photoembedder__store": [petrieve.open(store)],
        "headclassifier__l2": [1.0, 100.0],
        "headclassifier__balanced": [False, True],
    }
    search = GridSearchCV(pipeline, grid, cv=2).fit(paths, labels)
    assert search.best_score_ > 0.9
    assert len(search.cv_results_["params"]) == 4


def test_without_a_store_the_trunk_is_that_of_a_new_store(store: Path, drawn: Path) -> None:
    paths, labels = paths_and_labels(drawn)
    embedder = petrieve.PhotoEmbedder(weights="bundled")
    made, held = embedder.transform(paths[:9]), petrieve.PhotoEmbedder(petrieve.open(store)).transform(paths[:9])
    assert made.dtype == held.dtype == np.float32
    np.testing.assert_allclose(made, held, atol=2e-3)  # the store's are rounded to float16
    chosen = slice(None, None, 5)
    scores = cross_val_score(
        make_pipeline(clone(embedder), petrieve.HeadClassifier(l2=10)), paths[chosen], labels[chosen], cv=2
    )
    assert scores.shape == (2,)
    with pytest.raises(petrieve.PetrieveError, match="give a `store`"):
        petrieve.PhotoEmbedder(weights="bundled", precision="int8").transform(paths[:1])


def test_photos_are_embedded_in_the_order_given_and_nothing_is_written(store: Path, drawn: Path) -> None:
    paths, _ = paths_and_labels(drawn)
    there = {file: file.stat().st_mtime_ns for file in store.rglob("*")}
    embedder = petrieve.PhotoEmbedder(petrieve.open(store))
    found, matrix = petrieve.open(store).to_numpy()
    of = dict(zip(found.tolist(), matrix, strict=True))
    third = Path(paths[3])
    made = embedder.fit().transform([third, paths[9], third.read_bytes(), Image.open(paths[20]), paths[3]])
    assert made.dtype == np.float32
    for row, path in zip(made, (paths[3], paths[9], paths[3], paths[20], paths[3]), strict=True):
        np.testing.assert_allclose(row, of[path], atol=2e-3)
    assert np.array_equal(embedder.transform(np.array(paths[::-1])), np.stack([of[path] for path in paths[::-1]]))
    assert there == {file: file.stat().st_mtime_ns for file in store.rglob("*")}


def test_a_photo_that_has_not_changed_is_not_opened_and_another_is(photos: Path, tmp_path: Path) -> None:
    store = _embedded(tmp_path, str(photos))
    (one, other, *_), _ = paths_and_labels(photos)
    before = petrieve.PhotoEmbedder(store).transform([one, other])
    status, content = os.stat(one), Path(one).read_bytes()
    Path(one).write_bytes(bytes(len(content)))
    os.utime(one, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert np.array_equal(petrieve.PhotoEmbedder(store).transform([one, other]), before)
    Path(one).write_bytes(Path(other).read_bytes())
    assert np.array_equal(petrieve.PhotoEmbedder(store).transform([one]), before[1:])


def test_photos_in_an_archive_are_named_by_their_paths(pets: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as packed:
        for file in sorted(pets.rglob("*.*")):
            packed.write(file, file.relative_to(pets))
    store = _embedded(tmp_path, str(tmp_path / "pets.zip"))
    paths, matrix = store.to_numpy()
    embedder = petrieve.PhotoEmbedder(store)
    assert np.array_equal(embedder.transform(paths), matrix)
    with pytest.raises(petrieve.PetrieveError, match=r"pets\.zip is not a photo; name photos one by one"):
        embedder.transform([tmp_path / "pets.zip"])


def test_photos_in_a_bucket_are_named_by_their_addresses(pets: Path, proxy: Proxy, bucket: Any, tmp_path: Path) -> None:
    put_folder(bucket, pets, "pets/")
    store = _embedded(tmp_path, f"s3://{bucket.name}/pets/cat")
    paths, matrix = store.to_numpy()
    proxy.asked.clear()
    embedder = petrieve.PhotoEmbedder(store)
    assert np.array_equal(embedder.transform(paths), matrix)
    assert proxy.count("GET", "/pets/") == 0
    dogs = sorted(map(str, pets.rglob("dog/*")))
    addresses = [f"s3://{bucket.name}/pets/dog/{Path(dog).name}" for dog in dogs]
    np.testing.assert_allclose(embedder.transform(addresses), embedder.transform(dogs), atol=1e-5)


def test_a_name_that_is_no_text_is_a_name(photos: Path, tmp_path: Path) -> None:
    (one, *_), _ = paths_and_labels(photos)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 [1].jpg")
    Path(odd).write_bytes(Path(one).read_bytes())
    for embedder in (petrieve.PhotoEmbedder(weights="bundled"), petrieve.PhotoEmbedder(_embedded(tmp_path, odd))):
        made = embedder.transform([odd, one])
        np.testing.assert_allclose(made[0], made[1], atol=2e-3)


def _embedded(folder: Path, *photos: str) -> petrieve.Store:
    store = petrieve.open(folder / "s")
    store.embed(photos, weights="bundled", quiet=True)
    return store


@pytest.mark.parametrize("stored", [True, False])
def test_a_photo_that_cannot_be_read_is_named(store: Path, pets: Path, stored: bool) -> None:
    paths, _ = paths_and_labels(pets)
    embedder = petrieve.PhotoEmbedder(petrieve.open(store)) if stored else petrieve.PhotoEmbedder(weights="bundled")
    Path("bad.jpg").write_text("a cat, I swear")
    with pytest.raises(petrieve.PetrieveError, match=r"cannot embed /.*/bad\.jpg: not a photo; leave it out"):
        embedder.transform([paths[0], "bad.jpg", paths[1]])
    with pytest.raises(petrieve.PetrieveError, match="cannot embed photo 1 of the list"):
        embedder.transform([paths[0], b"no photo"])
    with pytest.raises(petrieve.PetrieveError, match=r"cannot open /.*/none\.jpg"):
        embedder.transform([paths[0], "none.jpg"])
    with pytest.raises(petrieve.PetrieveError, match="is not a photo; name photos one by one"):
        embedder.transform([pets])
    with pytest.raises(petrieve.PetrieveError, match=r"write `transform\(\[photo\]\)`"):
        embedder.transform(paths[0])
    with pytest.raises(ValueError, match="0 photos"):
        embedder.transform([])
