"""Which photos are held out together, and which of them are measured on."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heapreplace
from typing import TYPE_CHECKING, Any

from petrieve.store.columns import alike
from petrieve.store.errors import PetrieveError, listed, warn

if TYPE_CHECKING:
    import numpy as np

FOLDS = 5
SEED = 0
LISTED = 5  # classes in a message


def grouped(targets: "np.ndarray", groups: "np.ndarray", folds: int = FOLDS) -> "np.ndarray":
    """Each photo's fold (N,), of targets (N,) and groups (N,): groups stay whole, and classes are spread evenly.

    Of each class the largest groups come first, those of one size shuffled, and each goes to the fold that has the
    fewest photos of the class, and of all where several have. What stays empty is no fold.
    """
    import numpy as np

    _, first, which, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    dealt = np.empty(len(first), int)
    drawn = np.random.default_rng(SEED).permutation(len(first))
    drawn = drawn[np.argsort(-sizes[drawn], kind="stable")]
    totals = [0] * folds
    for target in np.unique(targets):
        filled = sorted((0, total, fold) for fold, total in enumerate(totals))  # sorted, it is a heap
        for group in drawn[targets[first[drawn]] == target].tolist():
            own, total, fold = filled[0]
            dealt[group], size = fold, int(sizes[group])
            heapreplace(filled, (own + size, total + size, fold))
        for _, total, fold in filled:
            totals[fold] = total
    return np.unique(dealt, return_inverse=True)[1][which]


def folds_of(targets: "np.ndarray", groups: "np.ndarray", classes: Sequence[str] = ()) -> int:
    """How many folds: as many as the rarest class has pictures, and no more than five; says so where it has a name."""
    import numpy as np

    pictures = np.bincount(np.unique(np.stack([targets, groups]), axis=1)[0])
    folds = min(FOLDS, int(pictures.min()))
    if folds < FOLDS and classes:
        rare = classes[int(pictures.argmin())]
        warn(f"class {rare!r} has {pictures.min()} photos: {folds} folds instead of {FOLDS}")
    return folds


def pictures(targets: "np.ndarray", groups: "np.ndarray") -> "np.ndarray":
    """The first photo (P,) of each picture, of targets (N,) and groups (N,).

    Copies with the same label prove one thing: counted one by one they would make an accuracy look surer than it is.
    """
    import numpy as np

    return np.sort(np.unique(np.stack([groups, targets]), axis=1, return_index=True)[1])


@dataclass(frozen=True, eq=False)
class Fitted:
    """A head before calibration, and what it says of photos that it was not fitted on."""

    weight: "np.ndarray"  # (C, D)
    bias: "np.ndarray"  # (C,)
    before: "np.ndarray"  # logits (N, C) of the measured photos
    after: "np.ndarray"  # calibrated, by a temperature that was fitted on others
    targets: "np.ndarray"  # (N,) their classes
    temperature: float
    said: dict[str, Any]  # the rest of the report
    averaged: "list[np.ndarray]" = field(default_factory=list)  # probabilities (N, C) over 1, 2, … augmented views too


@dataclass(frozen=True, eq=False)
class Plan:
    """Which photos are fitted on and which are measured."""

    classes: list[str]
    targets: "np.ndarray"  # (N,)
    groups: "np.ndarray"  # (N,)
    fitted_on: "np.ndarray"  # (N,) booleans
    tested: "np.ndarray"  # (N,) held-out photos of known classes; none where folds are the measure


def to_fit_on(splits: "np.ndarray") -> "np.ndarray":
    """Which photos (N,) a head is fitted on, of their splits (N,): those to train with, or else all."""
    import numpy as np

    train = splits == "train"
    return train if train.any() and not train.all() else np.ones(len(splits), bool)


def plan(labels: "np.ndarray", splits: "np.ndarray", groups: "np.ndarray") -> Plan:
    """What is fitted on and what is measured, of labels, splits (empty: none) and groups (N,) each.

    A class with one photo is left out: nothing could be measured on it.

    Raises:
        PetrieveError: fewer than two classes have two photos.
    """
    import numpy as np

    if said := alike(set(labels.tolist())):
        warn(said)
    to_fit = to_fit_on(splits)
    lone = _lone(labels[to_fit], groups[to_fit])
    shown = np.unique(labels[to_fit])
    classes = shown[~np.isin(shown, lone)]
    targets = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    known, strange = classes[targets] == labels, ~np.isin(labels, shown)
    if strange.any():
        named = ", ".join(sorted(set(labels[strange].tolist())))
        warn(f"no training photo shows {named}: {strange.sum()} photos are not measured on")
    return Plan(classes.tolist(), targets, groups, to_fit & known, ~to_fit & known)


def warn_of_copies(paths: list[str], labels: "np.ndarray", groups: "np.ndarray") -> None:
    """Say which near-copies have different labels: at most one of two can be right."""
    import numpy as np

    pairs = np.unique(np.stack([groups, np.unique(labels, return_inverse=True)[1]]), axis=1)[0]
    torn = np.flatnonzero(np.bincount(pairs) > 1)
    if len(torn):
        own = np.flatnonzero(groups == torn[0])
        other = own[labels[own] != labels[own[0]]][0]
        more = f", and {len(torn) - 1} more such" if len(torn) > 1 else ""
        warn(f"one picture, two labels: {paths[own[0]]} ({labels[own[0]]}), {paths[other]} ({labels[other]}){more}")


def _lone(labels: "np.ndarray", groups: "np.ndarray") -> list[str]:
    """The classes with one photo, and its copies; says that they are left out, and refuses what makes no head."""
    counts = Counter(labels.tolist())
    if len(counts) < 2:
        raise PetrieveError(
            f"all {len(labels)} photos to fit on are of one class, {next(iter(counts))!r}",
            "embed photos of another class too",
        )
    pictures = Counter(label for label, _ in set(zip(labels.tolist(), groups.tolist(), strict=True)))
    lone = sorted(label for label in counts if pictures[label] == 1)
    if len(counts) - len(lone) < 2:
        shows = "one photo" if counts[lone[0]] == 1 else f"{counts[lone[0]]} copies of one photo"
        raise PetrieveError(
            f"class {lone[0]!r} has {shows}, and a head needs two classes with two different photos each",
            "add a second photo of it",
        )
    if lone:
        named = listed([repr(label) for label in lone], LISTED)
        which = f"class {named} has one photo and is" if len(lone) == 1 else f"classes {named} have one photo and are"
        warn(f"{which} left out of the head")
    return lone
