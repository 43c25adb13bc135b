"""Why not a model on the pixels themselves: logistic regression on 150,528 numbers a photo, beside our head.

    python benchmarks/raw_pixels.py STORE [EMBEDDINGS] [--ways streamed unstreamed head]

The labelled photos of a store (made by `cli.py embed`) in five folds, near-copies on one side. Every way is measured
out of fold on the same photos, in a process of its own, with the most memory that it held:

- `streamed`: pixels decoded again in every pass, mini-batches of 64, Adam at three rates. The five folds' models share
  the passes. Of all rates and passes the best accuracy is reported, which flatters it.
- `unstreamed`: all pixels at once, scikit-learn's LogisticRegression as a user would write it; one fold.
- `head`: our head on the store's embeddings; `imagenet_head`: on EMBEDDINGS, a folder with `mobilenetv2.npy` and
  `.csv`, what a real ImageNet trunk makes of the same photos.

One JSON line.
"""

import argparse
import csv
import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from machine import machine

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from petrieve.extractor.pixels.decode import decode_small
from petrieve.extractor.pixels.view import canonical_view
from petrieve.extractor.trunks.kinds import MEAN, STD
from petrieve.store.cache import Cache
from petrieve.store.photo import path_of

INPUTS = 3 * 224 * 224
FOLDS, BATCH, PASSES, SEED = 5, 64, 10, 0
RATES = (1e-6, 1e-5, 1e-4)
L2 = 10.0  # 1 / C of classifier/fit.py
MANY = 25_000  # photos of Kaggle's competition
SAME = 0.98  # cosine from which two photos are near-copies


def labelled(store: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Paths, embeddings (N, 1024) and classes (N,) by path."""
    rows, vectors = [], []
    for photos, batch in Cache.open(store).embeddings():
        columns = (photos[name].to_pylist() for name in ("root", "uri", "label"))
        rows += [(path_of(root, uri), label) for root, uri, label in zip(*columns, strict=True)]
        vectors.append(batch)
    kept = sorted((path, label, row) for row, (path, label) in enumerate(rows) if label is not None)
    paths, labels, order = zip(*kept, strict=True)
    return list(paths), np.concatenate(vectors)[list(order)], np.unique(labels, return_inverse=True)[1]


def folds_of(embeddings: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Each photo's fold; near-copies share one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from sklearn.model_selection import StratifiedGroupKFold

    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    groups = connected_components(coo_array(units @ units.T >= SAME), directed=False)[1]
    folds = np.empty(len(targets), int)
    drawn = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED).split(embeddings, targets, groups)
    for number, (_, held_out) in enumerate(drawn):
        folds[held_out] = number
    return folds


def pixels_of(path: str) -> torch.Tensor:
    """The numbers that a network would be given: (150528,), normalised."""
    view = canonical_view(decode_small(Path(path).read_bytes())[0])
    mean, std = (255 * torch.tensor(three).view(3, 1, 1) for three in (MEAN, STD))
    return ((view - mean) / std).flatten()


def passes(paths: list[str], shuffled: bool = True) -> Iterator[list[tuple[np.ndarray, torch.Tensor]]]:
    """Pass after pass, batches (photos, pixels (B, 150528)) of all photos."""
    drawn = np.random.default_rng(SEED)
    with ThreadPoolExecutor(2) as pool:
        while True:
            order = drawn.permutation(len(paths)) if shuffled else np.arange(len(paths))
            yield (
                (some, torch.stack(list(pool.map(pixels_of, (paths[i] for i in some)))))
                for some in np.array_split(order, -(-len(paths) // BATCH))
            )


def streamed(store: str, rate: float) -> dict[str, object]:
    """Accuracy out of fold after every pass, and how long a pass takes."""
    paths, embeddings, targets = labelled(store)
    folds, classes = folds_of(embeddings, targets), int(targets.max()) + 1
    layer = torch.nn.Linear(INPUTS, FOLDS * classes)
    torch.nn.init.zeros_(layer.weight)
    optimiser = torch.optim.Adam(layer.parameters(), lr=rate)
    accuracies, started = [], time.perf_counter()
    for batches in (one for one, _ in zip(passes(paths), range(PASSES), strict=False)):
        correct = np.zeros(len(paths), bool)
        for some, inputs in batches:
            logits = layer(inputs).view(len(some), FOLDS, classes)
            wanted, own = torch.from_numpy(targets[some]), torch.from_numpy(folds[some])
            every = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), wanted.repeat_interleave(FOLDS), reduction="none"
            )
            trained = (torch.arange(FOLDS) != own[:, None]).float()
            loss = (every.view(len(some), FOLDS) * trained).sum() / len(some)
            # Before this batch's step: what a photo's own fold says was never fitted on it.
            correct[some] = (logits[torch.arange(len(some)), own].argmax(1) == wanted).numpy()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        accuracies.append(round(float(correct.mean()), 4))
    seconds = time.perf_counter() - started
    return {
        "rate": rate,
        "accuracy": max(accuracies),
        "after_each_pass": accuracies,
        "seconds": round(seconds, 1),
        "seconds_a_pass": round(seconds / PASSES, 2),
    }


def unstreamed(store: str) -> dict[str, object]:
    """Scikit-learn on all pixels at once, on the first fold."""
    from sklearn.linear_model import LogisticRegression

    paths, embeddings, targets = labelled(store)
    held_out = folds_of(embeddings, targets) == 0
    inputs = np.stack([pixels_of(path).double().numpy() for path in paths])
    started = time.perf_counter()
    model = LogisticRegression(max_iter=100).fit(inputs[~held_out], targets[~held_out])
    seconds = time.perf_counter() - started
    accuracy = float(model.score(inputs[held_out], targets[held_out]))
    return {"accuracy": round(accuracy, 4), "photos_measured": int(held_out.sum()), "seconds": round(seconds, 1)}


def head(store: str, embeddings: str | None = None) -> dict[str, object]:
    """Logistic regression on embeddings, standardised, out of fold."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    paths, vectors, targets = labelled(store)
    folds = folds_of(vectors, targets)
    if embeddings:
        vectors = others(paths, Path(embeddings))
    started, correct = time.perf_counter(), np.zeros(len(targets), bool)
    for number in range(FOLDS):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / L2, solver="newton-cg", max_iter=1000))
        own = folds == number
        correct[own] = model.fit(vectors[~own], targets[~own]).predict(vectors[own]) == targets[own]
    return {"accuracy": round(float(correct.mean()), 4), "seconds": round(time.perf_counter() - started, 2)}


def others(paths: list[str], folder: Path) -> np.ndarray:
    """Another trunk's embeddings of the same photos."""
    with (folder / "mobilenetv2.csv").open() as file:
        rows = {tuple(Path(row["photo"]).parts[-2:]): number for number, row in enumerate(csv.DictReader(file))}
    vectors = np.load(folder / "mobilenetv2.npy").astype(np.float32)
    return vectors[[rows[tuple(Path(path).parts[-2:])] for path in paths]]


def _alone(way: Callable[..., dict[str, object]], *given: object) -> dict[str, object]:
    found = way(*given)
    return {**found, "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)}


def alone(way: Callable[..., dict[str, object]], *given: object) -> dict[str, object]:
    """What a way finds in a fresh process, and the most memory that process held."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_alone, (way, *given))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("embeddings", nargs="?")
    parser.add_argument("--ways", nargs="+", default=["streamed", "unstreamed", "head"])
    given = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    figures: dict[str, object] = {"photos": len(labelled(given.store)[0])}
    figures["unstreamed_25000_gb"] = {"float64": MANY * INPUTS * 8 / 1e9, "float32": MANY * INPUTS * 4 / 1e9}
    if "streamed" in given.ways:
        rates = [alone(streamed, given.store, rate) for rate in RATES]
        figures["streamed"] = max(rates, key=lambda one: float(str(one["accuracy"])))
        figures["streamed_rates"] = {str(one["rate"]): one["accuracy"] for one in rates}
    if "unstreamed" in given.ways:
        figures["unstreamed"] = alone(unstreamed, given.store)
    if "head" in given.ways:
        figures["head"] = alone(head, given.store)
        figures["imagenet_head"] = alone(head, given.store, given.embeddings) if given.embeddings else None
    print(json.dumps({**machine(), **figures}))


if __name__ == "__main__":
    main()
