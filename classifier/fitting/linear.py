"""A linear layer fitted in mini-batches, for caches that are larger than memory. N rows, D numbers each, C classes.

Rows are copied once, shuffled by their paths and not by when they were written, into a file without a name beside the
cache, or on this machine where that lies in a bucket; every epoch reads it from end to end. So the same cache gives the
same head, and memory holds a batch.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from petrieve.classifier import copies as near
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

BATCH = 1024
BLOCK = 8192
# Adam's rate: less whenever the held-out loss has not fallen for so many epochs, until it is below the last.
RATE, DECAY, PATIENCE, LAST_RATE = 3e-3, 0.3, 2, 1e-4
EPOCHS = 100
MOST_HELD_OUT = 10_000  # photos to stop by, and as many to measure on: accuracy to a point at least
STRENGTHS = (1.0, 10.0, 100.0, 1000.0)  # of L2, 1/C; all learn from the same pass, and early stopping does the rest
# Held-out photos are worth fitting on in the end, for as many epochs as were best without them, from this share on.
WORTH_FITTING = 0.05
SIZE = 2  # bytes of a number


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
        """Rows [start, end), or to the last one, float16."""
        import numpy as np

        rows = np.empty((min(end, len(self.targets)) - start, self.dimension), np.float16)
        self.file.seek(start * self.dimension * SIZE)
        self.file.readinto(rows.view(np.uint8).reshape(-1).data)  # type: ignore[attr-defined]
        return rows

    def read(self, start: int, end: int) -> "np.ndarray":
        """Rows [start, end), or to the last one, float32."""
        import numpy as np

        return self.halves(start, end).astype(np.float32)

    def blocks(self, first: int) -> "Iterator[tuple[int, np.ndarray]]":
        """The rows from `first` on, in blocks, each beside the place of its first."""
        for start in range(first, len(self.targets), BLOCK):
            yield start, self.read(start, start + BLOCK)


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
    one = plan(listed.labels, listed.splits, groups)
    roles = _roles(one.targets, groups, one.fitted_on, one.tested)
    with tempfile.TemporaryFile(dir=scratch(cache.store.path)) as file:
        rows = _shuffle(cache, listed, one.targets, groups, roles, file, balanced)
        mean, scale = _standard(rows)
        rows, alike = _apart(rows, mean.astype(np.float32), scale.astype(np.float32))
        train = partial(_train, rows, len(one.classes), place, mean, scale)
        test, stop = rows.read(0, rows.test), rows.read(rows.test, rows.stop)
        weight, bias, losses, best = train(rows.stop, STRENGTHS if l2 is None else (l2,))
        said = _nearest(rows, test, np.flatnonzero(~alike))
        given = bool(one.tested.any())
        fitted, first = (weight, bias), rows.stop
        if rows.stop - given * rows.test > WORTH_FITTING * len(rows.targets):
            rates = [one["rate"] for one in losses[: int(best["epoch"])]]
            first = rows.test if given else 0
            fitted = train(first, (best["l2"],), rates)[:2]
    truth = rows.targets[: rows.test]
    heat = calibrate.temperature(stop @ weight.T.astype(np.float32) + bias, rows.targets[rows.test : rows.stop])
    weight, bias = fitted if given else (weight, bias)  # with a split, the head itself has not seen what is measured
    logits = test @ weight.T.astype(np.float32) + bias
    kept = _pictures(rows, test, np.flatnonzero(~alike))
    every = np.concatenate([kept, _pictures(rows, test, np.flatnonzero(alike))])
    sizes = np.bincount(groups)
    said |= {
        "photos": int(np.isin(roles, (TRAIN, STOP, TEST)).sum()) - first,  # held-out photos have one row each
        "near_copies": int((sizes[groups] > 1).sum() + (alike & (sizes[rows.groups[: rows.test]] == 1)).sum()),
        "left_out": int(alike.sum()),
        "l2": best["l2"],
        "l2_grid": [],
        "epochs": losses,
        "evaluated_on": f"{'held-out split' if given else 'held-out photos'}, {len(kept)} photos",
        "accuracy_ungrouped": round(float((logits.argmax(axis=1) == truth)[every].mean()), 4),
    }
    shown = first_of[rows.groups[kept]]  # any photo of a content has its views
    averaged = _averaged(cache, listed, shown, weight.T.astype(np.float32) / heat, bias / heat)
    return one.classes, Fitted(*fitted, logits[kept], logits[kept] / heat, truth[kept], heat, said, averaged)


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


TRAIN, STOP, TEST, UNUSED = 0, 1, 2, 3


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


def _shuffle(
    cache: Cache,
    listed: Names,
    targets: "np.ndarray",
    groups: "np.ndarray",
    roles: "np.ndarray",
    file: IO[bytes],
    balanced: bool,
) -> Shuffled:
    """Write each row to its place in the file: those to measure on, those to stop by, then all training views."""
    import numpy as np

    views = listed.views + 1  # of each photo
    kept = np.where(roles == TRAIN, views, (roles == STOP) | (roles == TEST))
    owners = np.repeat(np.arange(len(kept)), kept)
    order = np.random.default_rng(SEED).permutation(len(owners))
    order = order[np.argsort(np.array([2, 1, 0])[roles[owners[order]]], kind="stable")]
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    first = np.cumsum(kept) - kept
    for photos, seen, rows in chunks(cache, listed):
        wanted = np.flatnonzero(seen < kept[photos])
        halves = rows[wanted].astype(np.float16)
        for row, where in zip(halves, place[first[photos[wanted]] + seen[wanted]].tolist(), strict=True):
            file.seek(where * cache.dimension * SIZE)
            file.write(row.tobytes())
    weights = 1 / kept[owners[order]]
    if balanced:
        counts = np.bincount(targets[roles == TRAIN], minlength=int(targets.max()) + 1)
        weights *= (counts.sum() / (len(counts) * np.maximum(counts, 1)))[targets[owners[order]]]
    stop, test = int((roles == STOP).sum()), int((roles == TEST).sum())
    of = owners[order]
    return Shuffled(file, targets[of], weights.astype(np.float32), groups[of], test, test + stop, cache.dimension)


def _standard(rows: Shuffled) -> "tuple[np.ndarray, np.ndarray]":
    """Mean and scale (D,) of the training rows, in one pass."""
    import numpy as np

    total, squares, count = np.zeros(rows.dimension), np.zeros(rows.dimension), 0
    for _, block in rows.blocks(rows.stop):
        total += block.sum(axis=0, dtype=np.float64)
        squares += np.einsum("nd,nd->d", block, block, dtype=np.float64)
        count += len(block)
    mean = total / count
    return mean, near.deviations(squares / count - mean**2)


def _apart(rows: Shuffled, mean: "np.ndarray", scale: "np.ndarray") -> "tuple[Shuffled, np.ndarray]":
    """The rows without near-copies across the splits, and which rows to measure on (T,) are to be left out for that.

    Photos to stop by that have a near-copy among the training rows become such rows; their copies follow.

    Raises:
        PetrieveError: no photo is left to stop by, or to measure on.
    """
    import numpy as np

    held = rows.read(0, rows.stop)
    test, stop = held[: rows.test], held[rows.test :]

    def standardise(block: "np.ndarray") -> "np.ndarray":
        return np.asarray((block - mean) / scale)

    alike = near.copied(held, (block for _, block in rows.blocks(rows.stop)), standardise)
    left_out, moved = alike[: rows.test] | near.copied(test, [stop], standardise), alike[rows.test :]
    new = moved
    while new.any():
        new = near.copied(stop, [stop[new]], standardise) & ~moved
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
    places = np.arange(len(rows.targets))
    places[rows.test : rows.stop] = rows.test + order
    stop_end = rows.stop - int(moved.sum())
    moved_rows = {name: getattr(rows, name)[places] for name in ("targets", "weights", "groups")}
    return replace(rows, **moved_rows, stop=stop_end), left_out


def _train(
    rows: Shuffled,
    classes: int,
    device: "torch.device",
    mean: "np.ndarray",
    scale: "np.ndarray",
    first: int,
    strengths: tuple[float, ...],
    rates: list[float] | None = None,
) -> "tuple[np.ndarray, np.ndarray, list[dict[str, float]], dict[str, float]]":
    """Weight (C, D) and bias (C,) for raw embeddings; the record of each epoch, and of the one they are of.

    Fitted on the rows from `first` on.

    Without `rates`, it is the epoch and the strength of L2 with the lowest loss on the photos to stop by; else the last
    of as many epochs.
    """
    import numpy as np
    import torch
    from torch.nn.functional import cross_entropy

    shift, shrink = (torch.from_numpy(part.astype(np.float32)).to(device) for part in (mean, 1 / scale))
    weight = torch.zeros(len(strengths), classes, rows.dimension, device=device, requires_grad=True)
    bias = torch.zeros(len(strengths), classes, device=device, requires_grad=True)
    optimiser = torch.optim.Adam([weight, bias], lr=RATE)
    total = float(rows.weights[first:].sum())
    penalty = torch.tensor(strengths, device=device) / 2 / total

    def losses_of(x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Of each row with each strength (n, S)."""
        own = weight * shrink  # the weights take the standardisation, so that the rows need none
        logits = (x @ own.flatten(0, 1).T).view(len(x), *own.shape[:2]) + (bias - own @ shift)
        return cross_entropy(logits.transpose(1, 2), targets[:, None].expand(-1, len(strengths)), reduction="none")

    to_stop_by = slice(rows.test, rows.stop if rates is None else rows.test)
    held_out = torch.from_numpy(rows.read(to_stop_by.start, to_stop_by.stop)).to(device)
    truth, counts = (torch.from_numpy(part[to_stop_by]).to(device) for part in (rows.targets, rows.weights))
    kept = weight[0], bias[0]  # as they are at the end, where nothing else is kept
    epochs, best, since, rate = list[dict[str, float]](), {"log_loss": float("inf")}, 0, RATE
    for epoch in range(EPOCHS if rates is None else len(rates)):
        rate = rate if rates is None else rates[epoch]
        optimiser.param_groups[0]["lr"] = rate
        for x, targets, share in _batches(rows, first, device):
            fit = share @ losses_of(x, targets) / share.sum()
            optimiser.zero_grad()
            (fit + penalty * weight.square().sum(dim=(1, 2))).sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        if rates is not None:
            continue
        with torch.no_grad():
            value, at = (counts @ losses_of(held_out, truth) / counts.sum()).min(dim=0)
        epochs.append({"epoch": epoch + 1, "rate": rate, "l2": strengths[at], "log_loss": round(float(value), 6)})
        if float(value) < best["log_loss"] - 1e-5:
            best, since, kept = epochs[-1], 0, (weight[at].detach().clone(), bias[at].detach().clone())
            continue
        since += 1
        if since == PATIENCE:
            rate, since = rate * DECAY, 0
        if rate < LAST_RATE:
            break
    found, free = (part.detach().cpu().double().numpy() for part in kept)
    found = found / scale
    return found, free - found @ mean, epochs, best


def _batches(
    rows: Shuffled, first: int, device: "torch.device"
) -> "Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]":
    """Embeddings (n, D) float32, which the next batch overwrites, classes (n,) and weights (n,), from `first` on."""
    import torch

    targets, weights = torch.from_numpy(rows.targets), torch.from_numpy(rows.weights)
    batch = torch.empty(BATCH, rows.dimension, device=device)  # one for all: new memory costs more than the arithmetic
    for start in range(first, len(targets), BATCH):
        halves = torch.from_numpy(rows.halves(start, start + BATCH)).to(device)
        own = slice(start, start + len(halves))
        yield batch[: len(halves)].copy_(halves), targets[own].to(device), weights[own].to(device)


def _nearest(rows: Shuffled, test: "np.ndarray", measured: "np.ndarray") -> dict[str, Any]:
    """Figures of the nearest training rows of the measured ones (M,) among the held-out photos (T, D)."""
    some = measured[:: 1 + len(measured) // familiar.SAMPLE]
    close, places = familiar.nearest(test[some], (block for _, block in rows.blocks(rows.stop)))
    return familiar.figures(close, rows.targets[rows.stop :][places], rows.targets[some])
