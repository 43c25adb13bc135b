"""Fitting and its figures: the right optimum, honest splits, calibration, and what is unsure or unfamiliar."""

import csv
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED, Done, need
from planting import DIMENSION, Row, cache_of, drawn, mistaken, of_trunk
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from petrieve.classifier import copies, head
from petrieve.classifier.figures import measure
from petrieve.classifier.fitting import calibrate, logistic, sampled
from petrieve.classifier.fitting.fit import fit, out_of_fold
from petrieve.classifier.fitting.shuffled import Shuffled
from petrieve.classifier.fitting.split import grouped, plan
from petrieve.classifier.head import softmax
from petrieve.classifier.labelled import read
from petrieve.store.cache import Cache

Run = Callable[..., Done]


def test_with_a_split_it_is_the_linear_head_itself_that_is_measured(run: Run, tmp_path: Path) -> None:
    store = tmp_path / "s"
    cache_of(
        store,
        [
            *drawn({"cat": 60, "dog": 60}, apart=0.05, split="train"),
            *drawn({"cat": 40, "dog": 40}, apart=0.05, seed=1, split="test"),
        ],
    )
    counted = mistaken(run("fit-head", "--store", store, "--method", "linear", "--json").json)
    vectors = read(Cache.open(store))
    said = head.load(Cache.open(store)).predict(vectors.embeddings[vectors.splits == "test"]).argmax(axis=1)
    assert (said != (vectors.labels == "dog")[vectors.splits == "test"]).sum() == counted > 0


@pytest.mark.parametrize("words", [(), ("--balanced", "--l2", 300)])
def test_the_report_shows_the_mistakes_that_fit_head_counted(run: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    store = tmp_path / "s"
    cache_of(store, drawn({"cat": 400, "dog": 40}, apart=0.1))
    counted = mistaken(run("fit-head", "--store", store, "--json", *words).json)
    assert run("report", "--store", store, "--json").json["mistakes"] == counted > 0


def test_a_head_from_before_the_splits_is_not_measured_on_the_photos_it_was_fitted_on(run: Run, tmp_path: Path) -> None:
    rows = drawn({"cat": 40, "dog": 40}, apart=0.05)
    cache_of(tmp_path / "before", rows)
    counted = mistaken(run("fit-head", "--store", tmp_path / "before", "--json").json)
    cache_of(tmp_path / "s", [(label, ("train", "test")[i % 2], vector) for i, (label, _, vector) in enumerate(rows)])
    shutil.copy(of_trunk(tmp_path / "before").head, of_trunk(tmp_path / "s").path)
    assert run("report", "--store", tmp_path / "s", "--json").json["mistakes"] == counted > 5


def test_a_head_fitted_from_a_file_is_near_the_optimum(tmp_path: Path) -> None:
    cache = cache_of(tmp_path, drawn({"cat": 1000, "dog": 1000}, apart=0.06))
    asked = np.stack([vector for _, _, vector in drawn({"cat": 400, "dog": 400}, apart=0.06, seed=1)])
    truth = np.repeat([0, 1], 400)
    losses = {}
    for method in ("logistic", "linear"):
        p = fit(cache, method=method)[0].predict(asked.astype(np.float32))
        losses[method] = -np.log(p[np.arange(len(p)), truth]).mean()
    assert losses["linear"] < 1.05 * losses["logistic"], losses


@pytest.mark.parametrize("classes", [2, 3])
def test_passes_over_a_file_find_the_optimum_of_all_rows_and_not_the_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: int
) -> None:
    draw = np.random.default_rng(9)
    targets, scales = draw.integers(0, classes, 6000), draw.uniform(0.1, 3, 20)
    x = ((draw.normal(size=(6000, 20)) + draw.normal(size=(classes, 20))[targets] * 0.4) * scales).astype(np.float16)
    weights = draw.uniform(0.5, 2, 6000).astype(np.float32)
    with (tmp_path / "rows").open("w+b") as file:
        file.write(x.tobytes())
        file.flush()
        rows = Shuffled(file, targets, weights, np.arange(6000), test=0, stop=1000, dimension=20)
        best = sampled.stopped_early(rows, classes, (10.0,))
        monkeypatch.setattr(sampled, "SAMPLE", 700)
        found = sampled.stopped_early(rows, classes, (10.0,))
        monkeypatch.setattr(sampled, "PASSES", 0)
        sample = sampled.stopped_early(rows, classes, (10.0,))
    off = [np.abs(layer.weight - best.weight).max() for layer in (found, sample)]
    assert (len(best.epochs), len(sample.epochs)) == (1, 1)
    assert off[0] < 0.1 * off[1], off


def test_figures_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(5)
    targets = draw.integers(0, 3, 400)
    p = softmax(draw.normal(size=(400, 3)) + np.eye(3)[targets])
    said = p.argmax(axis=1)
    found = measure.figures(p, p, targets, ["a", "b", "c"])
    precision, recall, f1, support = precision_recall_fscore_support(targets, said)
    for i, one in enumerate(found["per_class"]):
        assert (one["precision"], one["recall"], one["f1"]) == pytest.approx((precision[i], recall[i], f1[i]), abs=1e-4)
        assert one["support"] == support[i]
    assert found["roc_auc"] == pytest.approx(roc_auc_score(targets, p, multi_class="ovr"), abs=1e-4)
    assert np.trace(found["confusion"]) / 400 == pytest.approx(found["accuracy"], abs=1e-4)
    assert found["confusion"][0][1] == ((targets == 0) & (said == 1)).sum()


def test_the_interval_is_wilsons() -> None:
    """Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662."""
    assert measure.accuracy_interval(np.arange(263) < 81) == [0.2553, 0.3662]


def test_a_temperature_mends_what_is_too_sure() -> None:
    draw = np.random.default_rng(6)
    logits = draw.normal(size=(4000, 3)) * 2
    targets = np.array([draw.choice(3, p=row) for row in softmax(logits)])
    assert calibrate.temperature(logits * 4, targets) == pytest.approx(4, rel=0.08)
    folds = np.arange(4000) % 5
    before, after = softmax(logits * 4), softmax(calibrate.cross_fitted(logits * 4, targets, folds))
    assert measure.ece(measure.reliability(before, targets)) > 0.1
    assert measure.ece(measure.reliability(after, targets)) < 0.03


def test_a_temperature_is_not_fitted_on_the_photos_it_is_measured_on() -> None:
    """With the labels of one fold turned round, the others' temperature stays what it was without them."""
    draw = np.random.default_rng(7)
    logits, folds = draw.normal(size=(500, 2)) * 3, np.arange(500) % 5
    targets = logits.argmax(axis=1)
    turned = np.where(folds == 0, 1 - targets, targets)
    own = folds == 0
    assert np.array_equal(
        calibrate.cross_fitted(logits, targets, folds)[own], calibrate.cross_fitted(logits, turned, folds)[own]
    )


def test_views_help_to_fit_and_are_never_measured_on(tmp_path: Path) -> None:
    draw = np.random.default_rng(8)
    plain = drawn({"cat": 30, "dog": 30})
    rows: list[Row] = [
        (label, split, np.stack([vector, *(vector + draw.normal(size=(2, DIMENSION)) * 0.1)]))
        for label, split, vector in plain
    ]
    cache = cache_of(tmp_path / "views", rows)
    photos = read(cache)
    assert (len(photos), len(photos.views), photos.owners.tolist()) == (60, 120, sorted([*range(60)] * 2))
    assert np.allclose(photos.views[1], rows[0][2][2], atol=0.01)
    report = fit(cache)[1]
    assert (report.photos, report.measured, report.near_copies) == (60, 60, 0)
    assert fit(cache, method="linear")[1].photos == 60
    # The views of labels that mean nothing would give them away if they were on both sides.
    mixed = [(("cat", "dog")[draw.integers(2)], None, vector) for _, _, vector in rows]
    assert fit(cache_of(tmp_path / "mixed", mixed))[1].accuracy < 0.75


def test_few_photos_of_a_class_are_said(run: Run, tmp_path: Path) -> None:
    cache_of(tmp_path / "s", drawn({"cat": 20, "dog": 3}))
    done = run("fit-head", "--store", tmp_path / "s")
    assert (done.status, "class 'dog' has 3 photos: 3 folds instead of 5" in done.err) == (0, True)


def test_a_damaged_embedding_is_named(run: Run, tmp_path: Path) -> None:
    rows = drawn({"cat": 10, "dog": 10})
    rows[4][2][7] = np.nan
    cache_of(tmp_path / "s", rows)
    for method in ("logistic", "linear"):
        done = run("fit-head", "--store", tmp_path / "s", "--method", method)
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
        assert "00004.jpg" in done.err
        assert "cli.py verify" in done.err


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("--l2", "0"), "a number from 1e-05 to 1e+06"),
        (("--l2", "1e300"), "a number from 1e-05 to 1e+06"),
        (("--l2", "1e-12"), "a number from 1e-05 to 1e+06"),
    ],
)
def test_options_that_mean_nothing_say_so(run: Run, store: Path, words: tuple[str, ...], remedy: str) -> None:
    done = run("fit-head", "--store", store, *words)
    assert (done.status, remedy in done.err) == (1, True)


def test_a_strength_that_is_given_is_taken(run: Run, store: Path) -> None:
    done = run("fit-head", "--store", store, "--l2", 50, "--json")
    assert (done.json["l2"], len(done.json["l2_grid"])) == (50, 1)


def test_balanced_classes_find_more_of_the_rare_one(tmp_path: Path) -> None:
    cache = cache_of(tmp_path, drawn({"cat": 400, "dog": 40}, apart=0.1))
    plain, balanced = fit(cache, l2=300)[1], fit(cache, l2=300, balanced=True)[1]
    assert balanced.per_class[1]["recall"] > plain.per_class[1]["recall"] + 0.1


def test_probabilities_out_of_fold_do_not_know_their_photos_labels(tmp_path: Path) -> None:
    draw = np.random.default_rng(9)
    rows: list[Row] = [(("cat", "dog")[i % 2], None, draw.normal(size=DIMENSION)) for i in range(120)]
    photos = read(cache_of(tmp_path, rows))
    p = out_of_fold(photos, plan(photos.labels, photos.splits, photos.groups))
    assert p.shape == (120, 2)
    assert 0.3 < (p.argmax(axis=1) == np.arange(120) % 2).mean() < 0.7


@pytest.mark.real
def test_real_embeddings_give_the_accuracy_that_is_known(tmp_path: Path) -> None:
    """By scikit-learn's logistic regression, 5 folds: 98.3 %."""
    folder = need(SHARED / "embeddings")
    vectors = np.load(folder / "mobilenetv2.npy").astype(np.float32)
    listed = list(csv.DictReader((folder / "mobilenetv2.csv").open()))
    own = np.array([row["photo"].startswith("train/") for row in listed])
    targets = np.array([row["label"] == "dog" for row in listed])[own].astype(int)
    folds = grouped(targets, np.arange(own.sum()))
    found = logistic.path(vectors[own], targets, folds, weights=np.ones(own.sum()), measured=int(own.sum()))
    assert (found.logits.argmax(axis=1) == targets).mean() > 0.978
    assert found.grid[-1]["log_loss"] > min(one["log_loss"] for one in found.grid)


def test_the_head_keeps_its_temperature_in_its_weights(tmp_path: Path) -> None:
    cache = cache_of(tmp_path, drawn({"cat": 100, "dog": 100}, apart=0.06))
    fitted, report = fit(cache)
    head.save(fitted, cache)
    vectors = read(cache).embeddings
    logits = vectors @ fitted.weight.T + fitted.bias
    assert np.allclose(head.load(cache).predict(vectors), softmax(logits))
    assert report.temperature != 1


@pytest.mark.parametrize("work", ["copies", "logistic"])
def test_a_fit_holds_the_embeddings_twice_and_no_more_often(work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are, and turned."""
    x = np.random.default_rng(0).normal(size=(6000, 512)).astype(np.float32)
    digests = np.arange(len(x)).astype("S16")
    monkeypatch.setattr(logistic, "BLOCK", 256)
    monkeypatch.setattr(copies, "BLOCK", 64)
    tracemalloc.start()
    made = copies.pairs(x, digests) if work == "copies" else logistic.principal(x, np.ones(len(x)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made is not None
    assert peak < 1.6 * x.nbytes  # beside the embeddings themselves
