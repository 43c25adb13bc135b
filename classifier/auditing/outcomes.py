"""A head's results on the photos that it was measured on: its mistakes, and its ROC curves."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from petrieve.classifier.fitting import fit
from petrieve.classifier.fitting.split import pictures, plan
from petrieve.classifier.head import Head, check_classes
from petrieve.classifier.labelled import Labelled

if TYPE_CHECKING:
    import numpy as np

    Measured = tuple[list[str], "np.ndarray", "np.ndarray"]

POINTS = 201  # of a curve: more than a screen shows


@dataclass(frozen=True)
class Mistake:
    """A photo (its path) for which the head found another class more probable than its label."""

    photo: str
    label: str
    predicted: str
    probability: float  # of the predicted class


@dataclass(frozen=True)
class Curve:
    """The share of a class's photos that is found (y) at each share of false alarms (x)."""

    label: str
    points: list[tuple[float, float]]


def outcomes(photos: Labelled, head: Head) -> tuple[list[Mistake], list[Curve]]:
    """The mistakes, the surest first, and a curve for each class (of two classes, for the second).

    Measured on the photos that the head was measured on: held-out ones that are not near-copies of training photos, or
    else out of fold, by logistic regression also where the head is `linear`.

    Raises:
        PetrieveError: fewer than two classes with two photos, or one of the head's that no photo has.
    """
    import numpy as np

    check_classes(head, set(photos.labels.tolist()))
    paths, probabilities, targets = _measured(photos, head)
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


def right(photos: Labelled, head: Head) -> dict[str, bool]:
    """Whether the head was right, by path, of the photos that `outcomes` are measured on.

    Raises:
        PetrieveError: as `outcomes`.
    """
    check_classes(head, set(photos.labels.tolist()))
    paths, probabilities, targets = _measured(photos, head)
    return dict(zip(paths, (probabilities.argmax(axis=1) == targets).tolist(), strict=True))


def _measured(photos: Labelled, head: Head) -> "Measured":
    """Paths, probabilities (N, C) and classes (N,) of the photos that a head is measured on."""
    import numpy as np

    report, known = head.report, np.isin(photos.labels, head.classes)
    splits = photos.splits if _had_splits(photos, head) else np.full(len(photos), "")
    parts = plan(photos.labels, splits, photos.groups)
    tested = parts.tested & known & ~np.isin(photos.groups, photos.groups[parts.fitted_on])
    if report.by_split and tested.any():
        probabilities = head.predict(photos.embeddings[tested])
    else:
        tested = parts.fitted_on & known
        l2 = report.l2 if report.method == "logistic" else None
        every = fit.out_of_fold(photos, parts, l2=l2, balanced=report.balanced)[tested[parts.fitted_on]]
        probabilities = np.zeros((len(every), len(head.classes)))
        probabilities[:, np.isin(head.classes, parts.classes)] = every[:, np.isin(parts.classes, head.classes)]
    places = np.flatnonzero(tested)
    first = pictures(parts.targets[places], photos.groups[places])  # of near-copies with one label
    places = places[first]
    paths = [photos.paths[place] for place in places.tolist()]
    return paths, probabilities[first], np.searchsorted(head.classes, photos.labels[places])


def _had_splits(photos: Labelled, head: Head) -> bool:
    """Whether a head was fitted by the splits that the photos have now.

    A head from before the photos had splits was fitted on all: held-out photos are not new to it.
    """
    import numpy as np

    if head.report.by_split:
        return True
    here = ((photos.splits == "train") & np.isin(photos.labels, head.classes)).sum()
    of_store = sum(
        count for (label, split), count in photos.there.items() if split == "train" and label in head.classes
    )
    return head.report.photos in (here, of_store)


def _curve(scores: "np.ndarray", own: "np.ndarray") -> list[tuple[float, float]]:
    """Of scores (N,) and which photos are of the class (N,)."""
    import numpy as np
    from sklearn.metrics import roc_curve

    alarms, found, _ = roc_curve(own, scores)
    places = np.linspace(0, 1, POINTS) ** 2  # most of them where false alarms are few
    first = np.searchsorted(alarms, places, side="right") - 1
    points = zip([0.0, *places.tolist()], [0.0, *found[first].tolist()], strict=True)
    return [(round(x, 5), round(y, 5)) for x, y in points]
