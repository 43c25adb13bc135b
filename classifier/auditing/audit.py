"""Labelled photos → the same, those first whose label is most probably wrong, each with what speaks against it."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from classifier.auditing import alike, suspects
from classifier.fitting import logistic
from classifier.fitting.split import grouped
from classifier.head import softmax
from classifier.labelled import Labelled
from store.errors import PetrieveError

if TYPE_CHECKING:
    import numpy as np

    Remark = tuple[int, str, str]  # a photo's position, the kind of trouble, the reason

# Of L2 on standardised embeddings: wrong labels ask for more of it than a head that is to be used.
STRENGTHS = (1000.0, 316.0, 100.0, 31.6, 10.0)
KINDS = ("label", "conflict", "leak", "outlier")
# A leak or an outlier says nothing against the label: it stands behind those that are more probably wrong than right.
WORTH_A_LOOK = 0.5
SPLITS = ("train", "val", "test")  # of two near-copies, the one in the later split is to go


@dataclass(frozen=True)
class Finding:
    """A labelled photo (its path) and how probably something is wrong with it: `score`, 0 to 1.

    `kinds`: `label` (probably wrong), `conflict` (a near-copy is labelled otherwise), `leak` (a near-copy is in another
    split), `outlier` (unlike all others). A photo without any is in the list by its score alone.
    """

    photo: str
    label: str
    suggested: str | None
    reason: str
    score: float
    kinds: list[str]


@dataclass(frozen=True, eq=False)
class _Judged:
    """N photos and what is known of them; C classes, K neighbours."""

    photos: Labelled
    classes: "np.ndarray"  # (C,) text
    targets: "np.ndarray"  # (N,)
    head: "np.ndarray"  # (N, C) probabilities out of fold
    votes: "np.ndarray"  # (N, C) labels of the neighbours
    probabilities: "np.ndarray"  # (N, C) of head and votes together
    far: "np.ndarray"  # (N,) mean distance to the neighbours


def audit(photos: Labelled, *, name: Callable[[str], str] = str) -> list[Finding]:
    """The photos, worst first; in reasons, `name` says how a photo's path is written.

    Each is judged by a head that was fitted without it and its near-copies, and by its look-alikes' labels.

    Raises:
        PetrieveError: fewer than two classes have photos that are no near-copies.
    """
    judged = _judge(photos)
    remarks: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for found in (_wrong_labels(judged), _near_copies(judged, name), _outliers(judged)):
        for position, kind, reason in found:
            remarks[position].append((kind, reason))
    findings = [_finding(judged, position, remarks[position]) for position in range(len(photos))]
    return sorted(findings, key=lambda one: (-one.score, not one.kinds, one.photo))


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    """How many photos there are of each kind of finding."""
    found = Counter(kind for one in findings for kind in one.kinds)
    return {kind: found[kind] for kind in KINDS}


def _judge(photos: Labelled) -> _Judged:
    import numpy as np

    classes, targets = np.unique(photos.labels, return_inverse=True)
    if len(classes) < 2:
        raise PetrieveError(
            f"all {len(targets)} labelled photos are of one class, {str(classes[0])!r}: nothing can be compared",
            "embed photos of another class too",
        )
    groups = photos.groups
    _check(classes, targets, groups)
    head = out_of_fold(photos.embeddings, targets, groups)
    found, distances = alike.nearest(photos.embeddings)
    neighbours, far = alike.neighbours(found, distances, groups)
    votes = suspects.votes(neighbours, targets, len(classes))
    both = suspects.combined(head, votes, targets)
    return _Judged(photos, classes, targets, head, votes, both, suspects.mean_distance(far))


def out_of_fold(embeddings: "np.ndarray", targets: "np.ndarray", groups: "np.ndarray") -> "np.ndarray":
    """Each photo's probabilities (N, C) by a head that was fitted without it and its near-copies.

    Of embeddings (N, D), targets (N,) and groups (N,) of near-copies.
    """
    import numpy as np

    count = len(targets)
    folds = grouped(targets, groups)
    found = logistic.path(embeddings, targets, folds, weights=np.ones(count), measured=count, strengths=STRENGTHS)
    return softmax(found.logits)


def _check(classes: "np.ndarray", targets: "np.ndarray", groups: "np.ndarray") -> None:
    """Refuse what cannot be judged; say which classes are judged by the others alone."""
    import numpy as np

    pictures = np.array([len(np.unique(groups[targets == number])) for number in range(len(classes))])
    if (pictures > 1).sum() < 2:
        lone = str(classes[pictures == 1][0])
        raise PetrieveError(
            f"fewer than two classes have two different photos ({lone!r} has one): nothing can be compared",
            "embed more photos of each class",
        )
    for number in np.flatnonzero(pictures == 1):
        warnings.warn(
            f"class {str(classes[number])!r} has one photo; whether that is right, the others cannot say", stacklevel=2
        )


def _finding(judged: _Judged, position: int, remarks: list[tuple[str, str]]) -> Finding:
    target = judged.targets[position]
    best = int(judged.probabilities[position].argmax())
    score = 1 - float(judged.probabilities[position, target])
    other = str(judged.classes[best]) if best != target else None
    if not remarks:
        reason = _said(judged, position, best) if other else "nothing speaks against its label"
    else:
        score = max(score, WORTH_A_LOOK)
        reason = "; ".join(reason for _, reason in remarks)
    kinds = [kind for kind, _ in remarks]
    return Finding(judged.photos.paths[position], str(judged.classes[target]), other, reason, round(score, 6), kinds)


def _wrong_labels(judged: _Judged) -> "Iterator[Remark]":
    import numpy as np

    certain = suspects.confident(judged.probabilities, judged.targets)
    for position in np.flatnonzero((certain >= 0) & (certain != judged.targets)).tolist():
        yield position, "label", _said(judged, position, int(certain[position]))


def _said(judged: _Judged, position: int, other: int) -> str:
    """Who says that a photo is of another class."""
    probability, votes = float(judged.head[position, other]), judged.votes[position]
    label, alike = str(judged.classes[other]), int(votes.sum())
    return f"looks like {label}: {probability:.0%} by the head, {votes[other]:.0f} of {alike} look-alikes"


def _near_copies(judged: _Judged, name: Callable[[str], str]) -> "Iterator[Remark]":
    """Conflicts and leaks, each told once."""
    photos, told = judged.photos, set()
    for position, other in [*photos.copies.tolist(), *photos.copies[:, ::-1].tolist()]:
        kinds = []
        if photos.labels[position] != photos.labels[other]:
            kinds.append(("conflict", f"labelled {photos.labels[other]}"))
        if _later(photos.splits[position], photos.splits[other]):
            kinds.append(("leak", f"in {photos.splits[other]}"))
        for kind, what in kinds:
            if (position, kind) not in told:
                told.add((position, kind))
                same = photos.digests[position] == photos.digests[other]
                how = "the same file as" if same else "a near-copy of"
                yield position, kind, f"{how} {name(photos.paths[other])}, which is {what}"


def _later(split: str, other: str) -> bool:
    return split in SPLITS and other in SPLITS and SPLITS.index(split) > SPLITS.index(other)


def _outliers(judged: _Judged) -> "Iterator[Remark]":
    import numpy as np

    usual = 1 - float(np.nanmedian(judged.far))
    for position in np.flatnonzero(suspects.strange(judged.far)).tolist():
        cosine = 1 - float(judged.far[position])
        yield position, "outlier", f"unlike all others: cosine {cosine:.2f} to the nearest, usual is {usual:.2f}"
