"""Which way to compare embeddings finds more photos of the same breed, and of the same species: benchmarks/RESULTS.md.

    .venv/bin/python benchmarks/neighbours.py [FOLDER]

FOLDER holds `NAME.npy` (photos × dimensions) beside `NAME.csv` with `photo` and `label`: real ImageNet features, made
elsewhere. Breeds are asked among the photos that have one, each photo once; what is learned is learned from all photos.
"""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import machine

from petrieve.index.evaluate import figure, per_query

Ranker = Callable[[np.ndarray, np.ndarray], np.ndarray]  # all photos, the rows that are asked → similarities (Q, Q)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def cosine(every: np.ndarray, asked: np.ndarray) -> np.ndarray:
    some = unit(every[asked])
    return some @ some.T


def centred(every: np.ndarray, asked: np.ndarray) -> np.ndarray:
    return cosine(unit(every) - unit(every).mean(axis=0), asked)


def whitened(directions: int, power: float = 1.0) -> Ranker:
    """PCA, each direction divided by its deviation to this power (Jégou and Chum, 2012); 0 only drops directions."""

    def rank(every: np.ndarray, asked: np.ndarray) -> np.ndarray:
        middle = unit(every) - unit(every).mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(middle.T))
        kept = slice(-directions, None)
        return cosine(middle @ vectors[:, kept] / np.maximum(values[kept], 1e-9) ** (power / 2), asked)

    return rank


def expanded(neighbours: int, alpha: float = 3.0) -> Ranker:
    """Each photo averaged with its nearest, weighed by similarity (alpha query expansion: Radenović et al., 2019)."""

    def rank(every: np.ndarray, asked: np.ndarray) -> np.ndarray:
        some = unit(every[asked])
        close = some @ some.T
        weights = np.where(close >= np.sort(close, axis=1)[:, -neighbours - 1][:, None], close**alpha, 0)
        return unit(weights @ some) @ some.T

    return rank


def reciprocal(k1: int = 20, k2: int = 6, share: float = 0.3) -> Ranker:
    """k-reciprocal re-ranking: Zhong, Zheng, Cao and Li, "Re-ranking Person Re-identification" (CVPR 2017)."""

    def rank(every: np.ndarray, asked: np.ndarray) -> np.ndarray:
        distance = 2 - 2 * cosine(every, asked)
        order = np.argsort(distance, axis=1)
        n = len(distance)

        def mutual(one: int, k: int) -> np.ndarray:
            forward = order[one, : k + 1]
            return forward[(order[forward, : k + 1] == one).any(axis=1)]

        encoded = np.zeros((n, n), np.float32)
        for one in range(n):
            own = mutual(one, k1)
            for other in own:
                more = mutual(int(other), k1 // 2)
                if len(np.intersect1d(more, own)) > 2 / 3 * len(more):
                    own = np.union1d(own, more)
            weights = np.exp(-distance[one, own])
            encoded[one, own] = weights / weights.sum()
        encoded = np.stack([encoded[order[one, :k2]].mean(axis=0) for one in range(n)])
        shared = np.stack([np.minimum(encoded[one], encoded).sum(axis=1) for one in range(n)])
        jaccard = 1 - shared / (2 - shared)
        return -((1 - share) * jaccard + share * distance)  # type: ignore[no-any-return]

    return rank


RANKERS: dict[str, Ranker] = {
    "cosine": cosine,
    "centred": centred,
    **{f"PCA {d}": whitened(d, 0) for d in (64, 128, 256, 512)},
    **{f"PCA {d}, half whitened": whitened(d, 0.5) for d in (64, 128, 256, 512)},
    **{f"PCA {d}, whitened": whitened(d) for d in (64, 128, 256, 512)},
    "query expansion, 3": expanded(3),
    "k-reciprocal, 20/6/0.3": reciprocal(),
    "k-reciprocal, 6/3/0.3": reciprocal(6, 3),
}
NAMES = ("precision@5", "recall@10", "mean average precision")


def measure(every: np.ndarray, asked: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, list[float]]]:
    """Each figure, its interval, and the interval of its difference to cosine, by way of comparing."""
    alike = labels[asked][:, None] == labels[asked]
    plain, found = None, {}
    for name, rank in RANKERS.items():
        similarities = rank(every, asked)
        np.fill_diagonal(similarities, -np.inf)
        scores = per_query(similarities, alike)[:3]
        plain = scores if plain is None else plain
        found[name] = {
            title: [*vars(figure(own)).values(), *vars(figure(own - first)).values()]
            for title, own, first in zip(NAMES, scores, plain, strict=True)
        }
    return found


def several(every: np.ndarray, asked: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, list[float]]]:
    """Two and three photos of a breed asked at once, 10 draws of each breed: how their cosines are combined."""
    some, own = unit(every[asked]), labels[asked]
    combined: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "highest": lambda cosines: cosines.max(axis=0),
        "mean": lambda cosines: cosines.mean(axis=0),
        "lowest": lambda cosines: cosines.min(axis=0),
    }
    found = {}
    for count in (2, 3):
        draw = np.random.default_rng(0)
        queries = [
            draw.choice(np.flatnonzero(own == breed), count, replace=False) for breed in np.unique(own).repeat(10)
        ]
        first = None
        for name, combine in combined.items():
            scores = []
            for query in queries:
                close = combine(some[query] @ some.T)
                close[query] = -np.inf
                scores.append(per_query(close[None], (own == own[query[0]])[None])[:3])
            all_scores = np.concatenate(scores, axis=1)
            first = all_scores if first is None else first
            found[f"{count} photos, {name}"] = {
                title: [*vars(figure(mine)).values(), *vars(figure(mine - other)).values()]
                for title, mine, other in zip(NAMES, all_scores, first, strict=True)
            }
    return found


def main(folder: Path) -> None:
    (file,) = folder.glob("*.npy")
    every = np.load(file, allow_pickle=False).astype(np.float32)
    with file.with_suffix(".csv").open() as lines:
        rows = list(csv.DictReader(lines))
    labels = np.array([row["label"] for row in rows])
    species = np.isin(labels, ["cat", "dog"])
    results = {
        "breed": measure(every, np.flatnonzero(~species), labels),
        "species": measure(every, np.flatnonzero(species), labels),
        "several photos of a breed": several(every, np.flatnonzero(~species), labels),
    }
    for task, found in results.items():
        print(f"\n| {task} | {' | '.join(f'{name} | against the first' for name in NAMES)} |\n|---|{'---|' * 6}")
        for name, scores in found.items():
            cells = [
                f"{v:.3f} ({low:.3f} to {high:.3f}) | {d:+.3f} ({dl:+.3f} to {dh:+.3f})"
                for v, low, high, d, dl, dh in scores.values()
            ]
            print(f"| {name} | {' | '.join(cells)} |")
    print(json.dumps({"machine": machine(), "photos": len(every), "results": results}))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2] / "shared" / "embeddings")
