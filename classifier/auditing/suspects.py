"""How much speaks against each label: a head's probabilities out of fold, and the labels of the look-alikes.

N photos, C classes, K neighbours.
"""

from typing import TYPE_CHECKING

from petrieve.classifier.head import softmax

if TYPE_CHECKING:
    import numpy as np

VOTE_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)  # of the votes
# Temperatures of logits, and shares of uninformative labels, that are tried.
TEMPERATURES = tuple(0.1 * 1.2**step for step in range(26))
SHARES = (1e-4, *(0.001 * 1.17**step for step in range(40)))
ROUNDS = 30  # of expectation and maximisation; most of what they find they find in ten
# N uninformative labels are assumed to be spread over the classes as the photos are, beside those that are found.
# Measured: what is wrong at random then comes as early in the list as by probabilities alone, what is wrong in
# one way earlier.
PRIOR_LABELS = 10
# How much less likely, in nats, the labels may be with fewer wrong ones. Measured on 402 clean photos: with 0 nats up
# to six labels were called wrong, with 1 never more than two.
TOLERATED_NATS = 1.0
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

    The votes' weight is the one with the lowest log loss on the labels (N,): next to nothing where look-alikes say
    little of the class.
    """
    import numpy as np

    classes, photos = counts.shape[1], np.arange(len(targets))
    shares = (counts + 1 / classes) / (counts.sum(axis=1, keepdims=True) + 1)  # one more vote, for all classes alike
    best, least = probabilities, np.inf
    for weight in VOTE_WEIGHTS:
        both = np.maximum(probabilities, 1e-9) ** (1 - weight) * shares**weight
        both /= both.sum(axis=1, keepdims=True)
        loss = -np.log(both[photos, targets]).mean()
        if loss < least:
            best, least = both, loss
    return best


def wrong(probabilities: "np.ndarray", targets: "np.ndarray") -> "tuple[np.ndarray, float]":
    """How probably each label is wrong (N,), and about how many are; of probabilities (N, C) out of fold, labels (N,).

    A label either is the photo's class, which has the probability p^(1/T), or says nothing. How many say nothing, of
    each class, and T are fitted together, since what a head is too sure of looks like a wrong label. How many labels
    are wrong is by the likeliest of these shares, how probably each is by the least one that is nearly as likely.
    """
    import numpy as np

    classes, photos = probabilities.shape[1], np.arange(len(targets))
    logs = np.log(np.maximum(probabilities, 1e-9))
    given = np.stack([softmax(logs / heat)[photos, targets] for heat in TEMPERATURES])  # (T, N)
    usual = np.bincount(targets, minlength=classes) / len(targets)
    found = max((_emptied(own, targets, usual) for own in given), key=lambda one: one[0])[1] * len(targets)
    spread = ((found + PRIOR_LABELS * usual) / (found.sum() + PRIOR_LABELS))[targets]
    likely = np.array([[np.log((1 - share) * own + share * spread).sum() for own in given] for share in SHARES])
    best = likely.max(axis=1)
    least = int(np.flatnonzero(best >= best.max() - TOLERATED_NATS)[0])
    nothing = []
    for place in (least, int(best.argmax())):
        own, share = given[likely[place].argmax()], SHARES[place]
        nothing.append(share * spread * (1 - own) / ((1 - share) * own + share * spread))
    return nothing[0], float(nothing[1].sum())


def _emptied(given: "np.ndarray", targets: "np.ndarray", usual: "np.ndarray") -> "tuple[float, np.ndarray]":
    """The log likelihood of labels (N,), and the share of uninformative ones (C,), by the class that they name.

    `given` (N,) is how probable each label is, `usual` (C,) how frequent each class. Expectation and maximisation.
    """
    import numpy as np

    shares = 0.02 * usual
    for _ in range(ROUNDS):
        own = shares[targets]
        empty = own / ((1 - shares.sum()) * given + own)
        shares = np.bincount(targets, empty, minlength=len(usual)) / len(targets) + 1e-9
    return float(np.log((1 - shares.sum()) * given + shares[targets]).sum()), shares


def confident(probabilities: "np.ndarray", targets: "np.ndarray") -> "np.ndarray":
    """Each photo's class (N,) if it is certain, else -1, by out-of-fold probabilities (N, C) and labels (N,).

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
