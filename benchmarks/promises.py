"""Whether `--max-error`, `unfamiliar` and `--balanced` do what they say, on photos that head and bound have not seen.

    python benchmarks/promises.py [--splits 20] [--store STORE]

On the cats and dogs, and breeds, of ../shared/embeddings (MobileNetV2, ImageNet; 1,024 of its numbers, drawn once), or
on a store's labelled photos. Every split fits on a half drawn at random and looks at the other. One JSON line.
"""

import argparse
import csv
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from machine import machine

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in (".", "tests")]

from planting import DIMENSION, empty_store

from petrieve.classifier.figures import familiar
from petrieve.classifier.fitting.fit import fit
from petrieve.classifier.head import Head, threshold
from petrieve.classifier.labelled import read
from petrieve.store.cache import Cache
from petrieve.store.known import nothing
from petrieve.store.photo import Photo
from petrieve.store.rows import Embedded

REAL = Path(__file__).resolve().parents[2] / "shared" / "embeddings"
RATES = (0.01, 0.02, 0.05)
RARE = 10  # photos of the one class for one of the other
STRANGERS = 8  # breeds that are left out


def embeddings(store: Path | None, *, breeds: bool) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (N, D) and labels (N,)."""
    if store:
        photos = read(Cache.open(store))
        return photos.embeddings, photos.labels
    labels = np.array([row["label"] for row in csv.DictReader((REAL / "mobilenetv2.csv").open())])
    rows = np.load(REAL / "mobilenetv2.npy").astype(np.float32)
    chosen = np.isin(labels, ("cat", "dog")) != breeds
    columns = np.sort(np.random.default_rng(0).permutation(rows.shape[1])[:DIMENSION])
    return rows[chosen][:, columns], labels[chosen]


def fitted(x: np.ndarray, labels: np.ndarray, *, balanced: bool = False) -> Head:
    """The head that `fit-head` gives on these photos."""
    with tempfile.TemporaryDirectory() as folder:
        cache = empty_store(Path(folder) / "s")
        rows = [
            Embedded(Photo("/p", f"{i:05d}.jpg", 1, 1, label, None), i.to_bytes(16, "big"), 1, 1, vector[None])
            for i, (label, vector) in enumerate(zip(labels.tolist(), x, strict=True))
        ]
        cache.commit(rows, nothing())
        return fit(cache, balanced=balanced)[0]


def plain(head: Head, rate: float) -> float | None:
    """The threshold without a bound: the share of wrong ones on held-out photos itself is no more than the rate."""
    good = [point for point in head.report.risk_coverage if point["error"] <= rate]
    return min(point["threshold"] for point in good) if good else None


def max_error(x: np.ndarray, labels: np.ndarray, splits: int) -> dict[str, object]:
    """Of each rule and rate: how often the other half had more errors, their mean share, and how much was sure."""
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(len(x))
        own, other = np.split(order, 2) if len(x) % 2 == 0 else np.split(order[1:], 2)
        head = fitted(x[own], labels[own])
        p = head.predict(x[other])
        sure, wrong = p.max(axis=1), np.array(head.classes)[p.argmax(axis=1)] != labels[other]
        for rate in RATES:
            for rule, least in (("plain", plain(head, rate)), ("bound", threshold(head.report, rate))):
                kept = sure >= (2.0 if least is None else least)
                error = float(wrong[kept].mean()) if kept.any() else 0.0
                found.setdefault(f"{rate:.0%} {rule}", []).append((error, float(kept.mean())))
    return {
        name: {
            "broken": sum(error > float(name.split("%")[0]) / 100 for error, _ in runs),
            "error": round(float(np.mean([error for error, _ in runs])), 4),
            "sure": round(float(np.mean([kept for _, kept in runs])), 3),
            "none_sure": sum(kept == 0 for _, kept in runs),
        }
        for name, runs in found.items()
    }


def unfamiliar(x: np.ndarray, labels: np.ndarray, splits: int) -> dict[str, float]:
    """The share of held-out photos of known classes that are marked, and of those of classes that were left out."""
    classes, marked = np.unique(labels), []
    for seed in range(splits):
        draw = np.random.default_rng(seed)
        strange = np.isin(labels, draw.permutation(classes)[: STRANGERS if len(classes) > 2 else 1])
        known = draw.permutation(np.flatnonzero(~strange))
        own, other = known[: len(known) // 2], known[len(known) // 2 :]
        parts = [(own[i::5], np.setdiff1d(own, own[i::5])) for i in range(5)]
        bound = familiar.measured(x, np.unique(labels, return_inverse=True)[1], parts)["unfamiliar"]["similarity"]
        near = [familiar.nearest(x[some], [x[own]])[0] for some in (other, strange)]
        marked.append([float((familiar.similarity(one) < bound).mean()) for one in near])
    wrongly, caught = np.mean(marked, axis=0)
    return {"known_marked": round(float(wrongly), 4), "strangers_marked": round(float(caught), 4)}


def balanced(x: np.ndarray, labels: np.ndarray, splits: int) -> dict[str, object]:
    """The other half's recall of the common and of the rare class, where that is a tenth as common on both sides."""
    common, rare = np.unique(labels)
    found: dict[str, list[list[float]]] = {"plain": [], "balanced": []}
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(len(x))
        few = order[labels[order] == rare][: (labels == common).sum() // RARE]
        many = order[labels[order] == common]
        own, other = (np.concatenate([many[i::2], few[i::2]]) for i in range(2))
        for name, runs in found.items():
            head = fitted(x[own], labels[own], balanced=name == "balanced")
            right = np.array(head.classes)[head.predict(x[other]).argmax(axis=1)] == labels[other]
            runs.append([float(right[labels[other] == label].mean()) for label in (common, rare)])
    return {name: np.round(np.mean(runs, axis=0), 4).tolist() for name, runs in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--store", type=Path)
    given = parser.parse_args()
    two = embeddings(given.store, breeds=False)
    found: dict[str, object] = {"photos": len(two[0]), "splits": given.splits}
    found["max_error"] = max_error(*two, given.splits)
    found["recall_common_rare"] = balanced(*two, given.splits // 4)
    found["unfamiliar_other_species"] = unfamiliar(*two, given.splits)
    if not given.store:
        found["unfamiliar_other_breeds"] = unfamiliar(*embeddings(None, breeds=True), given.splits)
    print(json.dumps({**machine(), **found}))


if __name__ == "__main__":
    main()
