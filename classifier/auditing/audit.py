"""Labelled photos → the same, ranked by how probably their label is wrong, each with the reasons against it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from petrieve.classifier.auditing import alike, suspects
from petrieve.classifier.fitting import logistic
from petrieve.classifier.fitting.split import grouped, to_fit_on
from petrieve.classifier.head import softmax
from petrieve.classifier.labelled import Labelled
from petrieve.store.errors import PetrieveError, listed, warn

if TYPE_CHECKING:
    import numpy as np

    # A photo's position, the kind of trouble, the reason, and the position of the copy that it has to do with.
    Remark = tuple[int, str, str, int | None]

# Strengths of L2 on standardised embeddings: wrong labels need more of it than a head that is to be used.
STRENGTHS = (1000.0, 316.0, 100.0, 31.6, 10.0)
FINDING_KINDS = ("label", "doubt", "conflict", "leak", "outlier")
# From this score on a label is called wrong. A leak, an outlier or the only photo of a class has this score: it does
# not speak against the label, so it stands after labels that are probably wrong.
WORTH_A_LOOK = 0.5
LISTED = 5  # labels in a message
SPLITS = ("train", "val", "test")  # of two near-copies, the one in the later split is the leak


@dataclass(frozen=True)
class Finding:
    """A labelled photo (its path) and how probably something is wrong with it: `score`, 0 to 1.

    `kinds`: `label` (more probably wrong than right), `doubt` (its label should be checked), `conflict` (a near-copy
    has another label), `leak` (a near-copy is in another split), `outlier` (unlike all others). A photo without a kind
    is ranked by its score alone. `copies` has the near-copy's path, by kind.
    """

    photo: str
    label: str
    suggested: str | None
    reason: str
    score: float
    kinds: list[str]
    copies: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where the photo is, as `path` of every answer has it."""
        return self.photo


@dataclass(frozen=True)
class Audited:
    """All labelled photos, the worst first, and about how many of their labels are wrong."""

    findings: list[Finding]
    expected_wrong: float


@dataclass(frozen=True, eq=False)
class _Judged:
    """N photos and how they were judged; C classes, K neighbours. Photos without a class have zeros."""

    photos: Labelled
    classes: "np.ndarray"  # (C,) text
    targets: "np.ndarray"  # (N,), -1 where the label is no class
    head: "np.ndarray"  # (N, C) probabilities out of fold
    votes: "np.ndarray"  # (N, C) labels of the neighbours
    probabilities: "np.ndarray"  # (N, C) of head and votes together
    wrong: "np.ndarray"  # (N,) how probably the label is
    doubted: "np.ndarray"  # (N,) booleans: another class is as certain as it is where it is right
    expected_wrong: float
    far: "np.ndarray"  # (N,) mean distance to the neighbours


def audit(photos: Labelled, *, name: Callable[[str], str] = str) -> Audited:
    """The finding of each photo, the worst first; `name` writes a photo's path in reasons.

    Each is judged by a head that was fitted without it and its near-copies, and by its look-alikes' labels. Labels that
    only held-out photos have, such as `unknown` of a test set, are not classes and are not judged.

    Raises:
        PetrieveError: fewer than two classes have photos that are not near-copies.
    """
    judged = _judge(photos)
    remarks: dict[int, list[tuple[str, str, int | None]]] = defaultdict(list)
    for found in (_wrong_labels(judged), _near_copies(judged, name), _outliers(judged)):
        for position, kind, reason, other in found:
            remarks[position].append((kind, reason, other))
    findings = [_finding(judged, position, remarks[position]) for position in range(len(photos))]
    order = sorted(
        range(len(photos)),
        key=lambda i: (-findings[i].score, not findings[i].kinds, -judged.wrong[i], findings[i].photo),
    )
    return Audited([findings[i] for i in order], round(judged.expected_wrong, 1))


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    """How many photos there are of each kind of finding."""
    found = Counter(kind for one in findings for kind in one.kinds)
    return {kind: found[kind] for kind in FINDING_KINDS}


def _judge(photos: Labelled) -> _Judged:
    import numpy as np

    classes, targets, groups = *_classes(photos), photos.groups
    alone = _check(classes, targets, groups)
    known, count = targets >= 0, len(photos)
    found, distances = alike.nearest(photos.embeddings)
    neighbours, far = alike.neighbours(found, distances, groups)
    votes = suspects.votes(np.where(known[neighbours], neighbours, -1), targets, len(classes))
    head, both = np.zeros((count, len(classes))), np.zeros((count, len(classes)))
    rows = photos.embeddings if known.all() else photos.embeddings[known]
    head[known] = out_of_fold(rows, targets[known], groups[known])
    both[known] = suspects.combined(head[known], votes[known], targets[known])
    told = known & ~alone[targets]
    wrong, doubted = np.where(known & ~told, WORTH_A_LOOK, 0.0), known & ~told
    wrong[told], expected = suspects.wrong(both[told], targets[told])
    certain = suspects.confident(both[told], targets[told])
    doubted[told] = (certain >= 0) & (certain != targets[told])
    return _Judged(photos, classes, targets, head, votes, both, wrong, doubted, expected, suspects.mean_distance(far))


def _classes(photos: Labelled) -> "tuple[np.ndarray, np.ndarray]":
    """The labels (C,) of photos that are not held out; and each photo's class (N,), -1 if it is not one of them."""
    import numpy as np

    classes = np.unique(photos.labels[to_fit_on(photos.splits) | (photos.splits == "")])
    known = np.isin(photos.labels, classes)
    if not known.all():
        others = listed([repr(one) for one in np.unique(photos.labels[~known]).tolist()], LISTED)
        warn(f"only held-out photos are labelled {others}: {(~known).sum()} not judged")
    return classes, np.where(known, np.searchsorted(classes, photos.labels), -1)


def out_of_fold(embeddings: "np.ndarray", targets: "np.ndarray", groups: "np.ndarray") -> "np.ndarray":
    """Each photo's probabilities (N, C) by a head that was fitted without it and its near-copies.

    Of embeddings (N, D), targets (N,) and groups (N,) of near-copies.
    """
    import numpy as np

    count = len(targets)
    folds = grouped(targets, groups)
    found = logistic.path(embeddings, targets, folds, weights=np.ones(count), measured=count, strengths=STRENGTHS)
    return softmax(found.logits)


def _check(classes: "np.ndarray", targets: "np.ndarray", groups: "np.ndarray") -> "np.ndarray":
    """Which classes (C,) have one photo, with a warning of each; refuses photos that cannot be judged."""
    import numpy as np

    if len(classes) < 2:
        raise PetrieveError(
            f"all {(targets >= 0).sum()} labelled photos are of one class, {str(classes[0])!r}: "
            "nothing can be compared",
            "embed photos of another class too",
        )
    pictures = np.array([len(np.unique(groups[targets == number])) for number in range(len(classes))])
    if (pictures > 1).sum() < 2:
        lone = str(classes[pictures == 1][0])
        raise PetrieveError(
            f"fewer than two classes have two different photos ({lone!r} has one): nothing can be compared",
            "embed more photos of each class",
        )
    for number in np.flatnonzero(pictures == 1):
        warn(f"class {str(classes[number])!r} has one photo; whether that is right, the others cannot say")
    return np.asarray(pictures == 1)


def _finding(judged: _Judged, position: int, remarks: "list[tuple[str, str, int | None]]") -> Finding:
    target, score = judged.targets[position], float(judged.wrong[position])
    best = int(judged.probabilities[position].argmax())
    other = str(judged.classes[best]) if best != target >= 0 else None
    if remarks:
        reason = "; ".join(reason for _, reason, _ in remarks)
    elif other:
        reason = _said(judged, position, best)
    else:
        reason = "nothing speaks against its label" if target >= 0 else "no photo to train with has its label"
    kinds = [kind for kind, _, _ in remarks]
    copies = {kind: judged.photos.paths[other] for kind, _, other in remarks if other is not None}
    if set(kinds) - {"doubt"}:
        score = max(score, WORTH_A_LOOK)
    label, path = str(judged.photos.labels[position]), judged.photos.paths[position]
    return Finding(path, label, other, reason, round(score, 6), kinds, copies)


def _wrong_labels(judged: _Judged) -> "Iterator[Remark]":
    import numpy as np

    wrong = judged.wrong > WORTH_A_LOOK
    for position in np.flatnonzero(wrong | judged.doubted).tolist():
        kind = "label" if wrong[position] else "doubt"
        yield position, kind, _said(judged, position, _instead(judged, position)), None


def _instead(judged: _Judged, position: int) -> int:
    """The class, other than its label's, that a photo most probably is of."""
    import numpy as np

    others = judged.probabilities[position].copy()
    others[judged.targets[position]] = -1
    return int(np.argmax(others))


def _said(judged: _Judged, position: int, other: int) -> str:
    """Who says that a photo is of another class."""
    probability, votes = float(judged.head[position, other]), judged.votes[position]
    label, alike = str(judged.classes[other]), int(votes.sum())
    return f"looks like {label}: {probability:.0%} by the head, {votes[other]:.0f} of {alike} look-alikes"


def _near_copies(judged: _Judged, name: Callable[[str], str]) -> "Iterator[Remark]":
    """Conflicts and leaks, each once."""
    photos, told = judged.photos, set()
    for position, other in [*photos.copies.tolist(), *photos.copies[:, ::-1].tolist()]:
        kinds = []
        judgeable = min(judged.targets[position], judged.targets[other]) >= 0
        if judgeable and photos.labels[position] != photos.labels[other]:
            kinds.append(("conflict", f"labelled {photos.labels[other]}"))
        if _later(photos.splits[position], photos.splits[other]):
            kinds.append(("leak", f"in {photos.splits[other]}"))
        for kind, what in kinds:
            if (position, kind) not in told:
                told.add((position, kind))
                same = photos.digests[position] == photos.digests[other]
                how = "the same file as" if same else "a near-copy of"
                yield position, kind, f"{how} {name(photos.paths[other])}, which is {what}", other


def _later(split: str, other: str) -> bool:
    return split in SPLITS and other in SPLITS and SPLITS.index(split) > SPLITS.index(other)


def _outliers(judged: _Judged) -> "Iterator[Remark]":
    import numpy as np

    usual = 1 - float(np.nanmedian(judged.far))
    for position in np.flatnonzero(suspects.strange(judged.far)).tolist():
        cosine = 1 - float(judged.far[position])
        yield position, "outlier", f"unlike all others: cosine {cosine:.2f} to the nearest, usual is {usual:.2f}", None
