"""The head: one matrix and one vector, from embeddings to the probabilities of the classes."""

import hashlib
import json
import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError, listed
from petrieve.store.files import write_file
from petrieve.store.near import local

if TYPE_CHECKING:
    import numpy as np

REMEDY = "run `petrieve fit-head`"
LISTED = 5  # classes in a message
SIGNIFICANCE = 0.05  # that a threshold does not keep the error that it was chosen for


@dataclass(frozen=True)
class Report:
    """What a head was fitted on and how well it does on photos that it was not fitted on.

    All values are plain JSON. Figures are of the photos of `evaluated_on`, of each by a head fitted without it and its
    near-copies. C classes in the order of `classes`.
    """

    classes: list[str]
    photos: int  # that the head was fitted on
    method: str
    accuracy: float
    log_loss: float  # nats, of the calibrated probabilities
    evaluated_on: str
    by_split: bool  # whether splits held these photos out; else they were drawn
    seconds: float
    measured: int  # photos of `evaluated_on`; near-copies with the same label are one
    left_out: int  # held-out photos that were left out, being near-copies of training photos
    near_copies: int  # photos that share a group with another one
    accuracy_interval: list[float]  # 95 %, [low, high]
    accuracy_ungrouped: float  # what it would be with near-copies on both sides
    accuracy_knn: float  # of the nearest neighbours' vote on the same splits
    per_class: list[dict[str, Any]]  # label, precision, recall, f1, support
    roc_auc: float | None  # mean over the classes of one against the rest
    confusion: list[list[int]]  # [true][predicted]
    ece_before: float  # expected calibration error
    ece_after: float  # with a temperature that was fitted on other photos
    log_loss_before: float
    reliability_before: list[dict[str, float]]  # bins: confidence, accuracy, photos
    reliability_after: list[dict[str, float]]
    temperature: float  # by which the head's logits are divided already
    l2: float  # penalty l2/2 |W|² beside the summed losses: scikit-learn's 1/C
    l2_grid: list[dict[str, float]]  # l2, log_loss
    balanced: bool  # every class has the same weight in the loss
    unfamiliar: dict[str, float]  # mean cosine to the nearest photos below which a photo is unfamiliar, and its origin
    epochs: list[dict[str, float]]  # of `linear`: epoch, log_loss on the photos to stop by, the l2 that it is of
    risk_coverage: list[dict[str, float]]  # threshold, coverage, error: of the photos at least as probable
    clip: float  # how far from 0 and 1 to keep, for the lowest log loss on held-out photos
    # `risk_coverage` of predictions that are averaged over one augmented view too, over two, …: as many as all have
    risk_coverage_views: list[list[dict[str, float]]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Head:
    """A linear classifier on embeddings; C classes, D numbers each."""

    weight: "np.ndarray"  # float32 (C, D)
    bias: "np.ndarray"  # float32 (C,)
    classes: tuple[str, ...]
    fingerprint: str
    report: Report

    def predict(self, embeddings: "np.ndarray") -> "np.ndarray":
        """The probabilities (N, C), rows summing to 1, of embeddings (N, D)."""
        return softmax(embeddings @ self.weight.T + self.bias)

    def predict_one(self, embedding: "np.ndarray") -> dict[str, Any]:
        """`label`, `probability` and all `probabilities` of one photo: its embedding (D,), or its views' (V, D).

        Probabilities are averaged over views.
        """
        row = self.predict(embedding.reshape(-1, self.weight.shape[1])).mean(axis=0).round(6).tolist()
        best = max(range(len(row)), key=row.__getitem__)
        return {
            "label": self.classes[best],
            "probability": row[best],
            "probabilities": dict(zip(self.classes, row, strict=True)),
        }


def threshold(report: Report, max_error: float, views: int = 0) -> float | None:
    """The probability from which on predictions are wrong no more often than `max_error`; None where none is.

    For predictions averaged over N augmented `views` too, which must have been measured.

    A rate measured on held-out photos is exceeded on every third new set, so each threshold, from the surest photos on,
    must pass a binomial test; all that pass hold together with 95 % confidence. A test that passes hands its
    significance on to the next, one that fails loses it: one sure mistake would end the search, so it begins at several
    places, each with a share of the 5 %. Wiens 2003, "A fixed sequence Bonferroni procedure"; Angelopoulos et al. 2021,
    "Learn then Test".
    """
    return passing([report.risk_coverage, *report.risk_coverage_views][views], report.measured, max_error)


def passing(points: list[dict[str, float]], measured: int, max_error: float) -> float | None:
    """The last threshold, of a risk-coverage curve of N `measured` photos, whose error is at most `max_error`."""
    from scipy.special import bdtr

    if max_error == 1:
        return points[-1]["threshold"]
    found, doubt, starts = None, 0.0, _starts(measured, max_error)
    for point in points:  # from the surest photos on
        photos = round(point["coverage"] * measured)
        while starts and photos >= starts[0][0]:
            doubt += starts.pop(0)[1]
        if doubt and bdtr(round(point["error"] * photos), photos, max_error) <= doubt:
            found = point["threshold"]
        else:
            doubt = 0.0
    return found


def _starts(photos: int, max_error: float) -> list[tuple[float, float]]:
    """The numbers of surest photos at which a search begins, each with its share of the significance.

    Half belongs to the first number that can pass, the rest to half, a quarter, … of all photos.
    """
    later, count = list[float](), photos / 2
    while count >= 2 * fewest(max_error):
        later.insert(0, count)
        count /= 2
    if not later:
        return [(fewest(max_error), SIGNIFICANCE)]
    return [
        (fewest(max_error, SIGNIFICANCE / 2), SIGNIFICANCE / 2),
        *((count, SIGNIFICANCE / 2 / len(later)) for count in later),
    ]


def fewest(max_error: float, doubt: float = SIGNIFICANCE) -> float:
    """How many photos, all of them right, show that no more than `max_error` are wrong."""
    return math.inf if max_error == 0 else 0 if max_error == 1 else math.ceil(math.log(doubt) / math.log1p(-max_error))


def save(head: Head, cache: Cache) -> None:
    """Keep the head in the cache's store, as safetensors with its classes and report as JSON metadata."""
    from safetensors.numpy import save as to_bytes

    metadata = {
        "classes": json.dumps(head.classes),
        "fingerprint": head.fingerprint,
        "report": json.dumps(asdict(head.report)),
    }
    metadata["digest"] = _digest(metadata, head.weight, head.bias)
    tensors = {"weight": head.weight, "bias": head.bias}
    write_file(cache.folder.head, to_bytes(tensors, metadata))


def load(cache: Cache) -> Head:
    """The head in the cache's store.

    Raises:
        PetrieveError: there is none, it is damaged, or it was made from embeddings of another trunk.
    """
    from safetensors import SafetensorError, safe_open

    file = cache.folder.head
    try:
        here = local(file)
        if not here.exists():
            raise FileNotFoundError
    except FileNotFoundError as error:
        raise PetrieveError(f"there is no head in {cache.store.path}", REMEDY) from error
    try:
        with safe_open(str(here), "numpy") as opened:
            weight, bias = opened.get_tensor("weight"), opened.get_tensor("bias")
            head = _head(opened.metadata() or {}, weight, bias, cache.dimension)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise PetrieveError(f"the head {file} is damaged, or of an earlier release", REMEDY) from error
    if head.fingerprint != cache.fingerprint:
        raise PetrieveError(
            f"the head was fitted on embeddings of other weights ({head.fingerprint[:8]}) "
            f"than the store's ({cache.fingerprint[:8]})",
            REMEDY,
        )
    return head


def describe(cache: Cache) -> dict[str, Any] | None:
    """The report of the head in the cache's store and whether it `fits`; None where there is no head."""
    if not cache.folder.head.exists():
        return None
    try:
        return {"fits": True, **asdict(load(cache).report)}
    except PetrieveError as error:
        return {"fits": False, "why": str(error)}


def check(cache: Cache) -> list[dict[str, str]]:
    """What is wrong with the head in the cache's store (`what`), and what mends it (`remedy`)."""
    if not cache.folder.head.exists():
        return []
    try:
        check_classes(load(cache), cache.counts()["labels"])
    except PetrieveError as error:
        return [{"what": error.what, "remedy": error.remedy}]
    return []


def check_classes(head: Head, labels: Collection[str]) -> None:
    """Refuse a head for other classes than the store's photos now have.

    Raises:
        PetrieveError: a class of the head is none of these labels.
    """
    unknown = sorted(set(head.classes).difference(labels))
    if unknown:
        known = listed([repr(one) for one in unknown], LISTED)
        raise PetrieveError(f"the head knows {known}, which no photo in the store is labelled", REMEDY)


def _head(metadata: dict[str, Any], weight: "np.ndarray", bias: "np.ndarray", dimension: int) -> Head:
    if metadata["digest"] != _digest(metadata, weight, bias):
        raise ValueError("its digest is another's")
    classes = tuple(map(str, json.loads(metadata["classes"])))
    if weight.shape != (len(classes), dimension) or bias.shape != (len(classes),):
        raise ValueError(f"shapes {weight.shape} and {bias.shape} for {len(classes)} classes")
    report = json.loads(metadata["report"])
    report.setdefault("by_split", report["evaluated_on"].startswith("held-out split"))  # older heads lack it
    return Head(weight, bias, classes, metadata["fingerprint"], Report(**report))


def _digest(metadata: dict[str, Any], weight: "np.ndarray", bias: "np.ndarray") -> str:
    """A digest of every bit of a head: safetensors has no checksum, and a flipped bit would predict wrongly."""
    digest = hashlib.blake2b(digest_size=16)
    for name in ("classes", "fingerprint", "report"):
        digest.update(f"{name} {metadata[name]}\n".encode())
    for numbers in (weight, bias):
        digest.update(f"{numbers.dtype} {numbers.shape}\n".encode() + numbers.tobytes())
    return digest.hexdigest()


def softmax(logits: "np.ndarray") -> "np.ndarray":
    """Probabilities (N, C), float64, of logits (N, C)."""
    import numpy as np

    odds = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))
