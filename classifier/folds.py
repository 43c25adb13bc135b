"""Which photos are held out together, and which of them are measured on."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

FOLDS = 5
SEED = 0


def grouped(targets: "np.ndarray", groups: "np.ndarray", folds: int = FOLDS) -> "np.ndarray":
    """Each photo's fold (N,), of targets (N,) and groups (N,): groups stay whole, and classes are spread evenly.

    The groups of each class, shuffled, are dealt out in one row that is cut into equal parts.
    """
    import numpy as np

    _, first, which, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    dealt = np.empty(len(first), int)
    drawn = np.random.default_rng(SEED).permutation(len(first))
    for target in np.unique(targets):
        own = drawn[targets[first[drawn]] == target]
        middle = np.cumsum(sizes[own]) - sizes[own] / 2
        dealt[own] = folds * middle / sizes[own].sum()
    return dealt[which]


def pictures(targets: "np.ndarray", groups: "np.ndarray") -> "np.ndarray":
    """The first photo (P,) of each picture, of targets (N,) and groups (N,).

    Copies with the same label prove one thing: counted one by one they would make an accuracy look surer than it is.
    """
    import numpy as np

    return np.sort(np.unique(np.stack([groups, targets]), axis=1, return_index=True)[1])
