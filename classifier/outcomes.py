"""What became of each measured photo: which ones a head took for another class, and its ROC curves."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from classifier import fit, near
from classifier.head import Head
from classifier.labelled import read
from extractor.cache import Cache

if TYPE_CHECKING:
    import numpy as np

    Measured = tuple[list[str], "np.ndarray", "np.ndarray"]

POINTS = 201  # of a curve: more than a screen shows


@dataclass(frozen=True)
class Mistake:
    """A photo (its path) whose label the head gave less than another class."""

    photo: str
    label: str
    predicted: str
    probability: float  # of what was predicted


@dataclass(frozen=True)
class Curve:
    """The share of a class's photos that is found (y) at each share of false alarms (x)."""

    label: str
    points: list[tuple[float, float]]


def outcomes(cache: Cache, head: Head) -> tuple[list[Mistake], list[Curve]]:
    """The mistakes, those first of which the head was surest, and a curve for each class (of two, for the second).

    Measured on held-out photos that are no near-copies of training photos, or else out of fold, by logistic regression
    also where the head is `linear`.

    Raises:
        PetrieveError: no photo has a label; or, out of fold, one class, or a class with one photo.
    """
    import numpy as np

    paths, probabilities, targets = _measured(cache, head)
    predicted, surest = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != targets)
    mistakes = [
        Mistake(paths[i], head.classes[targets[i]], head.classes[predicted[i]], round(float(surest[i]), 4))
        for i in sorted(wrong, key=lambda i: (-surest[i], paths[i]))
    ]
    numbers = range(1, 2) if len(head.classes) == 2 else range(len(head.classes))
    curves = [
        Curve(head.classes[number], _curve(probabilities[:, number], targets == number))
        for number in numbers
        if 0 < (targets == number).sum() < len(targets)
    ]
    return mistakes, curves


def _measured(cache: Cache, head: Head) -> "Measured":
    """Paths, probabilities (N, C) and classes (N,) of the photos that a head is measured on."""
    import numpy as np

    photos = read(cache)
    known, train = np.isin(photos.labels, head.classes), photos.splits == "train"
    tested = known & ~train & train.any()
    if tested.any():
        groups = near.groups(photos.embeddings, photos.digests)
        tested &= ~np.isin(groups, groups[train])
    if tested.any():
        probabilities = head.predict(photos.embeddings[tested])
    else:
        classes = np.unique(photos.labels)
        tested = known
        l2 = head.report.l2 if head.report.method == "logistic" else None
        every = fit.out_of_fold(photos, l2=l2)[tested]
        probabilities = np.zeros((len(every), len(head.classes)))
        there = np.isin(head.classes, classes)
        probabilities[:, there] = every[:, np.isin(classes, head.classes)]
    paths = [path for path, one in zip(photos.paths, tested, strict=True) if one]
    return paths, probabilities, np.searchsorted(head.classes, photos.labels[tested])


def _curve(scores: "np.ndarray", own: "np.ndarray") -> list[tuple[float, float]]:
    """Of scores (N,) and which photos are of the class (N,)."""
    import numpy as np
    from sklearn.metrics import roc_curve

    alarms, found, _ = roc_curve(own, scores)
    places = np.linspace(0, 1, POINTS) ** 2  # most of them where false alarms are few
    first = np.searchsorted(alarms, places, side="right") - 1
    points = zip([0.0, *places.tolist()], [0.0, *found[first].tolist()], strict=True)
    return [(round(x, 5), round(y, 5)) for x, y in points]
