"""What each precision of a CPU wins and costs: photos/s of the trunk, nearness to float32, a head, neighbours.

    python benchmarks/precision.py MEASURED LABELLED [FOLDER...] [--rounds 5]

int8 takes its ranges from photos in MEASURED. The head is logistic, 5 folds, on LABELLED, the mean of 4 ways to draw
the folds; neighbours are the ten nearest by cosine there. Nearness is over LABELLED and all further folders. Every core
has a thread with batches of its own; the precisions alternate. One JSON line.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from machine import machine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import cosine_similarity, normalize

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in (".", "tests")]

from planting import seen

from petrieve.extractor.engines.local import View
from petrieve.extractor.engines.sampled_views import sampled_views
from petrieve.extractor.sources.folder import Folder, find
from petrieve.extractor.trunks.ranges import SAMPLE, quantised
from petrieve.extractor.trunks.trunk import Trunk, load_trunk
from petrieve.store.photo import Photo

PRECISIONS = ("float32", "bfloat16", "int8")
BATCH, TIMED, NEAREST = 8, 128, 10


def views_of(photos: Sequence[Photo], pool: ThreadPoolExecutor) -> torch.Tensor:
    return torch.cat([one.pixels for one in pool.map(seen, photos) if isinstance(one, View)])


def through(trunk: Trunk, views: torch.Tensor, pool: ThreadPoolExecutor) -> torch.Tensor:
    return torch.cat(list(pool.map(trunk, views.split(BATCH))))


def rates(
    trunks: dict[str, Trunk], views: torch.Tensor, rounds: int, pool: ThreadPoolExecutor
) -> dict[str, list[float]]:
    """Photos per second of every precision, in every round."""
    found: dict[str, list[float]] = {name: [] for name in trunks}
    for _ in range(rounds):
        for name, trunk in trunks.items():
            started = time.perf_counter()
            through(trunk, views[:TIMED], pool)
            found[name].append(round(len(views[:TIMED]) / (time.perf_counter() - started), 1))
    return found


def accuracy(embeddings: torch.Tensor, labels: list[str]) -> float:
    """Percent right in 5 folds, on what is left of the embeddings on disk."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, solver="newton-cg", max_iter=1000))
    inputs = embeddings.half().float().numpy()
    drawn = [StratifiedKFold(5, shuffle=True, random_state=seed) for seed in range(4)]
    return round(100 * float(np.mean([cross_val_score(model, inputs, labels, cv=folds) for folds in drawn])), 2)


def nearest(embeddings: torch.Tensor) -> list[set[int]]:
    similarity = normalize(embeddings.double()) @ normalize(embeddings.double()).T
    similarity.fill_diagonal_(-2)
    return [set(row) for row in similarity.topk(NEAREST).indices.tolist()]


def compared(found: torch.Tensor, exact: torch.Tensor, labels: list[str]) -> dict[str, float]:
    cosine = cosine_similarity(found.double(), exact.double())
    labelled, others = found[: len(labels)], exact[: len(labels)]
    agree = [len(mine & theirs) / NEAREST for mine, theirs in zip(nearest(labelled), nearest(others), strict=True)]
    return {
        "worst": round(float(cosine.min()), 5),
        "one_percent": round(float(cosine.quantile(0.01)), 5),
        "median": round(float(cosine.median()), 5),
        "head": accuracy(labelled, labels),
        "neighbours": round(100 * statistics.mean(agree), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured")
    parser.add_argument("labelled")
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    labelled = list(find(given.labelled))
    photos = [*labelled, *(photo for folder in given.folders for photo in find(folder))]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        trunks = {name: load_trunk("bundled", "cpu", name) for name in PRECISIONS[:-1]}
        parts = list(Folder(str(given.measured)).parts())
        rows = [(number, photo) for number, part in enumerate(parts) for photo in part.photos]
        measured = sampled_views(lambda: rows, lambda some: ((parts[number], [one]) for number, one in some), SAMPLE)
        trunks["int8"] = quantised(trunks["float32"], Path(folder) / "int8.safetensors", measured)
        views = views_of(photos, pool)
        speed = rates(trunks, views, given.rounds, pool)
        embeddings = {name: through(trunk, views, pool) for name, trunk in trunks.items()}
    labels = [str(photo.label) for photo in labelled]
    figures = {
        name: {
            "photos_per_second": statistics.median(speed[name]),
            "rounds": speed[name],
            **compared(embeddings[name], embeddings["float32"], labels),
        }
        for name in PRECISIONS
    }
    print(json.dumps({**machine(), "photos": len(photos), "batch": BATCH, **figures}))


if __name__ == "__main__":
    main()
