"""Logistic regression on a file of rows, which memory need not hold. N rows, D numbers each, S strengths of L2.

Newton's method fits a sample of n rows in memory. A pass over the file then gives the gradient of the loss of all rows.
The sample's loss, weighed up to N rows, is tilted by a linear term until it has this gradient at this point: what is
left between the two is a difference of curvature, which is small where n is many times D. The minimum of the tilted
loss is the next point (Shamir, Srebro and Zhang 2014, "Communication-Efficient Distributed Optimization using an
Approximate Newton-type Method"; Jordan, Lee and Yang 2019, "Communication-Efficient Distributed Statistical
Inference"), mixed with those before it (Anderson 1965, "Iterative Procedures for Nonlinear Integral Equations").
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from petrieve.classifier.cores import on_cores
from petrieve.classifier.fitting import logistic
from petrieve.classifier.fitting.shuffled import BLOCK, Shuffled

if TYPE_CHECKING:
    import numpy as np

    Layer = tuple[np.ndarray, np.ndarray]  # weight (C, D) and bias (C,) for raw embeddings, float64

SAMPLE = 32_768  # rows in memory, 134 MB of 1,024 numbers: of a million, three passes end near the optimum
# Passes end after 12, or when one lowers the loss on the photos to stop by (nats) by less than GAIN: a tenth of what
# chance in a million training rows costs (D / 2N).
GAIN, PASSES = 5e-5, 12
FAR = 2  # A strength whose loss is so many times the lowest has no further pass.
FEW_PASSES = 3  # where the training rows needed none, and those with the held-out ones are more than the sample


@dataclass(frozen=True, eq=False)
class Trained:
    """A linear layer for raw embeddings, and how it was found."""

    weight: "np.ndarray"  # float64 (C, D)
    bias: "np.ndarray"  # float64 (C,)
    best: dict[str, float]  # the record that it is of
    epochs: list[dict[str, float]]  # of the sample alone, and of each pass: epoch, l2, log_loss

    def logits(self, rows: "np.ndarray") -> "np.ndarray":
        """Of embeddings (N, D): (N, C)."""
        return _logits((self.weight, self.bias), rows)


def stopped_early(rows: Shuffled, classes: int, strengths: tuple[float, ...]) -> Trained:
    """The layer with the lowest loss on the photos to stop by, of all passes over the training rows, and strengths."""
    import numpy as np

    own = slice(rows.test, rows.stop)
    held_out, targets, weights = rows.read(rows.test, rows.stop), rows.targets[own], rows.weights[own]
    sample = _sample(rows, classes, rows.stop)
    fits, records, lowest = _begun(sample, strengths), list[dict[str, float]](), float("inf")
    while True:
        layers = [logistic.raw(sample.inputs, fit.w[:, 0]) for fit in fits]
        losses = [np.average(logistic.loss_of(_logits(one, held_out), targets), weights=weights) for one in layers]
        at = int(np.argmin(losses))
        records.append({"epoch": len(records), "l2": fits[at].l2, "log_loss": round(float(losses[at]), 6)})
        gain, lowest = lowest - losses[at], min(lowest, losses[at])
        if gain > 0:
            layer, best = layers[at], records[-1]
        if gain < GAIN or len(records) > PASSES or sample.whole:
            return Trained(*layer, best, records)
        near = [fit for fit, loss in zip(fits, losses, strict=True) if loss <= FAR * lowest]
        fits = _moved(rows, classes, rows.stop, sample, near)


def trained_as_long(rows: Shuffled, classes: int, first: int, stopped: Trained) -> Trained:
    """A layer fitted on the rows from `first` on, with the other's strength and by as many passes."""
    sample = _sample(rows, classes, first)
    fits = _begun(sample, (stopped.best["l2"],))
    passes = int(stopped.best["epoch"]) if len(stopped.epochs) > 1 else FEW_PASSES
    for _ in range(0 if sample.whole else passes):
        fits = _moved(rows, classes, first, sample, fits)
    return Trained(*logistic.raw(sample.inputs, fits[0].w[:, 0]), stopped.best, stopped.epochs)


def _logits(layer: "Layer", rows: "np.ndarray") -> "np.ndarray":
    import numpy as np

    weight, bias = layer
    return np.asarray(rows @ weight.T.astype(np.float32) + bias)


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows in memory, n of N, that stand for all. K logits: one for two classes."""

    inputs: logistic.Inputs
    onehot: "np.ndarray"  # float32 (n, K)
    weights: "np.ndarray"  # float32 (n, 1), in sum those of all rows
    whole: bool  # it is all rows

    def minimum(self, w: "np.ndarray", l2: float, tilt: "np.ndarray | None" = None) -> "np.ndarray":
        """Where the tilted loss with the penalty is lowest (R + 1, 1, K), looked for from `w` on."""
        return logistic.newton(self.inputs, self.onehot, self.weights, l2, w, tilt)[0]

    def gradient(self, w: "np.ndarray") -> "np.ndarray":
        """That of the loss at `w` (R + 1, S, K), without the penalty's."""
        p = logistic.probabilities(logistic.times(self.inputs.rows, w))
        return logistic.times(self.inputs.rows.T, (p - self.onehot[:, None]) * self.weights[:, :, None])


@dataclass(frozen=True, eq=False)
class Fit:
    """One strength's way to the minimum of the loss of all rows."""

    l2: float
    w: "np.ndarray"  # (R + 1, 1, K)
    steps: "tuple[np.ndarray, ...]" = ()  # to the minima of the tilted losses, like `w`
    ends: "tuple[np.ndarray, ...]" = ()  # where these led to


def _sample(rows: Shuffled, classes: int, first: int) -> Sample:
    """The first rows from `first` on: they are shuffled."""
    import numpy as np

    own = slice(first, first + SAMPLE)
    weights = rows.weights[own] * (rows.weights[first:].sum(dtype=np.float64) / rows.weights[own].sum(dtype=np.float64))
    inputs = logistic.principal(rows.read(own.start, own.stop), weights)
    onehot = logistic.onehot(rows.targets[own], classes)
    return Sample(inputs, onehot, weights[:, None].astype(np.float32), len(onehot) == len(rows.targets) - first)


def _begun(sample: Sample, strengths: tuple[float, ...]) -> list[Fit]:
    """Each strength's minimum of the sample's loss, looked for from that of the strength before."""
    import numpy as np

    start = np.zeros((sample.inputs.rows.shape[1], 1, sample.onehot.shape[1]), np.float32)
    minima = list(accumulate(strengths, sample.minimum, initial=start))[1:]
    return [Fit(l2, w) for l2, w in zip(strengths, minima, strict=True)]


def _moved(rows: Shuffled, classes: int, first: int, sample: Sample, fits: list[Fit]) -> list[Fit]:
    """The fits after one more pass over all rows from `first` on."""
    import numpy as np

    w = np.concatenate([fit.w for fit in fits], axis=1)
    tilts = _gradient(rows, classes, first, sample.inputs, w) - sample.gradient(w)
    moved = []
    for place, fit in enumerate(fits):
        end = sample.minimum(fit.w, fit.l2, tilts[:, place : place + 1])
        steps, ends = (*fit.steps, end - fit.w), (*fit.ends, end)
        moved.append(Fit(fit.l2, _mixed(steps, ends, sample.inputs.squares), steps, ends))
    return moved


def _gradient(rows: Shuffled, classes: int, first: int, inputs: logistic.Inputs, w: "np.ndarray") -> "np.ndarray":
    """The gradient at `w` (R + 1, S, K) of the loss of all rows from `first` on, without the penalty's.

    `w` is applied to raw rows: to turn and standardise each of them costs more.
    """
    import numpy as np

    slopes = np.tensordot(inputs.back, w[:-1], 1)
    bias = (w[-1] - np.tensordot(inputs.mean, slopes, 1)).astype(np.float32)

    def sums(start: int) -> "tuple[np.ndarray, np.ndarray]":
        block = rows.block(start)
        own = slice(start, start + len(block))
        p = logistic.probabilities(logistic.times(block, slopes) + bias)
        error = (p - logistic.onehot(rows.targets[own], classes)[:, None]) * rows.weights[own, None, None]
        return logistic.times(block.T, error), error.sum(axis=0)

    by_row, by_bias = np.zeros(slopes.shape), np.zeros(bias.shape)
    for products, errors in on_cores(sums, range(first, len(rows.targets), BLOCK)):
        by_row += products
        by_bias += errors
    turned = np.tensordot(inputs.back.T, by_row - np.multiply.outer(inputs.mean, by_bias), 1)
    return np.concatenate([turned, by_bias[None]]).astype(np.float32)


def _mixed(steps: "tuple[np.ndarray, ...]", ends: "tuple[np.ndarray, ...]", squares: "np.ndarray") -> "np.ndarray":
    """The point (R + 1, 1, K) between the ends of P steps from which the next one would be shortest, were they linear.

    A step's length is measured by `squares` (R + 1,), the Hessian's diagonal but for a factor: by what it changes the
    loss.
    """
    import numpy as np

    each = np.stack(steps).astype(np.float64) * np.sqrt(squares)[:, None, None]
    flat = each.reshape(len(steps), -1)
    products = flat @ flat.T
    products += (1e-9 * np.trace(products) + 1e-30) * np.eye(len(steps))  # steps may be alike, or of no length
    shares = np.linalg.solve(products, np.ones(len(steps)))
    return np.tensordot(shares / shares.sum(), np.stack(ends), 1).astype(np.float32)
