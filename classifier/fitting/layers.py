"""Linear layers that learn from batches of a file of rows. N rows, D numbers each, C classes, S strengths of L2."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING

from petrieve.classifier.cores import on_cores
from petrieve.classifier.fitting.shuffled import Shuffled

if TYPE_CHECKING:
    import numpy as np
    import torch

    Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # embeddings (n, D) float32, classes (n,), weights (n,)

BATCH = 1024
# Adam's rate: less whenever the held-out loss has not fallen for so many epochs, or for one of so many steps, until the
# rate is below the last.
RATE, DECAY, PATIENCE, MANY_STEPS, LAST_RATE = 3e-3, 0.3, 2, 500, 1e-4
EPOCHS = 100


@dataclass(frozen=True, eq=False)
class Standard:
    """What standardises embeddings."""

    mean: "np.ndarray"  # float64 (D,)
    scale: "np.ndarray"  # float64 (D,)

    def __call__(self, rows: "np.ndarray") -> "np.ndarray":
        """Embeddings (N, D) float32, standardised."""
        import numpy as np

        return np.asarray((rows - self.mean.astype(np.float32)) / self.scale.astype(np.float32))


@dataclass(frozen=True, eq=False)
class Trained:
    """A linear layer for raw embeddings, and how it was found."""

    weight: "np.ndarray"  # float64 (C, D)
    bias: "np.ndarray"  # float64 (C,)
    best: dict[str, float]  # the record of the epoch that it is of
    epochs: list[dict[str, float]]  # the records of all

    def logits(self, rows: "np.ndarray") -> "np.ndarray":
        """Of embeddings (N, D): (N, C)."""
        import numpy as np

        return np.asarray(rows @ self.weight.T.astype(np.float32) + self.bias)


@dataclass(frozen=True, eq=False)
class Layers:
    """S linear layers on standardised embeddings, one for each strength of L2, which learn from the same batches.

    With logits z = W (x - mean) / scale + b, the loss of a batch is the mean over its rows, by their weights, of
    -log softmax(z)[target], plus l2 |W|² / 2 divided by the weight of all rows. Its derivative by z is
    e = (softmax(z) - onehot(target)) · weight / weight of the batch; that by b is the sum of e over the rows, that by W
    (Σ e x - Σ e mean) / scale, plus the penalty's. W / scale is applied to raw rows: to standardise them costs more.
    Of two classes, W and b of the first are those of the second with the other sign, since all begin at zero.
    """

    parameters: "torch.Tensor"  # (S, C, D + 1): W, and b as the last column; of two classes those of the second
    mean: "torch.Tensor"  # (D,)
    shrink: "torch.Tensor"  # (D,) 1 / scale
    penalty: "torch.Tensor"  # (S, 1, 1) l2, divided by the weight of all rows
    optimiser: "torch.optim.Optimizer"

    @staticmethod
    def zeros(
        rows: Shuffled,
        standard: Standard,
        classes: int,
        device: "torch.device",
        first: int,
        strengths: tuple[float, ...],
    ) -> "Layers":
        """Layers that have not learnt yet, for the rows from `first` on."""
        import numpy as np
        import torch

        mean, shrink = (
            torch.from_numpy(part.astype(np.float32)).to(device) for part in (standard.mean, 1 / standard.scale)
        )
        parameters = torch.zeros(len(strengths), classes if classes > 2 else 1, rows.dimension + 1, device=device)
        penalty = torch.tensor(strengths, device=device)[:, None, None] / float(rows.weights[first:].sum())
        return Layers(parameters, mean, shrink, penalty, torch.optim.Adam([parameters], lr=RATE))

    def logits(self, x: "torch.Tensor") -> "torch.Tensor":
        """Of raw embeddings (n, D): (S, C, n)."""
        import torch

        weight = self.parameters[..., :-1] * self.shrink
        bias = self.parameters[..., -1] - weight @ self.mean
        found = (weight.flatten(0, 1) @ x.T).view(*weight.shape[:2], len(x)) + bias[..., None]
        return torch.cat([-found, found], dim=1) if weight.shape[1] == 1 else found

    def learn(self, batches: "Iterable[Batch]", rate: float) -> None:
        """A step of Adam for each batch."""
        self.optimiser.param_groups[0]["lr"] = rate
        for x, targets, weights in batches:
            self.parameters.grad = self._gradient(x, targets, weights)
            self.optimiser.step()

    def _gradient(self, x: "torch.Tensor", targets: "torch.Tensor", weights: "torch.Tensor") -> "torch.Tensor":
        import torch

        error = self.logits(x).softmax(dim=1)
        error[:, targets, torch.arange(len(x), device=x.device)] -= 1
        error = error[:, -self.parameters.shape[1] :] * (weights / weights.sum())
        by_bias = error.sum(dim=2, keepdim=True)
        by_weight = ((error.flatten(0, 1) @ x).view(*error.shape[:2], -1) - by_bias * self.mean) * self.shrink
        return torch.cat([by_weight + self.penalty * self.parameters[..., :-1], by_bias], dim=2)

    def losses(self, x: "torch.Tensor", targets: "torch.Tensor", weights: "torch.Tensor") -> "torch.Tensor":
        """The mean loss with each strength (S,) of raw embeddings (n, D), by their weights (n,)."""
        from torch.nn.functional import cross_entropy

        lost = cross_entropy(self.logits(x), targets.expand(len(self.parameters), -1), reduction="none")
        return lost @ weights / weights.sum()


def stopped_early(
    rows: Shuffled, standard: Standard, classes: int, device: "torch.device", strengths: tuple[float, ...]
) -> Trained:
    """The layer with the lowest loss on the photos to stop by: of all epochs over the training rows, and strengths."""
    layers = Layers.zeros(rows, standard, classes, device, rows.stop, strengths)
    held_out = _batch(rows, device, rows.test, rows.stop)
    best, kept = {"log_loss": float("inf")}, layers.parameters[0]
    records, rate, since = list[dict[str, float]](), RATE, 0
    patience = PATIENCE if len(rows.training(BATCH)) < MANY_STEPS else 1
    with closing(_epochs(rows, device, rows.stop, EPOCHS)) as epochs:
        for batches in epochs:
            layers.learn(batches, rate)
            value, at = layers.losses(*held_out).min(dim=0)
            loss, l2 = float(value), strengths[int(at)]
            records.append({"epoch": len(records) + 1, "rate": rate, "l2": l2, "log_loss": round(loss, 6)})
            if loss < best["log_loss"] - 1e-5:
                best, since, kept = records[-1], 0, layers.parameters[at].clone()
                continue
            since += 1
            if since == patience:
                rate, since = rate * DECAY, 0
            if rate < LAST_RATE:
                break
    return _trained(kept, standard, best, records)


def trained_as_long(
    rows: Shuffled, standard: Standard, classes: int, device: "torch.device", first: int, stopped: Trained
) -> Trained:
    """A layer that learns from the rows from `first` on as the other did until its best epoch."""
    layers = Layers.zeros(rows, standard, classes, device, first, (stopped.best["l2"],))
    rates = [record["rate"] for record in stopped.epochs[: int(stopped.best["epoch"])]]
    for batches, rate in zip(_epochs(rows, device, first, len(rates)), rates, strict=True):
        layers.learn(batches, rate)
    return _trained(layers.parameters[0], standard, stopped.best, stopped.epochs)


def _trained(
    parameters: "torch.Tensor", standard: Standard, best: dict[str, float], records: list[dict[str, float]]
) -> Trained:
    """A layer's parameters (C, D + 1) for raw embeddings: the standardisation is folded into them."""
    import numpy as np

    found = parameters.cpu().double().numpy()
    found = np.concatenate([-found, found]) if len(found) == 1 else found
    weight = found[:, :-1] / standard.scale
    return Trained(weight, found[:, -1] - weight @ standard.mean, best, records)


def _epochs(rows: Shuffled, device: "torch.device", first: int, count: int) -> "Generator[Iterator[Batch], None, None]":
    """The batches of each epoch, from row `first` to the last one. They are read ahead, beyond the end of an epoch."""
    import torch

    starts = range(first, len(rows.targets), BATCH)
    read = partial(_batch, rows, device)
    shared = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that share so small a product wait for each other
    try:
        with closing(on_cores(read, chain.from_iterable(repeat(starts, count)))) as batches:
            for _ in range(count):
                yield islice(batches, len(starts))
    finally:
        torch.set_num_threads(shared)


def _batch(rows: Shuffled, device: "torch.device", start: int, end: int | None = None) -> "Batch":
    """A batch of rows from `start` on, or those to `end`."""
    import torch

    own = slice(start, start + BATCH if end is None else end)
    x = torch.from_numpy(rows.halves(own.start, own.stop)).to(device).float()
    return x, torch.from_numpy(rows.targets[own]).to(device), torch.from_numpy(rows.weights[own]).to(device)
