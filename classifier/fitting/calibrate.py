"""The temperature that makes probabilities mean what they say."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def temperature(logits: "np.ndarray", targets: "np.ndarray") -> float:
    """By what to divide logits (N, C) of photos that they were not fitted on, for the lowest log loss.

    Guo et al. 2017, "On Calibration of Modern Neural Networks".
    """
    import numpy as np

    low, high = np.log(0.02), np.log(50)
    golden = (5**0.5 - 1) / 2
    turned = np.ascontiguousarray(logits.T)  # sums over few classes take a fifth of the time this way round
    for _ in range(40):  # the loss is convex in 1/T, so it has one minimum in log T too
        one, other = high - golden * (high - low), low + golden * (high - low)
        if _loss(turned / np.exp(one), targets) < _loss(turned / np.exp(other), targets):
            high = other
        else:
            low = one
    return float(np.exp((low + high) / 2))


def _loss(logits: "np.ndarray", targets: "np.ndarray") -> float:
    """Log loss of logits (C, N) against targets that are not wholly sure of themselves.

    N right of N prove no 100 %: Platt 1999.
    """
    import numpy as np

    classes, count = logits.shape
    logs = logits - logits.max(axis=0)
    logs -= np.log(np.exp(logs).sum(axis=0))
    given = logs[targets, np.arange(count)]
    others = (logs.sum(axis=0) - given) / (classes - 1)
    doubt = 1 / (count + 2)
    return float(-((1 - doubt) * given + doubt * others).mean())


def cross_fitted(logits: "np.ndarray", targets: "np.ndarray", folds: "np.ndarray") -> "np.ndarray":
    """Logits (N, C), those of each fold divided by the temperature of the others."""
    import numpy as np

    return np.asarray(logits / temperatures(logits, targets, folds))


def temperatures(logits: "np.ndarray", targets: "np.ndarray", folds: "np.ndarray") -> "np.ndarray":
    """Each photo's temperature (N, 1), of logits (N, C): that of the other folds."""
    import numpy as np

    heats = np.empty((len(logits), 1), logits.dtype)
    for fold in np.unique(folds):
        own = folds == fold
        heats[own] = temperature(logits[~own], targets[~own])
    return heats
