"""A head for caches that are larger than memory. N rows, D numbers each, C classes.

Rows are copied once, shuffled by their paths and not by when they were written, into a file without a name beside the
cache, or on this machine where that lies in a bucket; every pass reads it from end to end. So the same cache gives the
same head, and memory holds a sample and some blocks.
"""

import tempfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from petrieve.classifier import copies as near
from petrieve.classifier.cores import on_cores
from petrieve.classifier.figures import familiar
from petrieve.classifier.fitting import calibrate
from petrieve.classifier.fitting.sampled import stopped_early, trained_as_long
from petrieve.classifier.fitting.shuffled import BLOCK, SIZE, STOP, TEST, TRAIN, UNUSED, Shuffled, shuffled
from petrieve.classifier.fitting.split import FOLDS, SEED, grouped, pictures
from petrieve.classifier.head import softmax
from petrieve.classifier.labelled import Names, chunks, names
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError
from petrieve.store.linked import joined
from petrieve.store.near import scratch

if TYPE_CHECKING:
    import numpy as np

    from petrieve.classifier.fitting.split import Fitted

MOST_HELD_OUT = 10_000  # photos to stop by, and as many to measure on: accuracy to a point at least
# Of L2, 1/C: each begins where the one before has ended, and one pass over the file serves them all.
STRENGTHS = (1000.0, 100.0, 10.0, 1.0)
# Held-out photos are worth fitting on in the end, by as many passes as were best without them, from this share on.
WORTH_FITTING = 0.05


@dataclass(frozen=True, eq=False)
class Standard:
    """What standardises embeddings."""

    mean: "np.ndarray"  # float64 (D,)
    scale: "np.ndarray"  # float64 (D,)

    def __call__(self, rows: "np.ndarray") -> "np.ndarray":
        """Embeddings (N, D) float32, standardised."""
        import numpy as np

        return np.asarray((rows - self.mean.astype(np.float32)) / self.scale.astype(np.float32))


def fit_linear(cache: Cache, *, l2: float | None, balanced: bool) -> "tuple[list[str], Fitted]":
    """The classes of the labels in the cache, and a head for them that was stopped by its loss on held-out photos.

    Raises:
        PetrieveError: fewer than two classes with two photos.
    """
    import numpy as np

    from petrieve.classifier.fitting.split import Fitted, plan, warn_of_copies

    listed = names(cache)
    _, first_of, groups = np.unique(listed.digests, return_index=True, return_inverse=True)
    warn_of_copies(listed.paths, listed.labels, groups)
    split = plan(listed.labels, listed.splits, groups)
    given = bool(split.tested.any())
    roles = _roles(split.targets, groups, split.fitted_on, split.tested)
    with tempfile.TemporaryFile(dir=scratch(cache.store.path)) as file:
        rows = shuffled(cache, listed, roles, split.targets, groups, balanced, file)
        standard = _standard(rows)
        rows, copied = _apart(rows, standard)
        test, stop = rows.read(0, rows.test), rows.read(rows.test, rows.stop)
        trained = stopped = stopped_early(rows, len(split.classes), STRENGTHS if l2 is None else (l2,))
        report = _nearest(rows, test, np.flatnonzero(~copied))
        first = _first_fitted(rows, given)
        if first < rows.stop:
            trained = trained_as_long(rows, len(split.classes), first, stopped)
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
        "by_split": given,
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
    return places[pictures(rows.targets[places], joined(found, len(places)))]  # type: ignore[no-any-return]


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
            f'{len(places)} photos are too few to hold some out for `method="linear"`', 'use `method="logistic"`'
        )
    return roles


def _some(places: "np.ndarray", groups: "np.ndarray") -> "np.ndarray":
    """No more than can be held in memory, whole groups, drawn at random."""
    import numpy as np

    own = np.unique(groups[places])
    drawn = np.random.default_rng(SEED).permutation(own)[:MOST_HELD_OUT]
    return places[np.isin(groups[places], drawn)]


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
            'use `method="logistic"`, or embed other photos to measure on',
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


def _nearest(rows: Shuffled, test: "np.ndarray", measured: "np.ndarray") -> dict[str, Any]:
    """Figures of the nearest training rows of the measured ones (M,) among the held-out photos (T, D)."""
    some = measured[:: 1 + len(measured) // familiar.SAMPLE]
    close, places = familiar.nearest(test[some], map(rows.block, rows.training(BLOCK)))
    return familiar.figures(close, rows.targets[rows.stop :][places], rows.targets[some])
