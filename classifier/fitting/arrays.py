"""A head for embeddings that are in no store: fitted as those of a store are, and measured by nobody."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from petrieve.classifier import copies
from petrieve.classifier.fitting import calibrate, logistic
from petrieve.classifier.fitting.split import folds_of, grouped
from petrieve.store.errors import PetrieveError
from petrieve.store.linked import joined

if TYPE_CHECKING:
    import numpy as np

# Of fewer numbers many have a cosine of 0.96 by chance, and are no near-copies: of 32, one pair in 10^17.
FEWEST = 32


@dataclass(frozen=True, eq=False)
class Plain:
    """A calibrated head of C classes, D numbers each."""

    weight: "np.ndarray"  # float32 (C, D)
    bias: "np.ndarray"  # float32 (C,)
    l2: float
    temperature: float  # by which both are divided already


def fit_arrays(
    embeddings: "np.ndarray", targets: "np.ndarray", *, l2: float | None = None, balanced: bool = False
) -> Plain:
    """The head that `fit` makes of these embeddings (N, D) float32 and their classes (N,), 0 … C-1, without a split.

    A class with one picture is fitted on too, and never held out.

    Raises:
        PetrieveError: an L2 strength that makes no head, or no class has two pictures.
    """
    import numpy as np

    logistic.check_strength(l2)
    folds = _folds(embeddings, targets)
    held = folds >= 0
    weights = logistic.balance(targets) if balanced else np.ones(len(targets))
    rows = [embeddings, targets, folds, weights]
    if not held.all():
        order = np.argsort(~held, kind="stable")  # those that are measured on come first
        rows = [one[order] for one in rows]
    measured, strengths = int(held.sum()), (l2,) if l2 else logistic.STRENGTHS
    found = logistic.path(*rows[:3], weights=rows[3], measured=measured, strengths=strengths)
    heat = calibrate.temperature(found.logits[:measured], rows[1][:measured])
    weight, bias = (np.ascontiguousarray(part / heat, np.float32) for part in (found.weight, found.bias))
    return Plain(weight, bias, found.l2, heat)


def _folds(embeddings: "np.ndarray", targets: "np.ndarray") -> "np.ndarray":
    """Each row's fold (N,), near-copies in one; -1, which is held out nowhere, of a class with one picture."""
    import numpy as np

    alone = np.arange(len(targets))
    for groups in (_copies(embeddings), alone):  # rows that are near-copies all over are none
        pictures = np.bincount(np.unique(np.stack([targets, groups]), axis=1)[0])
        held = (pictures > 1)[targets]
        if held.any():
            break
    else:
        raise PetrieveError("each class has one photo", "add a second photo of each")
    own = np.unique(targets[held], return_inverse=True)[1]
    folds = np.full(len(targets), -1)
    folds[held] = grouped(own, groups[held], folds_of(own, groups[held]))
    return folds


def _copies(embeddings: "np.ndarray") -> "np.ndarray":
    """Each row's group (N,): near-copies share a number."""
    import numpy as np

    alone = np.arange(len(embeddings))
    if embeddings.shape[1] < FEWEST:
        return alone
    return joined(copies.pairs(embeddings, alone), len(alone))
