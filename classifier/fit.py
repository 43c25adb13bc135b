"""A cache → a head, with figures measured on photos that the head was not fitted on."""

import time
from collections import Counter
from typing import TYPE_CHECKING

from classifier import calibrate, measure, near
from classifier.calibrate import softmax
from classifier.folds import FOLDS, grouped
from classifier.head import Head, Report
from classifier.labelled import Labelled, read
from extractor.cache import Cache
from extractor.errors import PetrieveError

if TYPE_CHECKING:
    import numpy as np

    Fitted = tuple[np.ndarray, np.ndarray]

L2 = 10.0
METHODS = ("logistic", "linear")


def fit(cache: Cache, *, method: str = "logistic", l2: float | None = None) -> tuple[Head, Report]:
    """A head for the labels in the cache, and its measured figures.

    Where some photos are in the split `train`, the head is fitted on those and measured on the other labelled
    photos. Otherwise it is fitted on all of them and measured out of fold (5 folds, fewer where a class has fewer
    photos). Near-copies are never on both sides.

    Raises:
        PetrieveError: an unknown method, fewer than two classes, or a class with one photo.
    """
    import numpy as np

    started = time.perf_counter()
    if method not in METHODS:
        raise PetrieveError(f"there is no method {method!r}", f"use one of {', '.join(METHODS)}")
    photos = read(cache)
    groups = near.groups(photos.embeddings, photos.digests)
    train = photos.splits == "train"
    held_out = bool(train.any() and not train.all())
    fitted_on = train if held_out else np.ones(len(photos), bool)
    _check(photos.labels[fitted_on])
    classes = np.unique(photos.labels[fitted_on])
    targets = np.searchsorted(classes, photos.labels).clip(max=len(classes) - 1)
    tested = ~fitted_on & (classes[targets] == photos.labels)

    x, y, own = photos.embeddings[fitted_on], targets[fitted_on], groups[fitted_on]
    strength = L2 if l2 is None else l2
    weight, bias = _fit(x, y, len(classes), strength)
    folds = grouped(y, own, _folds(y, own))
    logits = _logits(x, y, folds, len(classes), strength)
    heat = calibrate.temperature(logits, y)
    alone = grouped(y, np.arange(len(y)), int(folds.max()) + 1)
    ungrouped = float((_logits(x, y, alone, len(classes), strength).argmax(axis=1) == y).mean())
    left_out, evaluated_on = 0, f"{folds.max() + 1}-fold cross-validation"
    before, after, truth = logits, calibrate.cross_fitted(logits, y, folds), y
    if tested.any():
        seen = np.isin(groups, own)
        before = photos.embeddings[tested] @ weight.T + bias
        ungrouped = float((before.argmax(axis=1) == targets[tested]).mean())
        left_out = int((tested & seen).sum())
        kept = ~seen[tested]
        before, truth = before[kept], targets[tested][kept]
        after = before / heat
        evaluated_on = f"held-out split, {len(truth)} photos"
    report = Report(
        classes=classes.tolist(),
        photos=int(fitted_on.sum()),
        method=method,
        evaluated_on=evaluated_on,
        measured=len(truth),
        left_out=left_out,
        near_copies=int((np.bincount(groups)[groups] > 1).sum()),
        accuracy_ungrouped=round(ungrouped, 4),
        accuracy_knn=0.0,
        temperature=round(heat, 4),
        l2=strength,
        l2_grid=[],
        **measure.figures(softmax(before), softmax(after), truth, classes.tolist()),
        seconds=round(time.perf_counter() - started, 3),
    )
    made = Head(
        (weight / heat).astype(np.float32),
        (bias / heat).astype(np.float32),
        tuple(classes.tolist()),
        cache.fingerprint,
        report,
    )
    return made, report


def out_of_fold(photos: Labelled, *, l2: float | None = None) -> "np.ndarray":
    """Each photo's calibrated probabilities (N, C), classes sorted, from a head fitted without it and its near-copies.

    Raises:
        PetrieveError: fewer than two classes, or a class with one photo.
    """
    import numpy as np

    _check(photos.labels)
    classes, targets = np.unique(photos.labels, return_inverse=True)
    groups = near.groups(photos.embeddings, photos.digests)
    folds = grouped(targets, groups, _folds(targets, groups))
    logits = _logits(photos.embeddings, targets, folds, len(classes), L2 if l2 is None else l2)
    return softmax(calibrate.cross_fitted(logits, targets, folds))


def _check(labels: "np.ndarray") -> None:
    counts = Counter(labels.tolist())
    if len(counts) < 2:
        raise PetrieveError(
            f"all {len(labels)} photos to fit on are of one class, {next(iter(counts))!r}",
            "embed photos of another class too",
        )
    rare = [name for name, count in counts.items() if count == 1]
    if rare:
        raise PetrieveError(
            f"class {rare[0]!r} has one photo, and a head cannot be measured on it",
            "add a second photo of it; or remove its file and run `embed --prune`",
        )


def _folds(targets: "np.ndarray", groups: "np.ndarray") -> int:
    """As many as the rarest class has groups, and no more than five."""
    import numpy as np

    return min(FOLDS, *(len(np.unique(groups[targets == target])) for target in np.unique(targets)))


def _fit(embeddings: "np.ndarray", targets: "np.ndarray", classes: int, l2: float) -> "Fitted":
    """Weight (C, D) and bias (C,) on raw embeddings: the standardisation is folded into them."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    mean = embeddings.mean(axis=0)
    scale = embeddings.std(axis=0)
    scale[scale < 1e-6] = 1  # a feature that never changes says nothing, and must not be blown up
    model = LogisticRegression(C=1 / l2, solver="newton-cg", max_iter=1000).fit((embeddings - mean) / scale, targets)
    weight, bias = model.coef_, model.intercept_
    if classes == 2:  # scikit-learn keeps the second class's logit alone
        weight, bias = np.vstack([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = weight / scale
    return weight, bias - weight @ mean


def _logits(x: "np.ndarray", y: "np.ndarray", folds: "np.ndarray", classes: int, l2: float) -> "np.ndarray":
    import numpy as np

    logits = np.empty((len(y), classes), np.float32)
    for fold in range(folds.max() + 1):
        own = folds == fold
        weight, bias = _fit(x[~own], y[~own], classes, l2)
        logits[own] = x[own] @ weight.T + bias
    return logits
