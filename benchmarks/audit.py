"""How many planted wrong labels stand in the first 5 % of the audit's list, beside other ways to rank, and its time.

    python benchmarks/audit.py EMBEDDINGS.npy LABELS.csv [--rate 0.03] [--seeds 5] [--merge] [--folder train]
    python benchmarks/audit.py --photos 25000

LABELS.csv has the columns photo and label. `--merge` takes Oxford's breeds for cats and dogs, `--folder` only photos in
it. Labels are planted at random, and all from one class into another (`systematic`). The second form measures time and
memory on photos made of noise around as many points. One JSON line.
"""

import argparse
import csv
import json
import resource
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import machine

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from petrieve.classifier import copies as near
from petrieve.classifier.auditing import alike, suspects
from petrieve.classifier.auditing.audit import out_of_fold
from petrieve.store.linked import joined

FIRST = 0.05  # of the list


def planted(truth: np.ndarray, kind: str, rate: float, seed: int) -> np.ndarray:
    """The same labels with some of them wrong: `uniform`, or `systematic`, all of one class into one other."""
    chance, classes = np.random.default_rng(seed), int(truth.max()) + 1
    wrong = truth.copy()
    if kind == "uniform":
        chosen = chance.choice(len(truth), round(rate * len(truth)), replace=False)
        wrong[chosen] = (truth[chosen] + chance.integers(1, classes, len(chosen))) % classes
    else:
        one = int(chance.integers(classes))
        own = np.flatnonzero(truth == one)
        chosen = chance.choice(own, min(round(rate * len(truth)), len(own) // 3), replace=False)
        wrong[chosen] = (one + chance.integers(1, classes)) % classes
    return wrong


def against(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return 1 - probabilities[np.arange(len(labels)), labels]


def rankings(embeddings: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The photos' scores, by way to rank; higher is worse."""
    classes = int(labels.max()) + 1
    found, distances = alike.nearest(embeddings)
    groups = joined(near.pairs(embeddings, np.arange(len(labels))), len(labels))
    head = out_of_fold(embeddings, labels, groups)
    votes = suspects.votes(alike.neighbours(found, distances, groups)[0], labels, classes)
    both = suspects.combined(head, votes, labels)
    shares = (votes + 1 / classes) / (votes.sum(axis=1, keepdims=True) + 1)
    ways = {
        "ours: head and votes": against(both, labels),
        "√(head · votes)": against(root(head, shares), labels),
        "head: self-confidence": against(head, labels),
        "head: normalised margin": margin(head, labels),
        "votes of 10 look-alikes": against(shares, labels),
        "mean of head and votes": against((head + shares) / 2, labels),
    }
    kept = both.argmax(axis=1) == labels
    if (np.bincount(labels[kept], minlength=classes) > 1).all():
        ways["ours, a second round without the suspects"] = second_round(embeddings, labels, groups, kept)
    return ways | cleanlabs(head, labels)


def root(head: np.ndarray, shares: np.ndarray) -> np.ndarray:
    both = np.sqrt(np.maximum(head, 1e-9) * shares)
    return np.asarray(both / both.sum(axis=1, keepdims=True))


def margin(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = -1
    return others.max(axis=1) - probabilities[np.arange(len(labels)), labels]


def second_round(embeddings: np.ndarray, labels: np.ndarray, groups: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The same ways once more, with a head and votes of those photos alone that the first round did not suspect."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    classes = int(labels.max()) + 1
    inputs = (embeddings - embeddings.mean(axis=0)) / np.maximum(embeddings.std(axis=0), 1e-6)
    head = np.zeros((len(labels), classes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class with fewer photos than folds
        for rest, own in StratifiedKFold(5, shuffle=True, random_state=0).split(inputs, labels):
            model = LogisticRegression(C=0.01, solver="newton-cg").fit(
                inputs[rest][kept[rest]], labels[rest][kept[rest]]
            )
            head[np.ix_(own, model.classes_)] = model.predict_proba(inputs[own])
    found, distances = alike.nearest(embeddings)
    near = alike.neighbours(found, distances, groups)[0]
    near = np.where(kept[near], near, -1)
    return against(suspects.combined(head, suspects.votes(near, labels, classes), labels), labels)


def cleanlabs(head: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Cleanlab's own rankings of the same probabilities: the photos that it finds first, the others behind them."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    ways = {}
    for method in ("self_confidence", "normalized_margin"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            issues = find_label_issues(labels, head, return_indices_ranked_by=method, n_jobs=1)
            quality = get_label_quality_scores(labels, head, method=method)
        score = 1 - quality
        score[issues] += 2
        ways[f"cleanlab: find_label_issues, {method}"] = score
    return ways


def share_found(score: np.ndarray, wrong: np.ndarray) -> float:
    first = np.argsort(-score, kind="stable")[: round(FIRST * len(score))]
    return float(wrong[first].sum() / wrong.sum())


def measured(embeddings: np.ndarray, truth: np.ndarray, kind: str, rate: float, seeds: int) -> dict[str, object]:
    from sklearn.metrics import average_precision_score

    found, precision, fewer = defaultdict(list), defaultdict(list), 0
    for seed in range(seeds):
        labels = planted(truth, kind, rate, seed)
        ways = rankings(embeddings, labels)
        for way, score in ways.items():
            found[way].append(share_found(score, labels != truth))
            precision[way].append(float(average_precision_score(labels != truth, score)))
        of_cleanlab = max(found[way][-1] for way in ways if way.startswith("cleanlab"))
        fewer += found["ours: head and votes"][-1] < of_cleanlab
    ways_found = {
        way: {
            "found": round(float(np.mean(found[way])), 4),
            "least": round(min(found[way]), 4),
            "average_precision": round(float(np.mean(precision[way])), 4),
        }
        for way in found
    }
    return {"kind": kind, "planted": int((labels != truth).sum()), "fewer_than_cleanlab": fewer, "ways": ways_found}


def timed(photos: int) -> dict[str, object]:
    """Seconds of each step, and peak memory, for so many photos of two classes."""
    chance = np.random.default_rng(0)
    targets = np.arange(photos) % 2
    middles = np.abs(chance.normal(size=(photos // 50, 1024))).astype(np.float32)
    embeddings = middles[chance.integers(0, len(middles), photos)] + np.abs(
        chance.normal(scale=0.5, size=(photos, 1024)).astype(np.float32)
    )
    embeddings[:, :16] += targets[:, None] * 0.5
    seconds: dict[str, float] = {}

    def step(name: str, work: Callable[[], object]) -> object:
        started = time.perf_counter()
        result = work()
        seconds[name] = round(time.perf_counter() - started, 2)
        return result

    step("look-alikes", lambda: alike.nearest(embeddings))
    groups = step("near-copies", lambda: joined(near.pairs(embeddings, np.arange(photos)), photos))
    step("head, out of fold", lambda: out_of_fold(embeddings, targets, groups))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"photos": photos, "seconds": seconds, "peak_gb": round(peak, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("embeddings", nargs="?")
    parser.add_argument("labels", nargs="?")
    parser.add_argument("--rate", type=float, default=0.03)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--merge", action="store_true")
    parser.add_argument("--folder", default="")
    parser.add_argument("--kinds", nargs="+", default=["uniform", "systematic"])
    parser.add_argument("--photos", type=int)
    given = parser.parse_args()
    if given.photos:
        print(json.dumps({**machine(), **timed(given.photos)}))
        return
    with Path(given.labels).open(newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = [i for i, row in enumerate(rows) if row["photo"].startswith(given.folder)]
    embeddings = np.load(given.embeddings)[chosen].astype(np.float32)
    names = [rows[i]["label"] for i in chosen]
    if given.merge:  # Oxford writes cats' breeds with a capital
        names = [name if name in ("cat", "dog") else ("cat" if name[0].isupper() else "dog") for name in names]
    truth = np.unique(names, return_inverse=True)[1]
    figures = [measured(embeddings, truth, kind, given.rate, given.seeds) for kind in given.kinds]
    print(json.dumps({**machine(("cleanlab",)), "photos": len(truth), "rate": given.rate, "runs": figures}))


if __name__ == "__main__":
    main()
