"""Embeddings in the plane: how many neighbours each method keeps, and what it takes. A line of JSON for each.

    python benchmarks/plane.py                       on 2,459 real embeddings (see large.py)
    python benchmarks/plane.py --photos 25000        on made-up ones
    python benchmarks/plane.py --store /tmp/large/6  what `build-map` does with a store, which is left as it is

Methods that are not installed are passed over: openTSNE, umap-learn, pacmap. Each has a process of its own and gets 50
principal components. Seconds of a processor are what two busy cores together took; those of the clock depend on who
else is at work.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import large
import numpy as np
from machine import machine

QUERIES = 1000


def components(embeddings: np.ndarray, count: int = 50) -> np.ndarray:
    centred = embeddings - embeddings.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    return np.ascontiguousarray(centred @ axes[:, ::-1][:, :count])


def ours(embeddings: np.ndarray) -> np.ndarray:
    from petrieve.index.landmarks import laid_out
    from petrieve.index.plane import LANDMARKS

    made = laid_out(embeddings[:LANDMARKS])
    parts = (embeddings[start : start + 8192] for start in range(LANDMARKS, len(embeddings), 8192))
    return np.concatenate([made.spots, *map(made.place, parts)])


def sklearn(embeddings: np.ndarray) -> np.ndarray:
    from sklearn.manifold import TSNE

    return np.asarray(TSNE(random_state=0, n_jobs=2).fit_transform(components(embeddings)))


def opentsne(embeddings: np.ndarray) -> np.ndarray:
    from openTSNE import TSNE

    return np.asarray(TSNE(random_state=0, n_jobs=2).fit(components(embeddings)))


def umap(embeddings: np.ndarray) -> np.ndarray:
    from umap import UMAP

    return np.asarray(UMAP(random_state=0, n_jobs=1).fit_transform(components(embeddings)))


def pacmap(embeddings: np.ndarray) -> np.ndarray:
    from pacmap import PaCMAP

    return np.asarray(PaCMAP(random_state=0).fit_transform(components(embeddings), init="pca"))


METHODS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "pca": ("numpy", lambda embeddings: components(embeddings, 2)),
    "ours": ("numpy", ours),
    "sklearn": ("scikit-learn", sklearn),
    "opentsne": ("openTSNE", opentsne),
    "umap": ("umap-learn", umap),
    "pacmap": ("pacmap", pacmap),
}


def kept(points: np.ndarray, asked: np.ndarray, nearest: np.ndarray) -> dict[str, float]:
    """Of the ten nearest in the plane, the share that is among the 10 and the 100 nearest (Q, 100) embeddings."""
    import faiss

    points = np.ascontiguousarray(points, np.float32)
    _, found = faiss.knn(points[asked], points, 11)
    beside = [[one for one in row if one != me][:10] for row, me in zip(found.tolist(), asked.tolist(), strict=True)]
    return {
        f"of_{count}": round(
            float(np.mean([np.isin(row, true[:count]).mean() for row, true in zip(beside, nearest, strict=True)])), 3
        )
        for count in (10, 100)
    }


def trustworthiness(points: np.ndarray, embeddings: np.ndarray, asked: np.ndarray) -> float:
    """Venna and Kaski, 2001, for ten neighbours of the first 200 queries."""
    import faiss

    asked = asked[:200]
    points = np.ascontiguousarray(points, np.float32)
    _, found = faiss.knn(points[asked], points, 11)
    cosines = embeddings[asked] @ embeddings.T
    ranks = [
        (row > row[beside[beside != me][:10], None]).sum(axis=1)
        for row, beside, me in zip(cosines, found, asked, strict=True)
    ]
    lost = np.maximum(np.stack(ranks) - 10, 0).sum()
    return round(float(1 - 2 / (len(asked) * 10 * (2 * len(embeddings) - 31)) * lost), 4)


def measure(method: str, photos: int) -> dict[str, object]:
    import faiss

    rows = np.concatenate(list(large.batches(photos))) if photos else large.real()
    embeddings = large.unit(rows.astype(np.float32))
    asked = np.sort(np.random.default_rng(1).choice(len(embeddings), min(QUERIES, len(embeddings)), replace=False))
    wall, busy = time.perf_counter(), time.process_time()
    points = METHODS[method][1](embeddings)
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    _, nearest = faiss.knn(embeddings[asked], embeddings, 101, metric=faiss.METRIC_INNER_PRODUCT)
    return {
        "method": method,
        "photos": len(embeddings),
        **kept(points, asked, nearest[:, 1:]),
        "trustworthiness": trustworthiness(points, embeddings, asked),
        "seconds": round(wall, 1),
        "processor_seconds": round(busy, 1),
        "peak_mb": peak,
    }


def measure_store(store: Path) -> dict[str, object]:
    """What making a map of a store takes and keeps, and opening it; nothing is written there."""
    from petrieve.index import plane
    from petrieve.index.codes.exact import streamed
    from petrieve.store.cache import Cache
    from petrieve.store.rows import unit_length, vectors

    saved: list[plane.KeptMap] = []
    plane._save = lambda made, _: saved.append(made)  # type: ignore[assignment]
    plane._read = lambda _: None  # type: ignore[assignment]
    cache = Cache.open(store)
    wall, busy = time.perf_counter(), time.process_time()
    plane.make(cache)
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    (made,) = saved
    asked = np.sort(np.random.default_rng(1).choice(made.ids, min(QUERIES // 5, len(made.ids)), replace=False))
    _, nearest = streamed(cache, unit_length(vectors(cache.take(asked, ["embedding"]))), 101)
    return {
        "method": "ours",
        "photos": len(made.ids),
        **kept(made.points, np.searchsorted(made.ids, asked), np.searchsorted(made.ids, nearest[:, 1:])),
        "seconds": round(wall, 1),
        "processor_seconds": round(busy, 1),
        "peak_mb": peak,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=0)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--method", choices=METHODS, action="append")
    parser.add_argument("--alone", action="store_true", help="in this process")
    asked = parser.parse_args()
    if asked.store:
        print(json.dumps({**measure_store(asked.store), **machine(("scipy",))}))
        return
    for method in asked.method or METHODS:
        try:
            package = METHODS[method][0]
            named = {package: version(package)}
        except PackageNotFoundError:
            print(f"{method}: {package} is not installed", file=sys.stderr)
            continue
        if asked.alone:
            print(json.dumps({**measure(method, asked.photos), **named, **machine()}))
        else:
            words = ["--alone", "--method", method, "--photos", str(asked.photos)]
            subprocess.run([sys.executable, __file__, *words], check=False)


if __name__ == "__main__":
    main()
