"""The probabilities that heads fitted without a photo give it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

STRENGTHS = (0.1, 0.01, 0.001)  # scikit-learn's C, on standardised embeddings: wrong labels ask for less of it
CHOSEN_ON = 5000  # photos: among more, the choice is as good


def out_of_fold(embeddings: "np.ndarray", targets: "np.ndarray", groups: "np.ndarray") -> "np.ndarray":
    """Each photo's probabilities (N, C) by a logistic head fitted without it and its near-copies.

    Of embeddings (N, D), targets (N,) and groups (N,) of near-copies. The head's strength has the lowest log loss.
    """
    import numpy as np

    from classifier.folds import grouped
    from classifier.measure import log_loss

    folds = grouped(targets, groups)
    some = np.arange(len(targets)) if len(targets) <= CHOSEN_ON else _spread(targets, folds)
    tried = [_held_out(embeddings[some], targets[some], folds[some], targets.max() + 1, one) for one in STRENGTHS]
    losses = [log_loss(np.maximum(found, 1e-6), targets[some]) for found in tried]
    best = int(np.argmin(losses))
    if len(some) == len(targets):
        return tried[best]
    return _held_out(embeddings, targets, folds, targets.max() + 1, STRENGTHS[best])


def _spread(targets: "np.ndarray", folds: "np.ndarray") -> "np.ndarray":
    """Some photos, evenly spread over classes and folds."""
    import numpy as np

    order = np.lexsort((folds, targets))
    return np.sort(order[np.linspace(0, len(order) - 1, CHOSEN_ON).astype(int)])


def _held_out(
    embeddings: "np.ndarray", targets: "np.ndarray", folds: "np.ndarray", classes: int, strength: float
) -> "np.ndarray":
    """Each photo's probabilities (N, C) by a head fitted on the other folds; 0 for a class that these lack."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    found = np.zeros((len(targets), classes))
    for fold in np.unique(folds):
        own = folds == fold
        rest = embeddings[~own]
        mean, scale = rest.mean(axis=0), rest.std(axis=0)
        scale[scale < 1e-6] = 1  # a feature that never changes says nothing, and must not be blown up
        model = LogisticRegression(C=strength, solver="newton-cg", max_iter=100)
        model.fit((rest - mean) / scale, targets[~own])
        found[np.ix_(own, model.classes_)] = model.predict_proba((embeddings[own] - mean) / scale)
    return found
