"""How much speaks against each label: a head's probabilities out of fold, and the labels of the look-alikes.

N photos, C classes, K neighbours.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)  # of the votes
FAR_OUT = 3.0  # times the interquartile range beyond the upper quartile: Tukey 1977, "Exploratory Data Analysis"


def votes(neighbours: "np.ndarray", targets: "np.ndarray", classes: int) -> "np.ndarray":
    """How many of each photo's neighbours (N, K) are of each class: (N, C)."""
    import numpy as np

    there = neighbours >= 0
    counts = np.zeros((len(targets), classes))
    np.add.at(counts, (np.nonzero(there)[0], targets[neighbours[there]]), 1)
    return counts


def combined(probabilities: "np.ndarray", counts: "np.ndarray", targets: "np.ndarray") -> "np.ndarray":
    """Probabilities (N, C) of the head's (N, C) and the neighbours' votes (N, C) together: their geometric mean.

    How much the votes weigh is what gives the lowest log loss on the labels (N,): where look-alikes say little of the
    class, next to nothing.
    """
    import numpy as np

    classes, photos = counts.shape[1], np.arange(len(targets))
    shares = (counts + 1 / classes) / (counts.sum(axis=1, keepdims=True) + 1)  # one more vote, for all classes alike
    best, least = probabilities, np.inf
    for weight in WEIGHTS:
        both = np.maximum(probabilities, 1e-9) ** (1 - weight) * shares**weight
        both /= both.sum(axis=1, keepdims=True)
        loss = -np.log(both[photos, targets]).mean()
        if loss < least:
            best, least = both, loss
    return best


def confident(probabilities: "np.ndarray", targets: "np.ndarray") -> "np.ndarray":
    """Each photo's class (N,) as far as it is certain, else -1, of out-of-fold probabilities (N, C) and labels (N,).

    Certain is a class that is at least as probable as it is on average among the photos labelled so; of several, the
    most probable. Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels".
    """
    import numpy as np

    own = np.eye(probabilities.shape[1])[targets]
    usual = (probabilities * own).sum(axis=0) / np.maximum(own.sum(axis=0), 1)
    reached = np.where(probabilities >= usual, probabilities, -1)
    return np.where(reached.max(axis=1) >= 0, reached.argmax(axis=1), -1)


def strange(distances: "np.ndarray") -> "np.ndarray":
    """Which photos (N,) are unlike any other, of mean distances (N,): those beyond Tukey's outer fence."""
    import numpy as np

    low, high = np.nanquantile(distances, (0.25, 0.75)) if np.isfinite(distances).any() else (0.0, 0.0)
    return np.asarray(distances > high + FAR_OUT * (high - low))


def mean_distance(distances: "np.ndarray") -> "np.ndarray":
    """The mean of each photo's distances (N, K) to its neighbours: (N,), NaN where it has none."""
    import numpy as np

    there = np.isfinite(distances)
    total = np.where(there, distances, 0).sum(axis=1)
    return np.asarray(total / np.where(there.any(axis=1), there.sum(axis=1), np.nan))
