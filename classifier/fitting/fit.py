"""A cache → a head, with figures measured on photos that the head was not fitted on."""

import time
import warnings
from typing import TYPE_CHECKING, Any

from classifier.figures import familiar, measure
from classifier.fitting import calibrate, logistic
from classifier.fitting.split import FOLDS, Fitted, Plan, grouped, pictures, plan, warn_of_copies
from classifier.head import Head, Report, softmax
from classifier.labelled import Labelled, read
from store.cache import Cache
from store.errors import PetrieveError

if TYPE_CHECKING:
    import numpy as np

METHODS = ("logistic", "linear")


def fit(
    cache: Cache, *, method: str = "logistic", l2: float | None = None, balanced: bool = False, device: str = "auto"
) -> tuple[Head, Report]:
    """A head for the labels in the cache, and its measured figures.

    Where some photos are in the split `train`, the head is fitted on those and measured on the other labelled
    photos. Otherwise it is fitted on all of them and measured out of fold (5 folds, fewer where a class has fewer
    photos); `linear` holds out a fifth instead. Near-copies are never on both sides, and those with the same label are
    measured as one. `l2` is the penalty's strength, 1/C; without it the best of a grid is taken. `balanced` gives every
    class the same weight in the loss.

    Raises:
        PetrieveError: an unknown method or device, fewer than two classes, or a class with one photo.
    """
    import numpy as np

    started = time.perf_counter()
    if method not in METHODS:
        raise PetrieveError(f"there is no method {method!r}", f"use one of {', '.join(METHODS)}")
    most, *_, least = logistic.STRENGTHS
    if l2 is not None and not least <= l2 <= most:  # beyond, float32 no longer finds the optimum
        raise PetrieveError(
            f"an L2 strength of {l2} makes no head", f"give `--l2` a number from {least:g} to {most:g}, such as 10"
        )
    if method == "linear":
        from classifier.fitting.linear import fit_linear

        classes, fitted = fit_linear(cache, l2=l2, balanced=balanced, device=device)
    elif device not in ("auto", "cpu"):
        raise PetrieveError(
            f"logistic regression is fitted on the CPU, not on {device!r}",
            "leave out `--device`, or use `--method linear`",
        )
    else:
        classes, fitted = _fit_logistic(read(cache), l2, balanced)
    report = Report(
        classes=classes,
        method=method,
        balanced=balanced,
        measured=len(fitted.targets),
        temperature=round(fitted.temperature, 4),
        **measure.figures(softmax(fitted.before), softmax(fitted.after), fitted.targets, classes),
        **fitted.said,
        seconds=round(time.perf_counter() - started, 3),
    )
    # Contiguous: safetensors writes an array's memory as it lies there.
    weight, bias = (
        np.ascontiguousarray(part / fitted.temperature, np.float32) for part in (fitted.weight, fitted.bias)
    )
    return Head(weight, bias, tuple(classes), cache.fingerprint, report), report


def out_of_fold(photos: Labelled, one: Plan, *, l2: float | None = None, balanced: bool = False) -> "np.ndarray":
    """Calibrated probabilities (M, C) of the photos that a plan fits on, as `fit` measures them where none is held out.

    Each photo's are from a head fitted without it and its near-copies.
    """
    found, folds = _cross_validated(photos, one, l2, balanced)
    return softmax(calibrate.cross_fitted(found.logits, one.targets[one.fitted_on], folds))


def _fit_logistic(photos: Labelled, l2: float | None, balanced: bool) -> tuple[list[str], Fitted]:
    import numpy as np

    groups = photos.groups
    warn_of_copies(photos.paths, photos.labels, groups)
    one = plan(photos.labels, photos.splits, groups)
    found, folds = _cross_validated(photos, one, l2, balanced)
    targets, own = one.targets[one.fitted_on], groups[one.fitted_on]
    heat = calibrate.temperature(found.logits, targets)
    seen = np.isin(groups, own)
    tested = np.flatnonzero(one.tested & ~seen)
    tested = tested[pictures(one.targets[tested], groups[tested])]
    said: dict[str, Any] = {
        "photos": int(one.fitted_on.sum()),
        "near_copies": int((np.bincount(groups)[groups] > 1).sum()),
        "left_out": int((one.tested & seen).sum()),
        "l2": found.l2,
        "l2_grid": found.grid,
        "epochs": [],
    }
    places = np.flatnonzero(one.fitted_on)
    if len(tested):
        logits = photos.embeddings @ found.weight.T.astype(np.float32) + found.bias
        right = logits.argmax(axis=1) == one.targets
        before, after, truth = logits[tested], logits[tested] / heat, one.targets[tested]
        said |= {"evaluated_on": f"held-out split, {len(truth)} photos"}
        said |= {"accuracy_ungrouped": round(float(right[one.tested].mean()), 4)}
        parts = [(tested, places)]
    else:
        lone = pictures(targets, own)
        before, truth = found.logits[lone], targets[lone]
        after = calibrate.cross_fitted(found.logits, targets, folds)[lone]
        said |= {"evaluated_on": f"{folds.max() + 1}-fold cross-validation"}
        said |= {"accuracy_ungrouped": _ungrouped(photos, one, found, balanced)}
        parts = [(places[lone[folds[lone] == fold]], places[folds != fold]) for fold in range(folds.max() + 1)]
    said |= familiar.measured(photos.embeddings, one.targets, parts)
    return one.classes, Fitted(found.weight, found.bias, before, after, truth, heat, said)


def _cross_validated(
    photos: Labelled, one: Plan, l2: float | None, balanced: bool
) -> "tuple[logistic.Path, np.ndarray]":
    """Fitted on the planned photos and all their views; and these photos' folds."""
    targets, groups = one.targets[one.fitted_on], one.groups[one.fitted_on]
    folds = grouped(targets, groups, _folds(targets, groups, one.classes))
    if (folds == folds[0]).all():
        raise PetrieveError(
            f"the {len(folds)} photos to fit on are near-copies with different labels",
            "embed other photos of each class",
        )
    return _path(photos, one.fitted_on, targets, folds, (l2,) if l2 else logistic.STRENGTHS, balanced), folds


def _path(
    photos: Labelled,
    chosen: "np.ndarray",
    targets: "np.ndarray",
    folds: "np.ndarray",
    strengths: tuple[float, ...],
    balanced: bool,
) -> logistic.Path:
    """Of V augmented views and the canonical one, each weighs 1/(V + 1): a photo counts once."""
    import numpy as np

    place = np.cumsum(chosen) - 1
    of_chosen = chosen[photos.owners]
    owners = np.concatenate([np.arange(chosen.sum()), place[photos.owners[of_chosen]]])
    weights = 1 / np.bincount(owners)[owners]
    if balanced:
        counts = np.bincount(targets)
        weights *= (len(targets) / (len(counts) * counts))[targets[owners]]
    rows = photos.embeddings if chosen.all() else photos.embeddings[chosen]
    if of_chosen.any():
        rows = np.concatenate([rows, photos.views[of_chosen]])
    return logistic.path(
        rows, targets[owners], folds[owners], weights=weights, measured=len(targets), strengths=strengths
    )


def _ungrouped(photos: Labelled, one: Plan, found: logistic.Path, balanced: bool) -> float:
    """The accuracy out of fold where near-copies may be on both sides: what a careless split would have shown."""
    import numpy as np

    targets, groups = one.targets[one.fitted_on], one.groups[one.fitted_on]
    if len(np.unique(groups)) == len(groups):
        logits = found.logits
    else:
        folds = grouped(targets, np.arange(len(targets)), _folds(targets, np.arange(len(targets)), None))
        logits = _path(photos, one.fitted_on, targets, folds, (found.l2,), balanced).logits
    return round(float((logits.argmax(axis=1) == targets).mean()), 4)


def _folds(targets: "np.ndarray", groups: "np.ndarray", classes: list[str] | None) -> int:
    """As many as the rarest class has pictures, and no more than five."""
    import numpy as np

    pictures = np.bincount(np.unique(np.stack([targets, groups]), axis=1)[0])
    folds = min(FOLDS, int(pictures.min()))
    if folds < FOLDS and classes:
        rare = classes[int(pictures.argmin())]
        warnings.warn(f"class {rare!r} has {pictures.min()} photos: {folds} folds instead of {FOLDS}", stacklevel=2)
    return folds
