"""`fit-head` as a whole process beside scikit-learn's LogisticRegressionCV: seconds, peak memory, held-out log loss.

    python benchmarks/fit.py [--photos 25000] [--only ours|sklearn|linear] [--classes 2|37]

Prints one JSON line. The embeddings are made from those of ../shared/embeddings (a MobileNetV2, ImageNet): 1,024 of its
1,280 numbers, drawn once; each row is its class's mean, `GAP` of the way from the mean of all, plus a random mixture of
all real rows' distances from their classes' means (so the covariance is the real one) and a little white noise.

The machine is seldom idle: `cpu_seconds` are what the process and its threads have computed.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from machine import machine

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in (".", "tests")]

from planting import DIMENSION, empty_store

from petrieve.classifier.fitting.linear import STRENGTHS
from petrieve.store.cache import Cache
from petrieve.store.known import nothing
from petrieve.store.photo import Photo
from petrieve.store.rows import Embedded

ROOT = Path(__file__).resolve().parents[1]


REAL = ROOT.parent / "shared" / "embeddings"
HELD_OUT = 5000
GAP, NOISE = 0.35, 0.1
BLOCK = 4096

SKLEARN = """
import sys, time, json
import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
x, y = np.load(sys.argv[1]), np.load(sys.argv[2])
started = time.perf_counter()
model = make_pipeline(StandardScaler(), LogisticRegressionCV(**json.loads(sys.argv[5]), cv=5, scoring="neg_log_loss",
    max_iter=1000, n_jobs=1, use_legacy_attributes=False, l1_ratios=(0,)))
model.fit(x, y)
seconds = time.perf_counter() - started
p = model.predict_proba(np.load(sys.argv[3]))
t = np.load(sys.argv[4])
loss = float(-np.log(p[np.arange(len(t)), t]).mean())
best = float(np.ravel(model[-1].C_)[0])
print(json.dumps({"seconds": round(seconds, 2), "held_out_log_loss": round(loss, 5), "C": best}))
"""


def made(photos: int, classes: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of embeddings (n, 1024) float32 and the numbers of their classes."""
    real = np.load(REAL / "mobilenetv2.npy").astype(np.float32)
    rows = list(csv.DictReader((REAL / "mobilenetv2.csv").open()))
    labels = np.array([row["label"] for row in rows])
    two = np.isin(labels, ("cat", "dog"))
    real, labels = (real[two], labels[two]) if classes == 2 else (real[~two], labels[~two])
    columns = np.sort(np.random.default_rng(0).permutation(real.shape[1])[:DIMENSION])
    real, targets = real[:, columns], np.unique(labels, return_inverse=True)[1]
    means = np.stack([real[targets == target].mean(axis=0) for target in range(targets.max() + 1)])
    rest = (real - means[targets]) / len(real) ** 0.5
    middles = real.mean(axis=0) + GAP * (means - real.mean(axis=0))
    draw = np.random.default_rng(seed)
    for start in range(0, photos, BLOCK):
        n = min(BLOCK, photos - start)
        own = draw.choice(targets, n)
        x = middles[own] + draw.standard_normal((n, len(rest)), np.float32) @ rest
        x += NOISE * real.std(axis=0) * draw.standard_normal(x.shape, np.float32)
        yield x.astype(np.float16).astype(np.float32), own


def make_store(path: Path, photos: int, classes: int) -> None:
    cache = empty_store(path)
    number = 0
    for x, targets in made(photos, classes, seed=1):
        rows = []
        for vector, target in zip(x, targets.tolist(), strict=True):
            photo = Photo("/made", f"{number:08d}.jpg", 1, 1, f"class {target:02d}", None)
            rows.append(Embedded(photo, number.to_bytes(16, "big"), 1, 1, vector[None]))
            number += 1
        cache.commit(rows, nothing())


def timed(*words: object) -> dict[str, object]:
    """A process's seconds, peak memory in GB, and what its JSON says."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *map(str, words)], stdout=subprocess.PIPE, text=True)
    out = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, f"{words} failed"
    said = json.loads(out)
    kept = ("held_out_log_loss", "C", "accuracy", "log_loss", "l2", "evaluated_on", "accuracy_knn", "ece_after")
    found = {key: said[key] for key in kept if key in said}
    seconds = round(time.perf_counter() - started, 2)
    cpu = {"cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2)}
    fitting = {"fitting_seconds": said["seconds"], "strengths": len(said.get("l2_grid", [])) or len(STRENGTHS)}
    return {"process_seconds": seconds, **cpu, **fitting, "peak_gb": round(usage.ru_maxrss / 1e6, 2), **found}


def held_out_loss(store: Path, x: np.ndarray, targets: np.ndarray) -> float:
    from petrieve.classifier import head

    p = head.load(Cache.open(store)).predict(x)
    return round(float(-np.log(p[np.arange(len(targets)), targets]).mean()), 5)


def ours(store: Path, test: tuple[np.ndarray, np.ndarray], *words: object) -> dict[str, object]:
    found = timed(ROOT / "cli.py", "fit-head", "--store", store, "--json", *words)
    return {**found, "held_out_log_loss": held_out_loss(store, *test)}


def theirs(
    folder: Path, photos: int, classes: int, test: tuple[np.ndarray, np.ndarray], cs: object
) -> dict[str, object]:
    x, y = (np.concatenate(part) for part in zip(*made(photos, classes, seed=1), strict=True))
    files = [folder / f"{name}.npy" for name in ("x", "y", "test", "truth")]
    for file, data in zip(files, (x, y, *test), strict=True):
        np.save(file, data)
    return timed("-c", SKLEARN, *files, json.dumps({"Cs": cs}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=25_000)
    parser.add_argument("--classes", type=int, default=2, choices=(2, 37))
    parser.add_argument("--only", choices=("ours", "sklearn", "linear"))
    given = parser.parse_args()
    found: dict[str, object] = {"photos": given.photos, "classes": given.classes}
    with tempfile.TemporaryDirectory() as name:
        store = Path(name) / "store"
        x, targets = (np.concatenate(part) for part in zip(*made(HELD_OUT, given.classes, seed=2), strict=True))
        test = (x, targets)
        if given.only != "sklearn":
            make_store(store, given.photos, given.classes)
        if given.only in (None, "ours"):
            found["fit-head"] = ours(store, test)
            found["fit-head --l2 100"] = ours(store, test, "--l2", 100)
        if given.only in (None, "linear"):
            found["fit-head --method linear"] = ours(store, test, "--method", "linear")
        if given.only in (None, "sklearn"):
            found["LogisticRegressionCV"] = theirs(Path(name), given.photos, given.classes, test, 10)
    print(json.dumps({**machine(), **found}))


if __name__ == "__main__":
    main()
