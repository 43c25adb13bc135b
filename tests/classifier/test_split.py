"""Which photos a head is fitted on, and which it is measured on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Done
from hypothesis import given, settings
from hypothesis import strategies as st
from planting import DIMENSION, Row, arrays, cache_of, drawn
from sklearn.linear_model import LogisticRegression

from petrieve.classifier import copies as near
from petrieve.classifier.figures import measure
from petrieve.classifier.fitting import logistic
from petrieve.classifier.fitting.fit import fit
from petrieve.classifier.fitting.split import grouped
from petrieve.classifier.head import softmax
from petrieve.store.linked import joined
from petrieve.store.rows import unit_length

Run = Callable[..., Done]


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize(("count", "wide"), [(300, 40), (60, 200)])
@pytest.mark.parametrize("l2", [0.1, 30.0])
def test_every_fold_and_the_whole_reach_the_optimum_of_scikit_learn(
    classes: int, count: int, wide: int, l2: float
) -> None:
    x, targets = arrays(classes, count, wide)
    folds = grouped(targets, np.arange(count))
    weights = np.random.default_rng(1).choice([0.2, 1.0], count)
    found = logistic.path(x, targets, folds, weights=weights, measured=count, strengths=(l2,))
    share_ = weights / weights.sum()
    mean = share_ @ x
    z = (x - mean) / np.sqrt(share_ @ (x - mean) ** 2)

    def theirs(own: np.ndarray) -> Any:
        part = weights[own].sum() / weights.sum()  # fewer rows, less of L2
        model = LogisticRegression(C=1 / (l2 * part), tol=1e-8, max_iter=10_000)
        return model.fit(z[own], targets[own], sample_weight=weights[own])

    whole = theirs(np.ones(count, bool)).predict_proba(z)
    assert np.abs(softmax(x @ found.weight.T + found.bias) - whole).max() < 2e-3
    for fold in range(5):
        out = theirs(folds != fold).predict_proba(z[folds == fold])
        assert np.abs(softmax(found.logits[folds == fold]) - out).max() < 3e-3


def test_the_grid_takes_the_strength_that_scikit_learn_would() -> None:
    x, targets = arrays(2, 400, 60)
    folds = grouped(targets, np.arange(400))
    found = logistic.path(x, targets, folds, weights=np.ones(400), measured=400)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    losses = {}
    for one in found.grid:
        p = np.empty((400, 2))
        for fold in range(5):
            part = (folds != fold).mean()
            model = LogisticRegression(C=1 / (one["l2"] * part), tol=1e-8, max_iter=10_000)
            p[folds == fold] = model.fit(z[folds != fold], targets[folds != fold]).predict_proba(z[folds == fold])
        losses[one["l2"]] = measure.log_loss(p, targets)
        assert one["log_loss"] == pytest.approx(losses[one["l2"]], abs=1e-4)
    assert found.l2 == min(losses, key=losses.__getitem__)
    assert 1e-5 < found.l2 < 1e6


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=20, max_size=200))
@settings(max_examples=60, deadline=None)
def test_groups_are_whole_in_every_split(photos: list[tuple[int, int]]) -> None:
    targets, groups = (np.array(part) for part in zip(*photos, strict=True))
    folds = grouped(targets, groups)
    assert ((folds >= 0) & (folds < 5)).all()
    assert all(len(set(folds[groups == group])) == 1 for group in set(groups.tolist()))


def test_folds_spread_classes_evenly() -> None:
    targets = np.repeat([0, 1, 2], [100, 50, 10])
    folds = grouped(targets, np.arange(160))
    for target, count in enumerate((20, 10, 2)):
        assert np.bincount(folds[targets == target]).tolist() == [count] * 5


def test_all_near_copies_are_found_and_no_others() -> None:
    """The sketches are a filter: what they let through is what a comparison of all with all finds."""
    draw = np.random.default_rng(3)
    x = draw.gamma(0.5, size=(1500, DIMENSION)).astype(np.float32)
    for i in range(0, 300, 3):
        x[i + 1] = x[i] + draw.normal(size=DIMENSION) * draw.uniform(0.05, 0.4)
    digests = np.array([i.to_bytes(16, "big") for i in range(1500)], "S16")
    digests[1400] = digests[1401]
    groups = joined(near.pairs(x, digests), 1500)
    units = unit_length(near.standardised(x))
    alike = np.triu(units @ units.T >= near.SAME, 1)
    alike[1400, 1401] = True
    pairs = {(i, j) for i, j in zip(*np.nonzero(alike), strict=True)}
    assert 20 < len(pairs) < 101
    assert all(groups[i] == groups[j] for i, j in pairs)
    assert len(np.unique(groups)) == 1500 - len(pairs)


def test_near_copies_inflate_no_figure(tmp_path: Path) -> None:
    """Labels that mean nothing, every photo twice: a careless split finds each copy's twin, and 100 %."""
    draw = np.random.default_rng(0)
    rows: list[Row] = []
    for number in range(100):
        vector = draw.normal(size=DIMENSION)
        label = ("cat", "dog")[draw.integers(2)]
        rows += [(label, None, vector), (label, None, vector + draw.normal(size=DIMENSION) * 0.05)]
        assert number < 100
    report = fit(cache_of(tmp_path, rows))[1]
    assert report.near_copies == 200
    assert report.accuracy < 0.65
    assert report.accuracy_ungrouped > 0.9


@pytest.mark.parametrize("seed", range(3))
def test_one_pair_of_copies_inflates_no_more_than_its_own_picture(tmp_path: Path, seed: int) -> None:
    rows = drawn({"cat": 200, "dog": 200}, apart=0.085, seed=seed)
    label, split, vector = rows[seed]
    report = fit(cache_of(tmp_path, [*rows, (label, split, vector + 0.01)]))[1]
    assert (report.near_copies, report.measured) == (2, 400)
    assert abs(report.accuracy_ungrouped - report.accuracy) <= 1 / 400 + 1e-4


def test_a_burst_of_one_animal_leaves_five_folds(run: Run, tmp_path: Path) -> None:
    rows = drawn({"cat": 60, "dog": 30})
    draw = np.random.default_rng(2)
    burst = [("dog", None, rows[-1][2] + draw.normal(size=DIMENSION) * 0.02) for _ in range(100)]
    cache_of(tmp_path / "s", [*rows, *burst])
    done = run("fit-head", "--store", tmp_path / "s", "--json")
    assert done.json["near_copies"] == 101
    assert done.json["evaluated_on"] == "5-fold cross-validation"
    targets, groups = np.repeat([0, 1, 1], [60, 29, 101]), np.array([*range(89), *[89] * 101])
    assert sorted(np.bincount(grouped(targets, groups)).tolist()) == [19, 19, 19, 20, 113]


@pytest.mark.parametrize("folds", [2, 5])
def test_no_more_folds_are_counted_than_there_are(folds: int) -> None:
    assert np.unique(grouped(np.zeros(12, int), np.array([0] * 5 + [1] * 7), folds)).tolist() == [0, 1]


def test_held_out_photos_with_a_copy_in_training_are_left_out(run: Run, tmp_path: Path) -> None:
    train = drawn({"cat": 30, "dog": 30}, split="train")
    test = drawn({"cat": 10, "dog": 10}, seed=1, split="test")
    copies: list[Row] = [(label, "test", vector + 0.01) for label, _, vector in train[:7]]
    for method in ("logistic", "linear"):
        store = tmp_path / method
        cache_of(store, [*train, *test, *copies])
        done = run("fit-head", "--store", store, "--method", method, "--json")
        assert (done.json["measured"], done.json["left_out"]) == (20, 7)
        assert done.json["evaluated_on"] == "held-out split, 20 photos"
    assert "near-copies of training photos: 7" in run("fit-head", "--store", tmp_path / "logistic").out


def test_where_all_held_out_photos_are_copies_the_report_shows_what_fit_head_measured(run: Run, tmp_path: Path) -> None:
    train = drawn({"cat": 30, "dog": 30}, apart=0.05, split="train")
    store = tmp_path / "s"
    cache_of(store, [*train, *((label, "test", vector + 0.01) for label, _, vector in train[::2])])
    done = run("fit-head", "--store", store, "--method", "linear")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert "use `--method logistic`" in done.err
    fitted = run("fit-head", "--store", store, "--json").json
    assert fitted["evaluated_on"] == "5-fold cross-validation"
    assert run("report", "--store", store, "--json").json["mistakes"] > 0


def test_the_vote_of_near_copies_is_not_in_the_yardstick(tmp_path: Path) -> None:
    """Labels that mean nothing: only copies would know each other's."""
    draw = np.random.default_rng(4)
    rows: list[Row] = [
        (("cat", "dog")[draw.integers(2)], split, draw.normal(size=DIMENSION))
        for split in ["train"] * 100 + ["test"] * 20
    ]
    copies: list[Row] = [(label, "test", vector + 0.01) for label, _, vector in rows[:80]]
    alone = fit(cache_of(tmp_path / "alone", rows), method="linear")[1]
    report = fit(cache_of(tmp_path / "copies", [*rows, *copies]), method="linear")[1]
    assert (report.measured, report.left_out) == (20, 80)
    assert report.accuracy_knn == alone.accuracy_knn


def test_photos_to_stop_by_that_are_all_copies_are_named_as_such(run: Run, tmp_path: Path) -> None:
    train = drawn({"cat": 5, "dog": 5}, split="train")
    copies: list[Row] = [(label, "train", vector + 0.01 * i) for label, _, vector in train for i in range(6)]
    cache_of(tmp_path / "s", [*copies, *drawn({"cat": 10, "dog": 10}, seed=1, split="test")])
    done = run("fit-head", "--store", tmp_path / "s", "--method", "linear")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert "photos to stop by are near-copies of training photos" in done.err


def test_ten_copies_of_a_picture_prove_no_more_than_one(run: Run, tmp_path: Path) -> None:
    test = drawn({"cat": 30, "dog": 30}, seed=1, split="test")
    splits = [
        *drawn({"cat": 30, "dog": 30}, split="train"),
        *[(a, b, vector + 0.01 * i) for a, b, vector in test for i in range(10)],
    ]
    for name, rows in (("split", splits), ("folds", [(label, None, vector) for label, _, vector in splits])):
        for method in ("logistic", "linear"):
            store = tmp_path / f"{name} {method}"
            cache_of(store, rows)
            report = run("fit-head", "--store", store, "--method", method, "--json").json
            most, least = {"split": (60, 60), "folds": (120, 120) if method == "logistic" else (40, 8)}[name]
            assert least <= report["measured"] == sum(map(sum, report["confusion"])) <= most


def test_near_copies_across_the_split_that_stops_make_no_head_too_sure(tmp_path: Path) -> None:
    """Labels that mean nothing: a temperature from photos whose copies were fitted on would believe in them."""
    draw = np.random.default_rng(0)
    rows: list[Row] = [(("cat", "dog")[draw.integers(2)], None, draw.normal(size=DIMENSION)) for _ in range(900)]
    copies: list[Row] = [(label, None, vector + draw.normal(size=DIMENSION) * 0.03) for label, _, vector in rows[:540]]
    for method in ("logistic", "linear"):
        report = fit(cache_of(tmp_path / method, [*rows, *copies]), method=method)[1]
        assert report.log_loss < 0.71, method


def test_copies_with_different_labels_are_named(run: Run, tmp_path: Path) -> None:
    rows = drawn({"cat": 20, "dog": 20})
    digests = list(range(40))
    digests[30] = 3
    cache_of(tmp_path / "s", rows, digests)
    done = run("fit-head", "--store", tmp_path / "s")
    assert done.status == 0
    assert "note: one picture, two labels: /made-up/00003.jpg (cat), /made-up/00030.jpg (dog)" in done.err


def test_one_photo_copied_is_one_photo(run: Run, tmp_path: Path) -> None:
    rows = [*drawn({"cat": 20}), *[("dog", None, np.arange(DIMENSION) / 100)] * 3]
    cache_of(tmp_path / "s", rows)
    done = run("fit-head", "--store", tmp_path / "s")
    assert (done.status, "class 'dog' has 3 copies of one photo" in done.err) == (1, True)
