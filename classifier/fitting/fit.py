"""A cache → a head, with figures measured on photos that the head was not fitted on."""

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from petrieve.classifier import labelled
from petrieve.classifier.figures import familiar, measure
from petrieve.classifier.fitting import calibrate, logistic
from petrieve.classifier.fitting.split import Fitted, Plan, folds_of, grouped, pictures, plan, warn_of_copies
from petrieve.classifier.head import Head, Report, softmax
from petrieve.classifier.labelled import Labelled, read
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError, warn

if TYPE_CHECKING:
    import numpy as np

METHODS = ("logistic", "linear")
COPIES = 3  # of the embeddings in float32 that logistic regression takes, with what is beside them: 12.3 kB a photo


def fit(
    cache: Cache,
    *,
    method: str | None = None,
    l2: float | None = None,
    balanced: bool = False,
    photos: Labelled | None = None,
) -> tuple[Head, Report]:
    """A head for the labels in the cache, and its measured figures.

    Where some photos are in the split `train`, the head is fitted on those and measured on the other labelled
    photos. Otherwise it is fitted on all of them and measured out of fold (5 folds, fewer where a class has fewer
    photos); `linear` holds out a fifth instead. Near-copies are never on both sides, and those with the same label are
    measured as one. Without a `method` it is `logistic`, or `linear` where there are more labelled photos than
    `labelled.most`. `photos` are fitted on by logistic regression in place of all. `l2` is the penalty's strength, 1/C;
    without it the best of a grid is taken. `balanced` gives every class the same weight in the loss. A class with one
    photo is left out.

    Raises:
        PetrieveError: an unknown method, fewer than two classes with two photos, or more photos than fit into
            memory.
    """
    import numpy as np

    started = time.perf_counter()
    method = method or (_method(cache) if photos is None else "logistic")
    if method not in METHODS:
        raise PetrieveError(f"there is no method {method!r}", f"use one of {', '.join(METHODS)}")
    logistic.check_strength(l2)
    if method == "linear":
        from petrieve.classifier.fitting.linear import fit_linear

        classes, fitted = fit_linear(cache, l2=l2, balanced=balanced)
    else:
        if photos is None:
            _check_memory(cache)
        classes, fitted = _fit_logistic(read(cache) if photos is None else photos, l2, balanced)
    report = Report(
        classes=classes,
        method=method,
        balanced=balanced,
        measured=len(fitted.targets),
        temperature=round(fitted.temperature, 4),
        **measure.figures(softmax(fitted.before), softmax(fitted.after), fitted.targets, classes),
        **fitted.said,
        risk_coverage_views=[measure.risk_coverage(views, fitted.targets) for views in fitted.averaged],
        seconds=round(time.perf_counter() - started, 3),
    )
    # Contiguous: safetensors writes an array's memory as it lies there.
    weight, bias = (
        np.ascontiguousarray(part / fitted.temperature, np.float32) for part in (fitted.weight, fitted.bias)
    )
    return Head(weight, bias, tuple(classes), cache.fingerprint, report), report


def _method(cache: Cache) -> str:
    """How a head is fitted where nobody has said; says so where it is not as usual."""
    rows = labelled.most(cache)
    if len(cache) <= rows or (count := labelled.count(cache)) <= rows:
        return "logistic"
    warn(
        f'{count:,} labelled photos are fitted from a file, as by `method="linear"`: '
        f"logistic regression is for {rows:,} and fewer"
    )
    return "linear"


def _check_memory(cache: Cache) -> None:
    """Refuse what this machine's memory cannot hold, before the system ends the process."""
    if len(cache) <= labelled.most(cache):
        return
    count = labelled.count(cache)
    size = count * (1 + cache.made.views) * COPIES * 4 * cache.dimension
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise PetrieveError(
            f"logistic regression of {count:,} photos takes about {size / 1e9:,.0f} GB of memory, "
            f"and this machine has {memory / 1e9:,.0f}",
            'use `method="linear"`',
        )


def out_of_fold(photos: Labelled, one: Plan, *, l2: float | None = None, balanced: bool = False) -> "np.ndarray":
    """Calibrated probabilities (M, C) of the photos that a plan fits on, as `fit` measures them where none is held out.

    Each photo's are from a head fitted without it and its near-copies.
    """
    found, folds = _cross_validated(photos, one, l2, balanced)
    targets = one.targets[one.fitted_on]
    return softmax(calibrate.cross_fitted(found.logits[: len(targets)], targets, folds))


def _fit_logistic(photos: Labelled, l2: float | None, balanced: bool) -> tuple[list[str], Fitted]:
    import numpy as np

    groups = photos.groups
    warn_of_copies(photos.paths, photos.labels, groups)
    one = plan(photos.labels, photos.splits, groups)
    found, folds = _cross_validated(photos, one, l2, balanced)
    targets = one.targets[one.fitted_on]
    heat = calibrate.temperature(found.logits[: len(targets)], targets)
    seen = np.isin(groups, groups[one.fitted_on])
    tested = np.flatnonzero(one.tested & ~seen)
    tested = tested[pictures(one.targets[tested], groups[tested])]
    places = np.flatnonzero(one.fitted_on)
    if len(tested):
        measured, parts = _held_out(photos, one, found, tested, heat), [(tested, places)]
    else:
        measured = _in_folds(photos, one, found, folds, heat, balanced)
        lone = pictures(targets, groups[places])
        parts = [(places[lone[folds[lone] == fold]], places[folds != fold]) for fold in range(folds.max() + 1)]
    said: dict[str, Any] = {
        "photos": len(targets),
        "near_copies": int((np.bincount(groups)[groups] > 1).sum()),
        "left_out": int((one.tested & seen).sum()),
        "l2": found.l2,
        "l2_grid": found.grid,
        "epochs": [],
        **familiar.measured(photos.embeddings, one.targets, parts),
    }
    return one.classes, replace(measured, said={**said, **measured.said})


def _held_out(photos: Labelled, one: Plan, found: logistic.Path, tested: "np.ndarray", heat: float) -> Fitted:
    """What the head says of held-out pictures, at these places (P,)."""
    import numpy as np

    weight = found.weight.T.astype(np.float32)
    logits, views = photos.embeddings @ weight + found.bias, photos.views @ weight + found.bias
    averaged = _averaged(softmax(logits / heat), softmax(views / heat), photos.owners, tested)
    every = np.flatnonzero(one.tested)  # near-copies of training photos too
    every = every[pictures(one.targets[every], one.groups[every])]
    right = (logits.argmax(axis=1) == one.targets)[every]
    said = {
        "evaluated_on": f"held-out split, {len(tested)} photos",
        "by_split": True,
        "accuracy_ungrouped": round(float(right.mean()), 4),
    }
    before = logits[tested]
    return Fitted(found.weight, found.bias, before, before / heat, one.targets[tested], heat, said, averaged)


def _in_folds(
    photos: Labelled, one: Plan, found: logistic.Path, folds: "np.ndarray", heat: float, balanced: bool
) -> Fitted:
    """What heads say of the pictures that they were fitted without."""
    targets = one.targets[one.fitted_on]
    lone = pictures(targets, one.groups[one.fitted_on])
    logits, views = found.logits[: len(targets)], found.logits[len(targets) :]
    heats = calibrate.temperatures(logits, targets, folds)
    owners = _owners(photos, one.fitted_on)
    averaged = _averaged(softmax(logits / heats), softmax(views / heats[owners]), owners, lone)
    said = {
        "evaluated_on": f"{folds.max() + 1}-fold cross-validation",
        "by_split": False,
        "accuracy_ungrouped": _ungrouped(photos, one, found, folds, lone, balanced),
    }
    return Fitted(found.weight, found.bias, logits[lone], (logits / heats)[lone], targets[lone], heat, said, averaged)


def _averaged(
    canonical: "np.ndarray", views: "np.ndarray", owners: "np.ndarray", chosen: "np.ndarray"
) -> "list[np.ndarray]":
    """The chosen photos' probabilities (P, C), averaged over one augmented view too, over two, …: as many as all have.

    Of all photos' (N, C) and their views' (M, C), these ordered by their photos (M,).
    """
    import numpy as np

    counts = np.bincount(owners, minlength=len(canonical))
    first = (np.cumsum(counts) - counts)[chosen]
    total, averaged = canonical[chosen], []
    for more in range(counts[chosen].min()):
        total = total + views[first + more]
        averaged.append(total / (more + 2))
    return averaged


def _cross_validated(
    photos: Labelled, one: Plan, l2: float | None, balanced: bool
) -> "tuple[logistic.Path, np.ndarray]":
    """Fitted on the planned photos and all their views; and these photos' folds."""
    import numpy as np

    targets, groups = one.targets[one.fitted_on], one.groups[one.fitted_on]
    folds = grouped(targets, groups, folds_of(targets, groups, one.classes))
    if not np.bincount(np.unique(np.stack([groups, targets]), axis=1)[0]).tolist().count(1):
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

    of_chosen = chosen[photos.owners]
    owners = np.concatenate([np.arange(chosen.sum()), _owners(photos, chosen)])
    weights = 1 / np.bincount(owners)[owners]
    if balanced:
        weights *= logistic.balance(targets)[owners]
    rows = photos.embeddings if chosen.all() else photos.embeddings[chosen]
    if of_chosen.any():
        rows = np.concatenate([rows, photos.views[of_chosen]])
    return logistic.path(
        rows, targets[owners], folds[owners], weights=weights, measured=len(targets), strengths=strengths
    )


def _owners(photos: Labelled, chosen: "np.ndarray") -> "np.ndarray":
    """The places among the chosen photos of those that their augmented views (M,) belong to."""
    import numpy as np

    return np.asarray((np.cumsum(chosen) - 1)[photos.owners[chosen[photos.owners]]])


def _ungrouped(
    photos: Labelled, one: Plan, found: logistic.Path, folds: "np.ndarray", lone: "np.ndarray", balanced: bool
) -> float:
    """The accuracy of the pictures (P,) had their near-copies been on both sides.

    Each further copy moves on by a fold, and all else stays where it is: pictures without copies are told as before.
    """
    import numpy as np

    targets, groups = one.targets[one.fitted_on], one.groups[one.fitted_on]
    right = (found.logits[: len(targets)].argmax(axis=1) == targets)[lone]
    _, which, counts = np.unique(groups, return_inverse=True, return_counts=True)
    if (counts > 1).any():
        order = np.argsort(which, kind="stable")
        copy = np.empty(len(which), int)
        copy[order] = np.arange(len(which)) - (np.cumsum(counts) - counts)[which[order]]
        moved = (folds + copy) % (folds.max() + 1)
        logits = _path(photos, one.fitted_on, targets, moved, (found.l2,), balanced).logits[: len(targets)]
        right = np.where((counts[which] > 1)[lone], (logits.argmax(axis=1) == targets)[lone], right)
    return round(float(right.mean()), 4)
