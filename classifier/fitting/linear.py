"""A linear layer fitted in mini-batches, for caches that are larger than memory. N rows, D numbers each, C classes.

Rows are copied once, shuffled by their paths and not by when they were written, into a file without a name beside the
cache, or on this machine where that lies in a bucket; every epoch reads it from end to end. So the same cache gives the
same head, and memory holds a batch.
"""

import os
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice, repeat
from typing import IO, TYPE_CHECKING, Any

from petrieve.classifier import copies as near
from petrieve.classifier.cores import on_cores
from petrieve.classifier.figures import familiar
from petrieve.classifier.fitting import calibrate
from petrieve.classifier.fitting.split import FOLDS, SEED, grouped, pictures
from petrieve.classifier.head import softmax
from petrieve.classifier.labelled import Names, chunks, names
from petrieve.extractor.trunks import device as devices
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError
from petrieve.store.near import scratch

if TYPE_CHECKING:
    import numpy as np
    import torch

    from petrieve.classifier.fitting.split import Fitted

    Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # embeddings (n, D) float32, classes (n,), weights (n,)

BATCH = 1024
BLOCK = 2048  # rows that a core takes at a time where nothing is learnt from them: 8 MB in float32
# Adam's rate: less whenever the held-out loss has not fallen for so many epochs, or for one of so many steps, until the
# rate is below the last.
RATE, DECAY, PATIENCE, MANY_STEPS, LAST_RATE = 3e-3, 0.3, 2, 500, 1e-4
EPOCHS = 100
MOST_HELD_OUT = 10_000  # photos to stop by, and as many to measure on: accuracy to a point at least
STRENGTHS = (1.0, 10.0, 100.0, 1000.0)  # of L2, 1/C; all learn from the same pass, and early stopping does the rest
# Held-out photos are worth fitting on in the end, for as many epochs as were best without them, from this share on.
WORTH_FITTING = 0.05
SIZE = 2  # bytes of a number
TRAIN, STOP, TEST, UNUSED = 0, 1, 2, 3  # what a photo is for


@dataclass(frozen=True, eq=False)
class Shuffled:
    """Rows in a file: of the photos to measure on, of those to stop by, and the training rows behind them."""

    file: IO[bytes]
    targets: "np.ndarray"  # (N,) of each row in the file
    weights: "np.ndarray"  # (N,) float32
    groups: "np.ndarray"  # (N,) those of the same bytes share a number
    test: int  # rows [0, test) are measured on
    stop: int  # rows [test, stop) decide when to stop
    dimension: int  # numbers of a row

    def halves(self, start: int, end: int) -> "np.ndarray":
        """Rows [start, end), or to the last one, float16. Several threads may ask at once."""
        import numpy as np

        rows = np.empty((max(0, min(end, len(self.targets)) - start), self.dimension), np.float16)
        os.preadv(self.file.fileno(), [rows.view(np.uint8).reshape(-1).data], start * self.dimension * SIZE)
        return rows

    def read(self, start: int, end: int) -> "np.ndarray":
        """Rows [start, end), or to the last one, float32."""
        import numpy as np

        return self.halves(start, end).astype(np.float32)

    def block(self, start: int) -> "np.ndarray":
        """A block of rows from `start` on, float32."""
        return self.read(start, start + BLOCK)

    def training(self, step: int) -> range:
        """Where each block of `step` training rows begins."""
        return range(self.stop, len(self.targets), step)


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


def fit_linear(cache: Cache, *, l2: float | None, balanced: bool, device: str) -> "tuple[list[str], Fitted]":
    """The classes of the labels in the cache, and a head for them that was stopped by its loss on held-out photos.

    Raises:
        PetrieveError: no such device, or fewer than two classes with two photos.
    """
    import numpy as np

    from petrieve.classifier.fitting.split import Fitted, plan, warn_of_copies

    place = devices.named(device)
    listed = names(cache)
    _, first_of, groups = np.unique(listed.digests, return_index=True, return_inverse=True)
    warn_of_copies(listed.paths, listed.labels, groups)
    split = plan(listed.labels, listed.splits, groups)
    given = bool(split.tested.any())
    roles = _roles(split.targets, groups, split.fitted_on, split.tested)
    with tempfile.TemporaryFile(dir=scratch(cache.store.path)) as file:
        rows = _shuffled(cache, listed, roles, split.targets, groups, balanced, file)
        standard = _standard(rows)
        rows, copied = _apart(rows, standard)
        test, stop = rows.read(0, rows.test), rows.read(rows.test, rows.stop)
        fixed = rows, standard, len(split.classes), place
        trained = stopped = _stopped_early(*fixed, STRENGTHS if l2 is None else (l2,))
        report = _nearest(rows, test, np.flatnonzero(~copied))
        first = _first_fitted(rows, given)
        if first < rows.stop:
            trained = _trained_as_long(*fixed, first, stopped)
    truth = rows.targets[: rows.test]
    temperature = calibrate.temperature(stopped.logits(stop), rows.targets[rows.test : rows.stop])
    measured = trained if given else stopped  # with a split, the head itself has not seen what is measured
    logits = measured.logits(test)
    kept = _pictures(rows, test, np.flatnonzero(~copied))
    every = np.concatenate([kept, _pictures(rows, test, np.flatnonzero(copied))])
    sizes = np.bincount(groups)
    report |= {
        "photos": int((roles != UNUSED).sum()) - first,  # held-out photos have one row each
        "near_copies": int((sizes[groups] > 1).sum() + (copied & (sizes[rows.groups[: rows.test]] == 1)).sum()),
        "left_out": int(copied.sum()),
        "l2": stopped.best["l2"],
        "l2_grid": [],
        "epochs": stopped.epochs,
        "evaluated_on": f"{'held-out split' if given else 'held-out photos'}, {len(kept)} photos",
        "accuracy_ungrouped": round(float((logits.argmax(axis=1) == truth)[every].mean()), 4),
    }
    shown = first_of[rows.groups[kept]]  # any photo of a content has its views
    calibrated = measured.weight.T.astype(np.float32) / temperature, measured.bias / temperature
    averaged = _averaged(cache, listed, shown, *calibrated)
    before = logits[kept]
    return split.classes, Fitted(
        trained.weight, trained.bias, before, before / temperature, truth[kept], temperature, report, averaged
    )


def _first_fitted(rows: Shuffled, given: bool) -> int:
    """The first row that the head is fitted on in the end: held-out photos too, where they are worth it."""
    first = rows.test if given else 0
    return first if rows.stop - first > WORTH_FITTING * len(rows.targets) else rows.stop


def _averaged(
    cache: Cache, listed: Names, places: "np.ndarray", weight: "np.ndarray", bias: "np.ndarray"
) -> "list[np.ndarray]":
    """The probabilities (P, C) of photos at these places (P,), averaged over one augmented view too, then over two.

    And so on, for as many views as all have; by a calibrated head's `weight` (D, C) and `bias` (C,).
    """
    import numpy as np

    count = 1 + int(listed.views[places].min())
    if count == 1:
        return []
    position = np.full(len(listed.paths), -1)
    position[places] = np.arange(len(places))
    found = np.empty((count, len(places), len(bias)))
    for photos, seen, rows in chunks(cache, listed):
        wanted = np.flatnonzero((position[photos] >= 0) & (seen < count))
        found[seen[wanted], position[photos[wanted]]] = softmax(rows[wanted] @ weight + bias)
    return list(np.cumsum(found, axis=0)[1:] / np.arange(2, count + 1)[:, None, None])


def _pictures(rows: Shuffled, test: "np.ndarray", places: "np.ndarray") -> "np.ndarray":
    """The first photo of each picture at these places among the held-out photos (T, D)."""
    if not len(places):
        return places
    found = near.pairs(test[places], rows.groups[places])
    return places[pictures(rows.targets[places], near.joined(found, len(places)))]  # type: ignore[no-any-return]


def _roles(targets: "np.ndarray", groups: "np.ndarray", fitted_on: "np.ndarray", tested: "np.ndarray") -> "np.ndarray":
    """What each photo is for (N,): copies of one file are for the same, or for nothing."""
    import numpy as np

    roles = np.full(len(targets), UNUSED)
    places = np.flatnonzero(fitted_on)
    folds = grouped(targets[places], groups[places], FOLDS)  # the largest groups are in the first, and to fit on
    roles[places] = TRAIN
    roles[_some(places[folds == 2], groups)] = STOP
    roles[_some(np.flatnonzero(tested) if tested.any() else places[folds == 1], groups)] = TEST
    roles[(roles == TEST) & np.isin(groups, groups[(roles == TRAIN) | (roles == STOP)])] = UNUSED
    if not (roles == STOP).any() or not (roles == TEST).any():
        raise PetrieveError(
            f"{len(places)} photos are too few to hold some out for `--method linear`", "use `--method logistic`"
        )
    return roles


def _some(places: "np.ndarray", groups: "np.ndarray") -> "np.ndarray":
    """No more than can be held in memory, whole groups, drawn at random."""
    import numpy as np

    own = np.unique(groups[places])
    drawn = np.random.default_rng(SEED).permutation(own)[:MOST_HELD_OUT]
    return places[np.isin(groups[places], drawn)]


def _shuffled(
    cache: Cache,
    listed: Names,
    roles: "np.ndarray",
    targets: "np.ndarray",
    groups: "np.ndarray",
    balanced: bool,
    file: IO[bytes],
) -> Shuffled:
    """The rows in the file, each at its place: those to measure on, those to stop by, then all training views.

    A photo has as many rows as it has views, and they share its weight of 1; a held-out one has its canonical view.
    """
    import numpy as np

    counts = np.where(roles == TRAIN, listed.views + 1, (roles == STOP) | (roles == TEST))
    owners = np.repeat(np.arange(len(counts)), counts)  # of each row, by photo and view
    order = np.random.default_rng(SEED).permutation(len(owners))
    order = order[np.argsort(np.array([2, 1, 0])[roles[owners[order]]], kind="stable")]
    owners = owners[order]
    _write(cache, listed, counts, np.argsort(order), file)
    weights = 1 / counts[owners]
    if balanced:
        sizes = np.bincount(targets[roles == TRAIN], minlength=int(targets.max()) + 1)
        weights *= (sizes.sum() / (len(sizes) * np.maximum(sizes, 1)))[targets[owners]]
    test = int((roles == TEST).sum())
    stop = test + int((roles == STOP).sum())
    return Shuffled(file, targets[owners], weights.astype(np.float32), groups[owners], test, stop, cache.dimension)


def _write(cache: Cache, listed: Names, counts: "np.ndarray", places: "np.ndarray", file: IO[bytes]) -> None:
    """Write the first views of each photo, as many as `counts` (N,) says, to their places in the file.

    `places` are those of the rows, ordered by photo and view.
    """
    import numpy as np

    first, size = np.cumsum(counts) - counts, cache.dimension * SIZE

    def write(found: "tuple[np.ndarray, np.ndarray, np.ndarray]") -> None:
        photos, views, rows = found
        wanted = np.flatnonzero(views < counts[photos])
        at = places[first[photos[wanted]] + views[wanted]] * size
        for row, start in zip(rows[wanted].astype(np.float16), at.tolist(), strict=True):
            written = os.pwrite(file.fileno(), row.data, start)
            while written < size:  # a disk that is nearly full takes a part, and the next call says so
                written += os.pwrite(file.fileno(), row.tobytes()[written:], start + written)

    for _ in on_cores(write, chunks(cache, listed)):
        pass


def _standard(rows: Shuffled) -> Standard:
    """Mean and scale of the training rows, in one pass."""
    import numpy as np

    def sums(start: int) -> "np.ndarray":
        block = rows.block(start)
        return np.stack([block.sum(axis=0, dtype=np.float64), np.einsum("nd,nd->d", block, block, dtype=np.float64)])

    total = sum(on_cores(sums, rows.training(BLOCK)), np.zeros((2, rows.dimension)))
    mean, squares = total / (len(rows.targets) - rows.stop)
    return Standard(mean, near.deviations(squares - mean**2))


def _apart(rows: Shuffled, standard: Standard) -> "tuple[Shuffled, np.ndarray]":
    """The rows without near-copies across the splits, and which rows to measure on (T,) are to be left out for that.

    Photos to stop by that have a near-copy among the training rows become such rows; their copies follow.

    Raises:
        PetrieveError: no photo is left to stop by, or to measure on.
    """
    import numpy as np

    held = standard(rows.read(0, rows.stop))
    test, stop = held[: rows.test], held[rows.test :]
    alike = near.copied(held, rows.training(BLOCK), lambda start: standard(rows.block(start)))
    left_out, moved = alike[: rows.test] | near.copied(test, [stop], np.asarray), alike[rows.test :]
    new = moved
    while new.any():
        new = near.copied(stop, [stop[new]], np.asarray) & ~moved
        moved = moved | new
    if left_out.all() or moved.all():
        held_out = f"all {len(test)} held-out photos" if left_out.all() else f"all {len(stop)} photos to stop by"
        raise PetrieveError(
            f"{held_out} are near-copies of training photos: nothing can be measured",
            "use `--method logistic`, or embed other photos to measure on",
        )
    order = np.argsort(moved, kind="stable")
    halves = rows.halves(rows.test, rows.stop)
    rows.file.seek(rows.test * rows.dimension * SIZE)
    rows.file.write(halves[order].tobytes())
    rows.file.flush()
    places = np.arange(len(rows.targets))
    places[rows.test : rows.stop] = rows.test + order
    stop_end = rows.stop - int(moved.sum())
    moved_rows = {name: getattr(rows, name)[places] for name in ("targets", "weights", "groups")}
    return replace(rows, **moved_rows, stop=stop_end), left_out


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


def _stopped_early(
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


def _trained_as_long(
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


def _nearest(rows: Shuffled, test: "np.ndarray", measured: "np.ndarray") -> dict[str, Any]:
    """Figures of the nearest training rows of the measured ones (M,) among the held-out photos (T, D)."""
    some = measured[:: 1 + len(measured) // familiar.SAMPLE]
    close, places = familiar.nearest(test[some], map(rows.block, rows.training(BLOCK)))
    return familiar.figures(close, rows.targets[rows.stop :][places], rows.targets[some])
