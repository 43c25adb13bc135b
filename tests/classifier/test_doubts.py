"""Photos that a head is not sure of, and photos unlike all that it has seen."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Done
from PIL import Image, ImageDraw
from planting import DIMENSION, Row, cache_of, drawn

from petrieve.classifier.figures import familiar, measure
from petrieve.classifier.fitting.fit import fit
from petrieve.classifier.head import passing
from petrieve.classifier.predict import predict, share
from petrieve.store.errors import PetrieveError
from petrieve.store.photo import Photo
from petrieve.store.rows import Embedded

Run = Callable[..., Done]


def asked(views: np.ndarray, digest: bytes = b"asked") -> Embedded:
    """A photo that is looked up, by its views (V, D)."""
    return Embedded(Photo("/asked", "a.jpg", 1, 1, None, None), digest, 1, 1, views.astype(np.float32))


def test_no_prediction_is_made_of_a_damaged_embedding(tmp_path: Path) -> None:
    rows = drawn({"cat": 10, "dog": 10})
    cache = cache_of(tmp_path, rows)
    fitted, _ = fit(cache)
    with pytest.raises(PetrieveError, match="not a number"):
        predict(cache, fitted, [asked(rows[0][2][None]), asked(np.full((1, DIMENSION), np.nan))])


def test_damaged_embeddings_make_no_other_photo_unfamiliar(tmp_path: Path) -> None:
    rows = drawn({"cat": 40, "dog": 40})
    fitted, _ = fit(cache_of(tmp_path / "whole", rows))
    for _, _, vector in rows[::2]:
        vector[:] = np.nan
    with pytest.warns(UserWarning, match="with values that are not numbers, passed over: 40; `petrieve verify`"):
        (told,) = predict(cache_of(tmp_path / "damaged", rows), fitted, [asked(rows[3][2][None])])
    assert not told["unfamiliar"]


def test_a_threshold_keeps_the_error_rate_it_was_asked_for(tmp_path: Path) -> None:
    cache = cache_of(tmp_path / "s", drawn({"cat": 300, "dog": 300}, apart=0.085))
    fitted, report = fit(cache)
    assert report.accuracy < 0.95
    vectors = np.stack([vector for _, _, vector in drawn({"cat": 500, "dog": 500}, apart=0.085, seed=77)])
    truth = np.repeat(["cat", "dog"], 500)
    told = predict(cache, fitted, list(map(asked, vectors[:, None])), "3%")
    sure = np.array([not one["unsure"] for one in told])
    wrong = np.array([one["label"] for one in told]) != truth
    assert 0.25 < sure.mean() < 0.95
    assert wrong[sure].mean() < 0.06 < wrong.mean()
    assert not any(one["unsure"] for one in predict(cache, fitted, list(map(asked, vectors[:5, None]))))


def scores(count: int, seed: int, *, sure_mistakes: float = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that mean what they say, and which are right; a share of them is wrong however sure."""
    draw = np.random.default_rng(seed)
    made = draw.beta(8, 0.25, count)
    made = np.maximum(made, 1 - made)
    return made, (draw.random(count) < made) & (draw.random(count) >= sure_mistakes)


def curve(made: np.ndarray, right: np.ndarray) -> list[dict[str, float]]:
    return measure.risk_coverage(np.stack([made, 1 - made], axis=1), np.where(right, 0, 1))


def test_one_sure_mistake_does_not_take_the_threshold_away() -> None:
    made, right = scores(25_000, 0)
    order = np.argsort(-made)
    right[order[:500]] = True
    whole = passing(curve(made, right), 25_000, 0.01)
    right[order[40]] = False
    assert passing(curve(made, right), 25_000, 0.01) == pytest.approx(whole, abs=0.02)


@pytest.mark.parametrize("measured", [400, 2000])
@pytest.mark.parametrize(("rate", "sure_mistakes"), [(0.01, 0), (0.03, 0), (0.03, 0.004)])
def test_the_promised_rate_is_broken_in_one_draw_of_twenty_at_most(
    measured: int, rate: float, sure_mistakes: float
) -> None:
    every, right = scores(200_000, 1, sure_mistakes=sure_mistakes)
    order = np.argsort(-every)
    errors = np.cumsum(~right[order]) / np.arange(1, len(every) + 1)
    broken = found = 0
    for seed in range(100):
        some = np.random.default_rng(seed).integers(0, len(every), measured)
        least = passing(curve(every[some], right[some]), measured, rate)
        if least is not None:
            found += 1
            broken += errors[np.searchsorted(-every[order], -least, side="right") - 1] > rate
    assert broken <= 5 + 4  # two deviations of what chance gives
    assert found > (90 if rate * measured > 50 else 0)


@pytest.mark.parametrize("method", ["logistic", "linear"])
def test_over_views_what_is_then_predicted_is_measured(tmp_path: Path, method: str) -> None:
    """The canonical view says nothing, the first augmented one all: only averaged are they right."""
    draw = np.random.default_rng(3)
    points = draw.normal(size=(2, DIMENSION)) * 0.15
    rows: list[Row] = [
        (("cat", "dog")[i % 2], None, draw.normal(size=(3, DIMENSION)) + np.outer((0.4, 1, 0.7), points[i % 2]))
        for i in range(200)
    ]
    cache = cache_of(tmp_path, rows)
    fitted, report = fit(cache, method=method)
    errors = [curve[-1]["error"] for curve in [report.risk_coverage, *report.risk_coverage_views]]
    assert len(errors) == 3
    assert errors[1] < errors[0] / 2
    alone, averaged = ([asked(vectors[:count]) for _, _, vectors in rows] for count in (1, 2))
    assert all(one["unsure"] for one in predict(cache, fitted, alone, errors[0] / 2))
    assert not all(one["unsure"] for one in predict(cache, fitted, averaged, errors[0] / 2))
    with pytest.warns(UserWarning, match="over 3 augmented views are wrong was not measured"):
        assert predict(cache, fitted, [asked(rows[0][2][[0, 1, 2, 0]])], 0.5)[0]["unsure"]


def test_an_error_rate_out_of_reach_is_said(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    rows: list[Row] = [(("cat", "dog")[draw.integers(2)], None, draw.normal(size=DIMENSION)) for _ in range(200)]
    cache = cache_of(tmp_path, rows)
    fitted, report = fit(cache)
    lowest = min(point["error"] for point in report.risk_coverage)
    if lowest > 0.0001:
        with pytest.warns(UserWarning, match="no threshold reaches an error rate of 0.01%"):
            told = predict(cache, fitted, [asked(rows[0][2][None])], 0.0001)
        assert told[0]["unsure"]


def test_no_number_of_photos_shows_that_nothing_is_ever_wrong(run: Run, store: Path, drawn: Path) -> None:
    done = run("predict", next((drawn / "cat").iterdir()), "--store", store, "--max-error", 0)
    assert (done.status, "unsure" in done.out, "inf" in done.err) == (0, True, False)
    assert "no number of held-out photos can show it" in done.err


@pytest.mark.parametrize(("text", "number"), [("1%", 0.01), ("0.01", 0.01), ("2.5 %", 0.025), (0.2, 0.2), ("0", 0)])
def test_an_error_rate_is_a_share_or_a_percentage(text: str | float, number: float) -> None:
    assert share(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "none", "120%", "-1", "1.5", "1", "100%"])
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
    assert sum(one["unfamiliar"] for one in known) <= 1


def test_a_photo_in_the_store_is_not_its_own_neighbour(tmp_path: Path) -> None:
    rows = drawn({"cat": 50, "dog": 50})
    rows.append(("cat", None, np.random.default_rng(1).normal(size=DIMENSION) * 3))
    cache = cache_of(tmp_path, rows)
    fitted, _ = fit(cache)
    for digest in ((100).to_bytes(16, "big"), b"another"):
        assert predict(cache, fitted, [asked(rows[100][2][None], digest)])[0]["unfamiliar"]
    kept = [asked(vector[None], number.to_bytes(16, "big")) for number, (_, _, vector) in enumerate(rows[:100])]
    assert sum(one["unfamiliar"] for one in predict(cache, fitted, kept)) <= 3


def test_few_held_out_pets_are_called_unfamiliar() -> None:
    vectors = np.stack([vector for _, _, vector in drawn({"cat": 300, "dog": 300})]).astype(np.float32)
    targets = np.repeat([0, 1], 300)
    parts = [(np.arange(i, 600, 5), np.flatnonzero(np.arange(600) % 5 != i)) for i in range(5)]
    bound = familiar.measured(vectors, targets, parts)["unfamiliar"]["similarity"]
    new = np.stack([vector for _, _, vector in drawn({"cat": 200, "dog": 200}, seed=5)]).astype(np.float32)
    near_, _ = familiar.nearest(new, iter([vectors[:250], vectors[250:]]))
    assert (familiar.similarity(near_) < bound).mean() < 0.05
    near_, places = familiar.nearest(vectors[:3], iter([vectors[:250], vectors[250:]]))
    assert places[:, 0].tolist() == [0, 1, 2]
    assert near_[:, 0] == pytest.approx(1, abs=1e-5)
