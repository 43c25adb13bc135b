"""Fitting and its figures: the right optimum, honest splits, calibration, and what is unsure or unfamiliar."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DIMENSION, SHARED, Done, empty_store, need, of_trunk
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from classifier import copies as near
from classifier import head
from classifier.figures import familiar, measure
from classifier.fitting import calibrate, logistic
from classifier.fitting.fit import fit, out_of_fold
from classifier.fitting.split import grouped, plan
from classifier.head import softmax
from classifier.labelled import read
from classifier.predict import predict, share
from store.cache import Cache
from store.errors import PetrieveError
from store.known import nothing
from store.photo import Photo
from store.rows import Embedded, unit_length

Run = Callable[..., Done]
Row = tuple[str, str | None, np.ndarray]  # label, split, embedding (1024,) or, with views, (V, 1024)


def cache_of(store: Path, rows: list[Row], digests: list[int] | None = None) -> Cache:
    cache = empty_store(store)
    made = []
    for number, (label, split, vector) in enumerate(rows):
        photo = Photo("/made-up", f"{number:05d}.jpg", 1, 1, label, split)
        digest = (digests[number] if digests else number).to_bytes(16, "big")
        made.append(Embedded(photo, digest, 1, 1, np.atleast_2d(vector).astype(np.float32)))
    cache.commit(made, nothing())
    return cache


def drawn(counts: dict[str, int], *, apart: float = 0.15, seed: int = 0, split: str | None = None) -> list[Row]:
    """So many photos of each label, around points that lie so far apart that some are mistaken."""
    draw = np.random.default_rng(seed)
    points = {label: np.random.default_rng(i + 1).normal(size=DIMENSION) for i, label in enumerate(sorted(counts))}
    return [
        (label, split, points[label] * apart + draw.normal(size=DIMENSION) + 2)
        for label, count in counts.items()
        for _ in range(count)
    ]


def arrays(classes: int, count: int, wide: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    targets = np.arange(count) % classes
    x = draw.normal(size=(classes, wide))[targets] * 0.3 + draw.normal(size=(count, wide)) * draw.uniform(0.5, 3, wide)
    return (x + 5).astype(np.float32), targets


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
    groups = near.joined(near.pairs(x, digests), 1500)
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


def mistaken(report: dict[str, Any]) -> int:
    return sum(map(sum, report["confusion"])) - sum(row[i] for i, row in enumerate(report["confusion"]))


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


def test_mini_batches_end_near_the_optimum(tmp_path: Path) -> None:
    cache = cache_of(tmp_path, drawn({"cat": 1000, "dog": 1000}, apart=0.06))
    asked = np.stack([vector for _, _, vector in drawn({"cat": 400, "dog": 400}, apart=0.06, seed=1)])
    truth = np.repeat([0, 1], 400)
    losses = {}
    for method in ("logistic", "linear"):
        p = fit(cache, method=method)[0].predict(asked.astype(np.float32))
        losses[method] = -np.log(p[np.arange(len(p)), truth]).mean()
    assert losses["linear"] < 1.05 * losses["logistic"], losses


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


def test_copies_with_different_labels_are_named(run: Run, tmp_path: Path) -> None:
    rows = drawn({"cat": 20, "dog": 20})
    digests = list(range(40))
    digests[30] = 3
    cache_of(tmp_path / "s", rows, digests)
    done = run("fit-head", "--store", tmp_path / "s")
    assert done.status == 0
    assert "note: one picture, two labels: /made-up/00003.jpg (cat), /made-up/00030.jpg (dog)" in done.err


def test_few_photos_of_a_class_are_said(run: Run, tmp_path: Path) -> None:
    cache_of(tmp_path / "s", drawn({"cat": 20, "dog": 3}))
    done = run("fit-head", "--store", tmp_path / "s")
    assert (done.status, "class 'dog' has 3 photos: 3 folds instead of 5" in done.err) == (0, True)


def test_one_photo_copied_is_one_photo(run: Run, tmp_path: Path) -> None:
    rows = [*drawn({"cat": 20}), *[("dog", None, np.arange(DIMENSION) / 100)] * 3]
    cache_of(tmp_path / "s", rows)
    done = run("fit-head", "--store", tmp_path / "s")
    assert (done.status, "class 'dog' has 3 copies of one photo" in done.err) == (1, True)


def test_a_damaged_embedding_is_named(run: Run, tmp_path: Path) -> None:
    rows = drawn({"cat": 10, "dog": 10})
    rows[4][2][7] = np.nan
    cache_of(tmp_path / "s", rows)
    for method in ("logistic", "linear"):
        done = run("fit-head", "--store", tmp_path / "s", "--method", method)
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
        assert "00004.jpg" in done.err
        assert "cli.py verify" in done.err


def test_no_prediction_is_made_of_a_damaged_embedding(tmp_path: Path) -> None:
    rows = drawn({"cat": 10, "dog": 10})
    cache = cache_of(tmp_path, rows)
    fitted, _ = fit(cache)
    with pytest.raises(PetrieveError, match="no number"):
        predict(cache, fitted, [rows[0][2][None], np.full((1, DIMENSION), np.nan)])


def test_damaged_embeddings_make_no_other_photo_unfamiliar(tmp_path: Path) -> None:
    rows = drawn({"cat": 40, "dog": 40})
    fitted, _ = fit(cache_of(tmp_path / "whole", rows))
    for _, _, vector in rows[::2]:
        vector[:] = np.nan
    with pytest.warns(UserWarning, match="no number, and are passed over: 40; `cli.py verify`"):
        (told,) = predict(cache_of(tmp_path / "damaged", rows), fitted, [rows[3][2][None].astype(np.float32)])
    assert not told["unfamiliar"]


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("--l2", "0"), "a number from 1e-05 to 1e+06"),
        (("--l2", "1e300"), "a number from 1e-05 to 1e+06"),
        (("--l2", "1e-12"), "a number from 1e-05 to 1e+06"),
        (("--method", "linear", "--device", "warp"), "--device cpu"),
        (("--device", "cuda"), "--method linear"),
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


def test_a_threshold_keeps_the_error_rate_it_was_asked_for(tmp_path: Path) -> None:
    cache = cache_of(tmp_path / "s", drawn({"cat": 300, "dog": 300}, apart=0.085))
    fitted, report = fit(cache)
    assert report.accuracy < 0.95
    vectors = np.stack([vector for _, _, vector in drawn({"cat": 500, "dog": 500}, apart=0.085, seed=77)])
    truth = np.repeat(["cat", "dog"], 500)
    told = predict(cache, fitted, list(vectors[:, None].astype(np.float32)), "3%")
    sure = np.array([not one["unsure"] for one in told])
    wrong = np.array([one["label"] for one in told]) != truth
    assert 0.25 < sure.mean() < 0.95
    assert wrong[sure].mean() < 0.06 < wrong.mean()
    assert not any(one["unsure"] for one in predict(cache, fitted, list(vectors[:5, None])))


def test_an_error_rate_out_of_reach_is_said(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    rows: list[Row] = [(("cat", "dog")[draw.integers(2)], None, draw.normal(size=DIMENSION)) for _ in range(200)]
    cache = cache_of(tmp_path, rows)
    fitted, report = fit(cache)
    lowest = min(point["error"] for point in report.risk_coverage)
    if lowest > 0.0001:
        with pytest.warns(UserWarning, match="no threshold reaches an error rate of 0.01%"):
            told = predict(cache, fitted, [rows[0][2][None]], 0.0001)
        assert told[0]["unsure"]


def test_no_number_of_photos_shows_that_nothing_is_ever_wrong(run: Run, store: Path, drawn: Path) -> None:
    done = run("predict", next((drawn / "cat").iterdir()), "--store", store, "--max-error", 0)
    assert (done.status, "unsure" in done.out, "inf" in done.err) == (0, True, False)
    assert "no number of held-out photos can show it" in done.err


@pytest.mark.parametrize(("text", "number"), [("1%", 0.01), ("0.01", 0.01), ("2.5 %", 0.025), (0.2, 0.2), ("0", 0)])
def test_an_error_rate_is_a_share_or_a_percentage(text: str | float, number: float) -> None:
    assert share(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "none", "120%", "-1", "1.5"])
def test_other_rates_are_refused(run: Run, text: str) -> None:
    with pytest.raises(PetrieveError, match="such as 1%"):
        share(text)


def test_a_slip_in_the_error_rate_is_told_before_a_photo_is_opened(run: Run, store: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    done = run("predict", tmp_path / "bad.jpg", "--store", store, "--max-error", "banana")
    assert (done.status, done.out, "such as 1%" in done.err) == (1, "", True)


def test_pictures_of_no_pet_are_unfamiliar(run: Run, store: Path, drawn: Path, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    folder = tmp_path / "other"
    folder.mkdir()
    for number in range(4):
        noise = draw.integers(0, 256, (260, 300, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"noise{number}.png")
        page = Image.new("RGB", (300, 260), "white")
        for line in range(16):
            ImageDraw.Draw(page).text((8, 4 + 16 * line), f"line {line} of a letter, {number}" * 2, fill="black")
        page.save(folder / f"text{number}.png")
    told = run("predict", folder, "--store", store, "--json").json
    assert all(one["unfamiliar"] for one in told)
    assert "unfamiliar" in run("predict", folder, "--store", store).out
    known = run("predict", drawn, "--store", store, "--json").json
    assert not any(one["unfamiliar"] for one in known)


def test_few_held_out_pets_are_called_unfamiliar() -> None:
    vectors = np.stack([vector for _, _, vector in drawn({"cat": 300, "dog": 300})]).astype(np.float32)
    targets = np.repeat([0, 1], 300)
    parts = [(np.arange(i, 600, 5), np.flatnonzero(np.arange(600) % 5 != i)) for i in range(5)]
    bound = familiar.measured(vectors, targets, parts)["unfamiliar"]["similarity"]
    new = np.stack([vector for _, _, vector in drawn({"cat": 200, "dog": 200}, seed=5)]).astype(np.float32)
    assert familiar.unlike(new, iter([vectors[:250], vectors[250:]]), bound).mean() < 0.05
    near_, places = familiar.nearest(vectors[:3], iter([vectors[:250], vectors[250:]]))
    assert places[:, 0].tolist() == [0, 1, 2]
    assert near_[:, 0] == pytest.approx(1, abs=1e-5)


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
