"""Whether `--max-error` keeps what it says, and how many photos it answers, over many draws.

    python benchmarks/max_error.py [--draws 400]

A population of scores is drawn from again and again, a threshold taken from each draw, and the threshold's error looked
up in the whole population, so that chance in what is asked does not count. Populations: made-up scores, calibrated ones
and ones that are surely wrong here and there; and the probabilities out of fold of the cats and dogs of
../shared/embeddings (MobileNetV2, ImageNet; all its numbers, and 24 of them). `before` is one sequence that ends at the
first threshold that fails. One JSON line.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from scipy.special import bdtr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from petrieve.classifier.figures.measure import risk_coverage
from petrieve.classifier.fitting import calibrate, logistic
from petrieve.classifier.fitting.split import grouped
from petrieve.classifier.head import SIGNIFICANCE, fewest, passing, softmax

REAL = Path(__file__).resolve().parents[2] / "shared" / "embeddings"
RATES = (0.01, 0.03, 0.05)
MEASURED = (400, 2000, 25_000)
MADE = 400_000

Population = tuple[str, np.ndarray, np.ndarray]  # name, scores, which are right


def made_up() -> Iterator[Population]:
    draw = np.random.default_rng(1)
    for name, (a, b) in {"calibrated, 97 % right": (8, 0.25), "calibrated, 90 % right": (3, 0.35)}.items():
        scores = draw.beta(a, b, MADE)
        scores = np.maximum(scores, 1 - scores)
        yield name, scores, draw.random(MADE) < scores
    scores = draw.beta(8, 0.25, MADE)
    scores = np.maximum(scores, 1 - scores)
    right = draw.random(MADE) < scores
    yield "4 of 1,000 surely wrong", scores, right & (draw.random(MADE) > 0.004)
    surest = scores > np.quantile(scores, 0.98)
    yield "3 of 100 wrong among the surest 2 %", scores, right & ~(surest & (draw.random(MADE) < 0.03))


def real() -> Iterator[Population]:
    labels = np.array([row["label"] for row in csv.DictReader((REAL / "mobilenetv2.csv").open())])
    chosen = np.isin(labels, ("cat", "dog"))
    rows, targets = np.load(REAL / "mobilenetv2.npy")[chosen].astype(np.float32), (labels[chosen] == "dog") + 0
    folds = grouped(targets, np.arange(len(targets)))
    columns = np.random.default_rng(0).permutation(rows.shape[1])
    for name, some in {"MobileNetV2": rows, "24 numbers of it": rows[:, columns[:24]]}.items():
        found = logistic.path(some, targets, folds, weights=np.ones(len(targets)), measured=len(targets))
        said = softmax(calibrate.cross_fitted(found.logits, targets, folds))
        yield name, said.max(axis=1), said.argmax(axis=1) == targets


def one_sequence(points: list[dict[str, float]], measured: int, max_error: float) -> float | None:
    found = None
    for point in points:
        photos = round(point["coverage"] * measured)
        if photos >= fewest(max_error):
            if bdtr(round(point["error"] * photos), photos, max_error) > SIGNIFICANCE:
                break
            found = point["threshold"]
    return found


def drawn(population: Population, measured: int, max_error: float, draws: int) -> dict[str, dict[str, float]]:
    """In which share of draws the error is above the rate, what share of photos is answered, how often none is."""
    _, scores, right = population
    order = np.argsort(-scores)
    scores, right = scores[order], right[order]
    errors = np.cumsum(~right) / np.arange(1, len(right) + 1)
    chance = np.random.default_rng(0)
    counted = {way: {"broken": 0.0, "answered": 0.0, "none": 0.0} for way in ("before", "now")}
    for _ in range(draws):
        some = chance.integers(0, len(scores), measured)
        said = np.stack([scores[some], 1 - scores[some]], axis=1)
        points = risk_coverage(said, np.where(right[some], 0, 1))
        for way, rule in (("before", one_sequence), ("now", passing)):
            least = rule(points, measured, max_error)
            count = 0 if least is None else int(np.searchsorted(-scores, -least, side="right"))
            counted[way]["none"] += not count
            counted[way]["answered"] += count / len(scores)
            counted[way]["broken"] += bool(count) and errors[count - 1] > max_error
    return {way: {name: round(float(value) / draws, 4) for name, value in one.items()} for way, one in counted.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=400)
    given = parser.parse_args()
    runs: list[dict[str, Any]] = []
    for population in [*made_up(), *real()]:
        for measured in MEASURED[: 3 if len(population[1]) == MADE else 2]:
            for rate in RATES:
                if measured >= fewest(rate):
                    made = drawn(population, measured, rate, given.draws)
                    runs.append({"scores": population[0], "measured": measured, "max_error": rate, **made})
    # A share that holds in the long run is above 5 % in some series of draws: two deviations of it are let pass.
    most = SIGNIFICANCE + 2 * (SIGNIFICANCE * (1 - SIGNIFICANCE) / given.draws) ** 0.5
    assert all(one["now"]["broken"] <= most for one in runs)
    print(json.dumps({**machine(), "draws": given.draws, "runs": runs}))


if __name__ == "__main__":
    main()
