"""Logistic regression for many folds and strengths at once. N rows, D numbers, R = min(N, D), F problems, K logits.

Every problem, a fold left out or none, sees the same inputs under other weights of the rows, so that one matrix product
serves them all. In the basis of the inputs' principal components the curvature of each is nearly diagonal: Newton's
method with conjugate gradients, preconditioned by that diagonal, needs a few products for each strength when it starts
from the solution of the one before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from petrieve.classifier.copies import deviations
from petrieve.store.errors import PetrieveError

if TYPE_CHECKING:
    import numpy as np

# Of 1/C: DINOv2 (Oquab et al. 2023) tries 45 values of C from 1e-6 to 1e5, evenly spread in their logarithm.
STRENGTHS = tuple(10 ** (6 - 11 * step / 44) for step in range(45))
# The grid ends when the held-out loss has risen for a whole decade: it has one minimum on every set that was tried.
PATIENCE = 4
BLOCK = 8192  # rows that are turned at a time: 32 MB
NATS = 1e-6  # a photo: how far from the lowest loss a fit may end
NEWTON_STEPS, CG_STEPS, HALVINGS = 30, 60, 20


@dataclass(frozen=True, eq=False)
class Path:
    """What cross-validation found."""

    weight: "np.ndarray"  # float64 (C, D), fitted on all rows, for raw embeddings
    bias: "np.ndarray"  # float64 (C,)
    logits: "np.ndarray"  # float32 (N, C), each row's by the problem without its fold
    l2: float
    grid: list[dict[str, float]]  # l2, log_loss: of the held-out rows


@dataclass(frozen=True, eq=False)
class Inputs:
    """Rows in the basis of their principal components, standardised before, with a last column of ones."""

    rows: "np.ndarray"  # float32 (N, R + 1)
    squares: "np.ndarray"  # (R + 1,) the sum of each column's squares
    back: "np.ndarray"  # (D, R) from that basis to raw embeddings
    mean: "np.ndarray"  # (D,)


def check_strength(l2: float | None) -> None:
    """Refuse a strength of L2 beyond which float32 no longer finds the optimum; None is the best of the grid.

    Raises:
        PetrieveError: it is one.
    """
    most, *_, least = STRENGTHS
    if l2 is not None and not least <= l2 <= most:
        raise PetrieveError(
            f"an L2 strength of {l2} makes no head", f"give `l2=…` a number from {least:g} to {most:g}, such as 10"
        )


def balance(targets: "np.ndarray") -> "np.ndarray":
    """What each row (N,), of classes 0 … C-1, weighs in the loss where every class weighs the same: 1 in the mean."""
    import numpy as np

    counts = np.bincount(targets)
    return np.asarray((len(targets) / (len(counts) * counts))[targets])


def path(
    embeddings: "np.ndarray",
    targets: "np.ndarray",
    folds: "np.ndarray",
    *,
    weights: "np.ndarray",
    measured: int,
    strengths: "tuple[float, ...]" = STRENGTHS,
) -> Path:
    """The head of the strength with the lowest held-out loss, and its out-of-fold logits.

    `embeddings` (N, D), `targets` (N,) of classes 0 … C-1, `folds` (N,), `weights` (N,) of each row in the loss; only
    the first `measured` rows are measured on. The loss is the sum over rows plus l2/2 |W|², for two classes with one
    vector W, as scikit-learn has it.
    """
    import numpy as np

    inputs = principal(embeddings, weights)
    count = int(folds.max()) + 1
    classes = int(targets.max()) + 1
    in_problem = np.stack([*(weights * (folds != fold) for fold in range(count)), weights], axis=1).astype(np.float32)
    truth = onehot(targets, classes)
    w = np.zeros((inputs.rows.shape[1], count + 1, truth.shape[1]), np.float32)
    best, grid = None, []
    for l2 in strengths:
        w, logits = newton(inputs, truth, in_problem, l2, w)
        own = both(logits[np.arange(len(targets)), folds])
        loss = float(np.average(loss_of(own[:measured], targets[:measured]), weights=weights[:measured]))
        grid.append({"l2": l2, "log_loss": round(loss, 6)})
        if best is None or loss < best[0]:
            best = loss, l2, w[:, -1].copy(), own
        elif loss > best[0] and len(grid) - 1 - [one["l2"] for one in grid].index(best[1]) >= PATIENCE:
            break
    assert best is not None
    weight, bias = raw(inputs, best[2])
    return Path(weight, bias, best[3], best[1], grid)


def onehot(targets: "np.ndarray", classes: int) -> "np.ndarray":
    """1 for the true class (N, K), float32, of targets (N,): of two classes for the second."""
    import numpy as np

    return targets.astype(np.float32)[:, None] if classes == 2 else np.eye(classes, dtype=np.float32)[targets]


def both(logits: "np.ndarray") -> "np.ndarray":
    """Logits (N, C) of logits (N, K): two classes have one, the second's."""
    import numpy as np

    return np.concatenate([-logits / 2, logits / 2], axis=1) if logits.shape[1] == 1 else logits


def loss_of(logits: "np.ndarray", targets: "np.ndarray") -> "np.ndarray":
    """The loss of each row (N,), float64, in nats, of logits (N, C)."""
    import numpy as np

    highest = logits.max(axis=1, keepdims=True)
    sums = np.log(np.exp((logits - highest).astype(np.float64)).sum(axis=1))
    return np.asarray(sums + highest[:, 0] - logits[np.arange(len(targets)), targets])


def principal(embeddings: "np.ndarray", weights: "np.ndarray") -> Inputs:
    """Embeddings (N, D), standardised and turned into the basis of their principal components.

    L2 does not feel a rotation, and of fewer photos than numbers only their own span matters.
    """
    import numpy as np
    from scipy.linalg import eigh

    count, wide = embeddings.shape
    share = (weights / weights.sum()).astype(np.float32)
    mean = share @ embeddings
    root = np.sqrt(weights).astype(np.float32)[:, None]
    parts = [slice(start, start + BLOCK) for start in range(0, count, BLOCK)]  # never another copy of them all
    if count > wide:
        moments = np.zeros((wide, wide), np.float32)
        for part in parts:
            weighed = (embeddings[part] - mean) * root[part]
            moments += weighed.T @ weighed
        scale = deviations(np.diag(moments) / weights.sum()).astype(np.float32)
        squares, turn = eigh(moments / scale / scale[:, None], driver="evd")  # numpy's takes twice the time
    else:
        weighed = (embeddings - mean) * root
        scale = deviations(np.einsum("nd,nd->d", weighed, weighed) / weights.sum()).astype(np.float32)
        weighed = weighed / scale
        squares, left = eigh(weighed @ weighed.T, driver="evd")
        squares = np.maximum(squares, 0)
        kept = squares > squares.max(initial=0) * 1e-6
        squares, turn = squares[kept], (weighed.T @ left[:, kept]) / np.sqrt(squares[kept])
    back = turn / scale[:, None]
    rows = np.ones((count, len(squares) + 1), np.float32)
    for part in parts:
        rows[part, :-1] = (embeddings[part] - mean) @ back
    return Inputs(rows, np.append(np.maximum(squares, 0), weights.sum()), back, mean)


def raw(inputs: Inputs, w: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Weight (C, D) and bias (C,) for raw embeddings, of w (R + 1, K): the standardisation is folded into them."""
    import numpy as np

    weight = (inputs.back.astype(np.float64) @ w[:-1]).T
    bias = w[-1] - weight @ inputs.mean
    if len(weight) == 1:
        return np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias


def newton(
    inputs: Inputs,
    onehot: "np.ndarray",
    weights: "np.ndarray",
    l2: float,
    w: "np.ndarray",
    tilt: "np.ndarray | None" = None,
) -> "tuple[np.ndarray, np.ndarray]":
    """Weights (R + 1, F, K) of the lowest loss, and their logits (N, F, K), starting from `w`.

    `onehot` (N, K) is 1 for the true class, `weights` (N, F) what each row counts in each problem. A problem with fewer
    rows has as much less of L2: what is best is best for each row. `tilt` (R + 1, F, K) is added to the gradient.

    The objective, Σ weight · -log p[true class] + penalty · w² / 2 + tilt · w, is convex. With the rows X and the
    probabilities p, its gradient is Xᵀ weight (p - onehot) + penalty w + tilt, and its Hessian times a direction is
    Xᵀ weight p' + penalty direction, where p' is the change of p along it. A step d solves Hessian d = -gradient
    roughly, by conjugate gradients, and is halved until the objective falls enough (Nocedal and Wright 2006, algorithm
    7.1). The decrement -gradient · d is twice what a step promises to gain, and says when to end (Boyd and Vandenberghe
    2004, 9.5.1).
    """
    import numpy as np

    total = weights.sum(axis=0, dtype=np.float64)
    penalty = np.tile((l2 * total / total.max()).astype(np.float32)[None, :, None], (len(w), 1, 1))
    penalty[-1] = 0  # the bias is free
    tilt = np.zeros_like(w) if tilt is None else tilt
    logits = times(inputs.rows, w)

    def objective(w: "np.ndarray", logits: "np.ndarray") -> "np.ndarray":
        return np.asarray(losses(logits, onehot, weights) + _dot(penalty * w, w) / 2 + _dot(tilt, w))

    value = objective(w, logits)
    for _ in range(NEWTON_STEPS):
        p = probabilities(logits)
        gradient = times(inputs.rows.T, (p - onehot[:, None]) * weights[:, :, None]) + penalty * w + tilt
        # In the basis of principal components the Hessian is nearly diagonal: each column's squares, curved alike.
        diagonal = inputs.squares[:, None] * _mean_curvature(p, weights) + np.maximum(penalty[:, :, 0], 1e-6 * l2)
        preconditioner = diagonal.astype(np.float32)[:, :, None]
        step, change = _conjugate_gradients(inputs.rows, p, weights, penalty, gradient, preconditioner)
        decrement = -_dot(gradient, step)
        w, logits, value = _line_search(objective, value, (w, logits), (step, change), decrement)
        if (decrement < 2 * NATS * total).all():
            break
    return w, logits


def _line_search(
    objective: "Callable[[np.ndarray, np.ndarray], np.ndarray]",
    value: "np.ndarray",
    start: "tuple[np.ndarray, np.ndarray]",
    step: "tuple[np.ndarray, np.ndarray]",
    decrement: "np.ndarray",
) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Weights, logits and the objective after as much of a step as meets Armijo's condition in each problem.

    `value` (F,) is the objective at the start; start and step are weights and logits.

    1, 1/2, 1/4 … of it are tried, until the objective falls by 1e-4 of what the gradient promises, but for rounding.
    """
    import numpy as np

    (w, logits), (direction, change) = start, step
    size = np.ones(len(decrement))
    for _ in range(HALVINGS):
        share = size.astype(np.float32)[:, None]
        ahead = w + share * direction, logits + share * change
        reached = objective(*ahead)
        worse = reached > value - 1e-4 * size * decrement + 1e-7 * np.abs(value)
        if not worse.any():
            break
        size[worse] /= 2
    return *ahead, reached


def times(matrix: "np.ndarray", w: "np.ndarray") -> "np.ndarray":
    """The product with every problem's vectors at once: (A, B) and (B, F, K) → (A, F, K)."""
    import numpy as np

    return np.asarray(matrix @ w.reshape(len(w), -1)).reshape(-1, *w.shape[1:])


def _conjugate_gradients(
    rows: "np.ndarray",
    p: "np.ndarray",
    weights: "np.ndarray",
    penalty: "np.ndarray",
    gradient: "np.ndarray",
    preconditioner: "np.ndarray",
) -> "tuple[np.ndarray, np.ndarray]":
    """Newton's step (R + 1, F, K) and the change of logits (N, F, K) that it makes.

    Preconditioned conjugate gradients: Nocedal and Wright 2006, algorithm 5.3.
    """
    import numpy as np

    step, change = np.zeros_like(gradient), np.zeros_like(p)
    residual = -gradient
    preconditioned = residual / preconditioner
    direction = preconditioned
    norm = first = _dot(residual, preconditioned)  # squared, and preconditioned
    for _ in range(CG_STEPS):
        along = times(rows, direction)
        hessian_times = times(rows.T, _change_of_p(p, along) * weights[:, :, None]) + penalty * direction
        size = _ratio(norm, _dot(direction, hessian_times))
        step, change, residual = step + size * direction, change + size * along, residual - size * hessian_times
        preconditioned = residual / preconditioner
        before, norm = norm, _dot(residual, preconditioned)
        if (norm <= 0.01 * first).all():  # a tenth of the gradient's length: Newton's next step mends the rest
            break
        direction = preconditioned + _ratio(norm, before) * direction
    return step, change


def _ratio(one: "np.ndarray", other: "np.ndarray") -> "np.ndarray":
    """Each problem's quotient (1, F, 1), float32; 0 for one that is solved."""
    import numpy as np

    safe = other > 1e-30
    return np.where(safe, one / np.where(safe, other, 1), 0).astype(np.float32)[None, :, None]


def _dot(one: "np.ndarray", other: "np.ndarray") -> "np.ndarray":
    """Each problem's inner product (F,)."""
    import numpy as np

    return np.asarray((one * other).sum(axis=(0, 2), dtype=np.float64))


def probabilities(logits: "np.ndarray") -> "np.ndarray":
    """Those of logits (N, F, K)."""
    import numpy as np

    if logits.shape[2] == 1:
        return np.asarray(1 / (1 + np.exp(np.minimum(-logits, 80))))
    odds = np.exp(logits - logits.max(axis=2, keepdims=True))
    return np.asarray(odds / odds.sum(axis=2, keepdims=True))


def _change_of_p(p: "np.ndarray", along: "np.ndarray") -> "np.ndarray":
    """The change of the probabilities p (N, F, K) along a change of logits."""
    import numpy as np

    mean = p * along if p.shape[2] == 1 else (p * along).sum(axis=2, keepdims=True)
    return np.asarray(p * (along - mean))


def _mean_curvature(p: "np.ndarray", weights: "np.ndarray") -> "np.ndarray":
    """Each problem's mean curvature (F,) of the loss of a row, over all rows."""
    import numpy as np

    return np.asarray(((p * (1 - p)).mean(axis=2) * weights).sum(axis=0, dtype=np.float64) / weights[:, -1].sum())


def losses(logits: "np.ndarray", onehot: "np.ndarray", weights: "np.ndarray") -> "np.ndarray":
    """Each problem's summed loss (F,)."""
    import numpy as np

    if logits.shape[2] == 1:
        z = logits[:, :, 0]
        lost = np.logaddexp(0, z) - onehot * z
    else:
        highest = logits.max(axis=2)
        lost = np.log(np.exp(logits - highest[:, :, None]).sum(axis=2)) + highest - (logits * onehot[:, None]).sum(2)
    return np.asarray((lost * weights).sum(axis=0, dtype=np.float64))
