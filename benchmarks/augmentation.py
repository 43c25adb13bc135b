"""What augmented views gain and cost: a head fitted with and without them, photos predicted with and without them.

    python benchmarks/augmentation.py PHOTOS --store DIR [--train 400] [--unseen 300] [--views 1,4,8]

PHOTOS holds `train`, `unseen` and `breeds`. The embeddings stay in DIR, so a run that was stopped goes on from there.
Logistic regression on standardised embeddings, a view of n counting 1/n; C by cross-validation on the training photos'
canonical views, a photo's views in one fold. Intervals: 95 %, by bootstrap over the tested photos, of the difference
to the same head without views. One JSON line.
"""

import argparse
import json
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from machine import machine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in (".", "tests")]

from planting import whole

from petrieve.extractor.embed import embed

GRID = 10.0 ** np.arange(-4, 1)
FOLDS, REPEATS, RESAMPLED = 3, 5, 2000
warnings.filterwarnings("ignore", "Mean of empty slice")  # of photos that no split tests
warnings.filterwarnings("ignore", category=ConvergenceWarning)  # the grid's weak penalties


@dataclass(frozen=True)
class Photos:
    """Embeddings (N, 1 + V, 1024) of photos and their views, and their classes (N,)."""

    views: np.ndarray
    targets: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> "Photos":
        return Photos(self.views[chosen], self.targets[chosen])


def label_of(path: str) -> str:
    """Kaggle's names, else the folder."""
    return Path(path).parent.name if "breeds" in path else Path(path).name.split(".")[0]


def embedded(paths: list[str], store: Path, steps: list[int]) -> tuple[Photos, list[dict[str, float]]]:
    """The photos in the order of `paths`, and what each step cost."""
    costs = []
    for number in (0, *steps):
        summary, cache = embed(paths, store=store, weights="bundled", views=number)
        size = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
        costs.append({"views": number, "made": summary.views, "seconds": summary.seconds, "store_bytes": size})
    rows = whole(cache)
    views = np.stack([rows[path].views for path in paths])
    return Photos(views, np.unique([label_of(path) for path in paths], return_inverse=True)[1]), costs


class Fitted:
    """Logistic regression on standardised embeddings of the canonical and so many augmented views."""

    def __init__(self, photos: Photos, views: int, strength: float) -> None:
        inputs = photos.views[:, : 1 + views].reshape(-1, photos.views.shape[2])
        self.mean, self.scale = inputs.mean(0), np.maximum(inputs.std(0), 1e-6)
        weights = np.full(len(inputs), 1 / (1 + views))
        model = LogisticRegression(C=strength, solver="lbfgs", max_iter=100)
        self.model = model.fit((inputs - self.mean) / self.scale, photos.targets.repeat(1 + views), weights)

    def logits(self, photos: Photos, views: int) -> np.ndarray:
        """Log probabilities (N, 1 + V, C)."""
        inputs = photos.views[:, : 1 + views].reshape(-1, photos.views.shape[2])
        made = self.model.predict_proba((inputs - self.mean) / self.scale)
        return np.log(np.maximum(made, 1e-15)).reshape(len(photos.views), 1 + views, -1)


def outcome(logits: np.ndarray, targets: np.ndarray, average: str) -> np.ndarray:
    """Whether each photo is right, and its log loss (N, 2), of views' log probabilities (N, V, C)."""
    if average == "probabilities":
        shares = np.exp(logits).mean(1)
    else:
        shares = np.exp(logits.mean(1))
        shares /= shares.sum(1, keepdims=True)
    own = shares[np.arange(len(targets)), targets]
    return np.stack([shares.argmax(1) == targets, -np.log(np.maximum(own, 1e-15))], axis=1)


def strength(photos: Photos, views: int) -> float:
    """The C with the lowest log loss on canonical views out of fold."""
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(photos.views, photos.targets))
    losses = [
        np.mean(
            [
                outcome(Fitted(photos[a], views, c).logits(photos[b], 0), photos.targets[b], "logits")[:, 1].mean()
                for a, b in folds
            ]
        )
        for c in GRID
    ]
    return float(GRID[int(np.argmin(losses))])


def compared(photos: Photos, splits: list[tuple[np.ndarray, np.ndarray]], steps: list[int]) -> dict[str, object]:
    """Accuracy and log loss of each way, and how far each is from a head without views (with its interval)."""
    most = max(steps)
    found: dict[str, np.ndarray] = {}  # (N, 2), photos that no split tests are NaN
    chosen = {}
    for views in (0, *steps):
        best = chosen[f"{views} views"] = strength(photos[splits[0][0]], views)
        outcomes: dict[str, list[np.ndarray]] = {}
        for train, test in splits:
            fitted = Fitted(photos[train], views, best)
            logits = fitted.logits(photos[test], most if views in (0, most) else 0)
            ways = {f"fitted on {views}": (0, "probabilities")}
            if views in (0, most):
                ways |= {
                    f"fitted on {views}, mean {how} of {n}": (n, how)
                    for n in steps
                    for how in ("probabilities", "logits")
                }
            for way, (number, how) in ways.items():
                whole = np.full((len(photos.views), 2), np.nan)
                whole[test] = outcome(logits[:, : 1 + number], photos.targets[test], how)
                outcomes.setdefault(way, []).append(whole)
        found |= {way: np.nanmean(many, axis=0) for way, many in outcomes.items()}
    tested = ~np.isnan(found["fitted on 0"][:, 0])
    base = found["fitted on 0"][tested]
    return {"C": chosen, "tested": int(tested.sum())} | {
        way: {**figures(one[tested].mean(0)), **interval(one[tested] - base)} for way, one in found.items()
    }


def figures(means: np.ndarray) -> dict[str, float]:
    return {"accuracy": round(float(means[0]), 4), "log_loss": round(float(means[1]), 4)}


def interval(apart: np.ndarray) -> dict[str, list[float]]:
    """95 % of the mean differences (N, 2) of photos drawn anew."""
    drawn = np.random.default_rng(0).integers(0, len(apart), (RESAMPLED, len(apart)))
    low, high = np.quantile(apart[drawn].mean(1), [0.025, 0.975], axis=0).round(4)
    return {"accuracy_gain": [float(low[0]), float(high[0])], "log_loss_change": [float(low[1]), float(high[1])]}


def drawn(targets: np.ndarray, train: int, test: int | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Splits with so many training photos, classes in equal shares."""
    made = StratifiedShuffleSplit(REPEATS, train_size=train, test_size=test, random_state=0)
    return list(made.split(targets, targets))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--train", type=int, default=400)
    parser.add_argument("--unseen", type=int, default=300)
    parser.add_argument("--views", default="1,4,8")
    given = parser.parse_args()
    steps = sorted(map(int, given.views.split(",")))
    photos = given.photos.resolve()

    def some(folder: str, number: int) -> list[str]:
        paths = sorted(map(str, (photos / folder).rglob("*.jpg")))
        return paths[:: max(1, len(paths) // number)][:number]

    unseen, unseen_cost = embedded(some("unseen", given.unseen), given.store / "unseen", steps)
    breeds, breeds_cost = embedded(some("breeds", 10**6), given.store / "breeds", steps)
    pets, pets_cost = embedded(some("train", given.train), given.store / "train", steps)
    both = Photos(np.concatenate([pets.views, unseen.views]), np.concatenate([pets.targets, unseen.targets]))
    first = np.arange(len(both.views)) < len(pets.views)
    tasks = {
        "cat or dog, 10 of each": (unseen, drawn(unseen.targets, 20)),
        "cat or dog, 75 of each": (unseen, drawn(unseen.targets, 150)),
        f"cat or dog, {given.train} of train": (both, [(np.flatnonzero(first), np.flatnonzero(~first))]),
        "37 breeds, 5 of each": (breeds, drawn(breeds.targets, 5 * 37, 2 * 37)),
    }
    results = {name: compared(*task, steps) for name, task in tasks.items()}
    costs = {"unseen": unseen_cost, "breeds": breeds_cost, "train": pets_cost}
    print(json.dumps({**machine(), "costs": costs, **results}))


if __name__ == "__main__":
    main()
