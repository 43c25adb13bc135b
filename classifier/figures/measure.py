"""How good probabilities are: figures of predictions beside the truth. N photos, C classes."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

BINS = 15  # of the reliability diagram: Guo et al. 2017, "On Calibration of Modern Neural Networks"
Z = 1.96  # 95 %


def accuracy_interval(correct: "np.ndarray") -> list[float]:
    """Wilson's 95 % interval for the accuracy, of (N,) booleans."""
    n, share = len(correct), float(correct.mean())
    middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * (share * (1 - share) / n + Z * Z / (4 * n * n)) ** 0.5
    return [round(middle - half, 4), round(middle + half, 4)]


def log_loss(probabilities: "np.ndarray", targets: "np.ndarray") -> float:
    """The mean of -log of the true class's probability, in nats."""
    import numpy as np

    given = probabilities[np.arange(len(targets)), targets]
    return float(-np.log(np.maximum(given, np.finfo(np.float64).tiny)).mean())


def per_class(confusion: "np.ndarray", classes: list[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of each class; what is undefined is 0."""
    import numpy as np

    right, support, said = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall = right / np.maximum(said, 1), right / np.maximum(support, 1)
    f1 = 2 * right / np.maximum(said + support, 1)
    rows = zip(classes, precision.tolist(), recall.tolist(), f1.tolist(), support.tolist(), strict=True)
    return [
        {"label": label, "precision": round(p, 4), "recall": round(r, 4), "f1": round(f, 4), "support": n}
        for label, p, r, f, n in rows
    ]


def confusion(targets: "np.ndarray", predicted: "np.ndarray", classes: int) -> "np.ndarray":
    """How many photos of each class (row) were taken for which (column): (C, C)."""
    import numpy as np

    return np.bincount(targets * classes + predicted, minlength=classes**2).reshape(classes, classes)


def roc_auc(probabilities: "np.ndarray", targets: "np.ndarray") -> float | None:
    """The mean over the classes of the area under the ROC curve of one against the rest; None without two classes."""
    import numpy as np

    areas = []
    for number in np.unique(targets):
        own = targets == number
        many, few = int((~own).sum()), int(own.sum())
        if many:
            ranks = _ranks(probabilities[:, number])
            areas.append((ranks[own].sum() - few * (few + 1) / 2) / (few * many))
    return round(float(np.mean(areas)), 4) if areas else None


def _ranks(numbers: "np.ndarray") -> "np.ndarray":
    """Each number's rank, from 1; equal ones share the middle of theirs."""
    import numpy as np

    _, which, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[which])


def reliability(probabilities: "np.ndarray", targets: "np.ndarray") -> list[dict[str, float]]:
    """The photos by how sure the prediction was: mean confidence, accuracy and number of photos of each bin."""
    import numpy as np

    sure, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    found = []
    for number in np.unique(bins):
        own = bins == number
        confidence, accuracy = float(sure[own].mean()), float(correct[own].mean())
        found.append({"confidence": round(confidence, 4), "accuracy": round(accuracy, 4), "photos": int(own.sum())})
    return found


def ece(bins: list[dict[str, float]]) -> float:
    """Expected calibration error: by how much confidence and accuracy differ, over the photos of all bins."""
    total = sum(one["photos"] for one in bins)
    return round(sum(one["photos"] * abs(one["confidence"] - one["accuracy"]) for one in bins) / total, 4)


def risk_coverage(probabilities: "np.ndarray", targets: "np.ndarray", points: int = 200) -> list[dict[str, float]]:
    """For falling thresholds: the share of photos whose class is at least as probable, and the share of these that is
    wrong.

    El-Yaniv and Wiener 2010, "On the Foundations of Noise-free Selective Classification".
    """
    import numpy as np

    sure, wrong = probabilities.max(axis=1), probabilities.argmax(axis=1) != targets
    order = np.argsort(-sure, kind="stable")
    errors = np.cumsum(wrong[order])
    last = np.append(np.flatnonzero(np.diff(sure[order])), len(order) - 1)  # of photos that are equally sure
    chosen = np.unique(np.linspace(0, len(last) - 1, points).astype(int))
    return [
        {
            "threshold": float(sure[order[i]]),
            "coverage": round((i + 1) / len(order), 6),
            "error": round(float(errors[i]) / (i + 1), 6),
        }
        for i in last[chosen].tolist()
    ]


def figures(before: "np.ndarray", after: "np.ndarray", targets: "np.ndarray", classes: list[str]) -> dict[str, Any]:
    """A report's figures, of probabilities (N, C) before and after calibration."""
    from petrieve.classifier.figures.clip import clip

    said = after.argmax(axis=1)
    table = confusion(targets, said, len(classes))
    bins = reliability(before, targets), reliability(after, targets)
    return {
        "accuracy": round(float((said == targets).mean()), 4),
        "accuracy_interval": accuracy_interval(said == targets),
        "log_loss": round(log_loss(after, targets), 4),
        "log_loss_before": round(log_loss(before, targets), 4),
        "per_class": per_class(table, classes),
        "roc_auc": roc_auc(after, targets),
        "confusion": table.tolist(),
        "ece_before": ece(bins[0]),
        "ece_after": ece(bins[1]),
        "reliability_before": bins[0],
        "reliability_after": bins[1],
        "risk_coverage": risk_coverage(after, targets),
        "clip": clip(after, targets),
    }
