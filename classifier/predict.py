"""A head's predictions of new photos: the class, whether it is sure enough, and whether the photo is familiar."""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from petrieve.classifier.figures import familiar
from petrieve.classifier.head import Head, check_classes, fewest, threshold
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError, warn
from petrieve.store.rows import Embedded, digests

if TYPE_CHECKING:
    import numpy as np


def predict(
    cache: Cache, head: Head, photos: Sequence[Embedded], max_error: str | float | None = None
) -> list[dict[str, Any]]:
    """Of each photo `label`, `probability`, `probabilities`, `unsure` and `unfamiliar`, over its views.

    `unsure`: less probable than where predictions are wrong no more often than `max_error`, a share such as 0.01 or
    "1%", as held-out photos show with 95 % confidence; without it nothing is. `unfamiliar`: the canonical view lies
    farther from the nearest other photos in the cache than 99 % of held-out photos do.

    Raises:
        PetrieveError: `max_error` is not a share, or an embedding is damaged.
    """
    import numpy as np

    if not photos:
        return []
    if not all(np.isfinite(one.views).all() for one in photos):
        raise PetrieveError(
            f"an embedding in {cache.store.path} holds a value that is not a number",
            "`petrieve verify` names the damaged rows and what mends them",
        )
    _warn_of_other_classes(cache, head)
    augmented = len(photos[0].views) - 1
    least = 0.0 if max_error is None else _least(head, share(max_error), augmented)
    canonical = np.stack([one.views[0] for one in photos])
    contents = np.array([one.digest for one in photos], "S16")
    strange = familiar.unlike(canonical, contents, _undamaged(cache), head.report.unfamiliar["similarity"])
    told = [head.predict_one(one.views) for one in photos]
    return [
        {**one, "unsure": one["probability"] < least, "unfamiliar": bool(unlike)}
        for one, unlike in zip(told, strange, strict=True)
    ]


def share(value: str | float) -> float:
    """The share that a number such as 0.01, or a text such as "1%", says.

    Raises:
        PetrieveError: it is not from 0 to below 1.
    """
    found = re.fullmatch(r"(\d*\.?\d+(?:e-?\d+)?)(\s*%)?", str(value).strip())
    number = float(found[1]) / (100 if found[2] else 1) if found else -1.0
    if not 0 <= number < 1:
        raise PetrieveError(
            f"{value!r} is not a rate of errors from 0 to below 100%", "give `max_error=…` one such as 1%, or 0.01"
        )
    return number


def _undamaged(cache: Cache) -> "Iterator[tuple[np.ndarray, np.ndarray]]":
    """The cache's digests (n,) and embeddings (n, D), without damaged ones, which would push others out."""
    import numpy as np

    damaged = 0
    for rows, block in cache.vectors():
        sound = np.isfinite(block.sum(axis=1))
        damaged += int((~sound).sum())
        yield (digests(rows), block) if sound.all() else (digests(rows)[sound], block[sound])
    if damaged:
        what = f"embeddings in {cache.store.path} with values that are not numbers, passed over: {damaged}"
        warn(f"{what}; `petrieve verify` names them and what mends them")


def _warn_of_other_classes(cache: Cache, head: Head) -> None:
    """Warn of labels that the head does not know: it is probably an old one. Without labels any head may serve."""
    labels = cache.counts()["labels"]
    try:
        check_classes(head, labels or head.classes)
    except PetrieveError as error:
        warn(str(error))


def _least(head: Head, max_error: float, views: int) -> float:
    """The least probability that is sure enough, averaged over N augmented views too; above 1 if none is."""
    if views > len(head.report.risk_coverage_views):
        warn(
            f"how often predictions over {views} augmented views are wrong was not measured; all is marked unsure; "
            f"`petrieve embed --views {views}` and `petrieve fit-head` measure it"
        )
        return 2.0
    least = threshold(head.report, max_error, views)
    if least is None:
        needed, lowest = fewest(max_error), min(point["error"] for point in head.report.risk_coverage)
        why = f"the surest held-out photos reach {lowest:.2%}"
        if max_error == 0:
            why = "no number of held-out photos can show it"
        elif head.report.measured < needed:
            why = f"{head.report.measured} held-out photos are too few to show it, {needed} are needed"
        warn(f"no threshold reaches an error rate of {max_error:.2%}: {why}; all is marked unsure")
        return 2.0
    return least
