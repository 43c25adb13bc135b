"""How many right labels the audit calls wrong, and how many planted ones it finds, over many draws.

    python benchmarks/called_wrong.py [--photos 402] [--draws 30] [--store STORE]

Drawn from the cats and dogs of ../shared/embeddings (MobileNetV2, ImageNet): all its numbers, and 64 or 24 of them as
weak trunks; from made-up embeddings; and from a store's labelled photos, where one is named. Wrong labels, 3 %, are
planted at random and all from one class into the other. `before` is what was called wrong until then: each label beside
which another class is as certain as it is where it is right (Northcutt 2021). One JSON line.
"""

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from audit import against, planted, share_found
from machine import machine

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in (".", "tests")]

from planting import drawn

from petrieve.classifier import copies as near
from petrieve.classifier.auditing import alike, suspects
from petrieve.classifier.auditing.audit import WORTH_A_LOOK, out_of_fold
from petrieve.classifier.labelled import read
from petrieve.store.cache import Cache
from petrieve.store.linked import joined

REAL = Path(__file__).resolve().parents[2] / "shared" / "embeddings"
RATE = 0.03
PLANTED = 12  # draws with wrong labels, of each kind

Drawn = Callable[[int, int], tuple[np.ndarray, np.ndarray]]


def some_of(embeddings: np.ndarray, targets: np.ndarray) -> Drawn:
    """What draws so many of these photos."""

    def draw(photos: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = np.random.default_rng(seed).choice(len(targets), min(photos, len(targets)), replace=False)
        return embeddings[chosen], targets[chosen]

    return draw


def made_up(photos: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rows = drawn({"cat": photos // 2, "dog": photos - photos // 2}, apart=0.085, seed=seed)
    return np.stack([row for _, _, row in rows]).astype(np.float32), np.array([one == "dog" for one, _, _ in rows]) + 0


def sets(store: Path | None) -> dict[str, Drawn]:
    labels = np.array([row["label"] for row in csv.DictReader((REAL / "mobilenetv2.csv").open())])
    chosen = np.isin(labels, ("cat", "dog"))
    rows, targets = np.load(REAL / "mobilenetv2.npy")[chosen].astype(np.float32), (labels[chosen] == "dog") + 0
    columns = np.random.default_rng(0).permutation(rows.shape[1])
    found: dict[str, Drawn] = {"MobileNetV2": some_of(rows, targets)}
    for wide in (64, 24):
        found[f"{wide} numbers of it"] = some_of(rows[:, columns[:wide]], targets)
    found["made up"] = made_up
    if store:
        photos = read(Cache.open(store))
        found["a store"] = some_of(photos.embeddings, np.unique(photos.labels, return_inverse=True)[1])
    return found


def judged(embeddings: np.ndarray, labels: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """What was called wrong and is, of right and of wrong labels, and what the first 5 % of the list hold."""
    groups = joined(near.pairs(embeddings, np.arange(len(labels))), len(labels))
    head = out_of_fold(embeddings, labels, groups)
    neighbours = alike.neighbours(*alike.nearest(embeddings), groups)[0]
    both = suspects.combined(head, suspects.votes(neighbours, labels, head.shape[1]), labels)
    certain = suspects.confident(both, labels)
    scores, expected = suspects.wrong(both, labels)
    wrong, before, called = labels != truth, (certain >= 0) & (certain != labels), scores > WORTH_A_LOOK
    found = {
        "accuracy": float((head.argmax(axis=1) == truth).mean()),
        "right_called_before": float(before[~wrong].mean()),
        "right_called": float(called[~wrong].mean()),
        "expected": expected,
    }
    if wrong.any():
        found |= {
            "wrong": float(wrong.sum()),
            "wrong_called_before": float(before[wrong].mean()),
            "wrong_called": float(called[wrong].mean()),
            "wrong_listed": float((called | before)[wrong].mean()),
            "first_before": share_found(against(both, labels), wrong),
            "first": share_found(scores, wrong),
        }
    return found


def measured(draw: Drawn, photos: int, draws: int) -> dict[str, dict[str, float]]:
    figures = {}
    for kind, times in (("clean", draws), ("uniform", PLANTED), ("systematic", PLANTED)):
        every = defaultdict(list)
        for seed in range(times):
            embeddings, truth = draw(photos, seed)
            labels = truth if kind == "clean" else planted(truth, kind, RATE, seed)
            for name, value in judged(embeddings, labels, truth).items():
                every[name].append(value)
        figures[kind] = {name: round(float(np.mean(values)), 4) for name, values in every.items()}
        figures[kind]["right_called_most"] = round(max(every["right_called"]), 4)
        figures[kind]["right_called_before_most"] = round(max(every["right_called_before"]), 4)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=402)
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--store", type=Path)
    given = parser.parse_args()
    every = sets(given.store)
    figures = {name: measured(draw, given.photos, given.draws) for name, draw in every.items()}
    assert all(one["clean"]["right_called_most"] <= 0.005 for one in figures.values())
    print(json.dumps({**machine(), "photos": given.photos, "draws": given.draws, "sets": figures}))


if __name__ == "__main__":
    main()
