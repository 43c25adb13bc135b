"""How near to 0 and 1 a probability may be, so that the sure mistakes do not cost more than the sure hits gain."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# Predictions have six digits: with 0 for what is true, the log loss would be infinite.
SMALLEST_CLIP = 1e-6
DISTANCES = 200  # distances, evenly spread over the logarithm
LARGEST_CLIP = 0.2
FOLDS = 5


def clip(probabilities: "np.ndarray", targets: "np.ndarray") -> float:
    """The distance from 0 and 1 to keep, of probabilities (N, C) out of fold and true classes (N,).

    It has the lowest log loss, if the choice lowers it on photos that were held out; else it is `SMALLEST_CLIP`.
    """
    import numpy as np

    given = probabilities[np.arange(len(targets)), targets]
    distances = np.geomspace(SMALLEST_CLIP, LARGEST_CLIP, DISTANCES)
    losses = -np.log(np.clip(given[:, None], distances, 1 - distances))  # (N, DISTANCES)
    part = np.arange(len(given)) % FOLDS
    gained = 0.0
    for own in range(min(FOLDS, len(given))):
        if (part != own).any():
            chosen = losses[part != own].mean(axis=0).argmin()
            gained += (losses[part == own, 0] - losses[part == own, chosen]).sum()
    return float(distances[losses.mean(axis=0).argmin()]) if gained > 0 else SMALLEST_CLIP
