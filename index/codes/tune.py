"""Which kind of index, how much of it a search looks at, and how much it finds of what there is to be found."""

import math
import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from petrieve.index.codes.exact import Truth
from petrieve.index.codes.inverted import Inverted
from petrieve.index.codes.kept import AT

if TYPE_CHECKING:
    import numpy as np

QUERIES = 1000  # photos of the cache that are asked with: half to choose by, half to measure with
LONGEST = 512  # shortlist
NEAREST = AT + 1  # a query itself is among its nearest
# What a search costs: a byte of a code that is scanned, an embedding read from the cache. Measured, in nanoseconds;
# their ratio alone matters. See benchmarks/RESULTS.md.
BYTE, EMBEDDING = 0.12, 25_000.0


@dataclass(frozen=True)
class Effort:
    """How much of an index is looked at for a query, and the share of the ten nearest photos that this finds."""

    lists: int
    shortlist: int
    recall: float


def kinds_for(photos: int) -> list[str]:
    """The kinds of index for N photos, the smallest first: a byte for each of 256 directions, or of more.

    The first takes an eighth of the machine's memory at most, with fewer directions where need be. With about 4 √N
    lists, finding the lists costs as much as scanning a few of them.
    """
    lists = 1 << max(4, round(math.log2(4 * photos**0.5)))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 8
    directions = next((n for n in (256, 192, 128) if photos * n <= memory), 64)
    return [f"PCA{directions},IVF{lists},SQ8", f"PCA{2 * directions},IVF{lists},SQ8", f"IVF{lists},SQ8"]


class Trial:
    """Queries drawn from an index's own photos, and what exact search finds for each but itself."""

    def __init__(self, ids: "np.ndarray", unit: "np.ndarray") -> None:
        self.ids, self.unit = ids, unit
        self._truth = Truth(unit, NEAREST)

    def add(self, similarities: "np.ndarray", ids: "np.ndarray") -> None:
        """Count what is nearest among some more photos: cosines and ids (Q, `NEAREST`), with the query itself."""
        self._truth.add(similarities, ids)

    @cached_property
    def truth(self) -> "np.ndarray":
        """Ids (Q, 10) of what there is to be found, once all has been shown; -2 where there is less."""
        import numpy as np

        _, found = self._truth.found()
        others = found != self.ids[:, None]
        others[others.all(axis=1), -1] = False  # among many copies a photo may not be among its own nearest
        truth = found[others].reshape(len(found), -1)
        return np.where(truth < 0, -2, truth)

    def recalls(self, inverted: Inverted, lists: int) -> "np.ndarray":
        """Of each query (Q) and each length of the shortlist (LONGEST), the share of the true neighbours in it."""
        import numpy as np

        listed = inverted.shortlist(self.unit, wanted=LONGEST + 1, lists=lists)
        hits = (listed[:, :, None] == self.truth[:, None, :]).any(axis=2)  # (Q, LONGEST + 1)
        itself = np.cumsum(listed == self.ids[:, None], axis=1) > 0
        # A shortlist without the query itself: where it has come by, the next takes its place.
        without = np.where(itself[:, :-1], hits[:, 1:], hits[:, :-1])
        there = np.maximum((self.truth >= 0).sum(axis=1, keepdims=True), 1)
        return np.cumsum(without, axis=1) / there  # type: ignore[no-any-return]


def tuned(inverted: Inverted, trial: Trial, target: float) -> Effort:
    """The least effort that reaches the target, chosen on half of the trial's queries and measured on the other half.

    Where none does, the greatest. Lists are tried in steps of a quarter, until more of them alone cost more.
    """
    options: list[tuple[float, int, int]] = []
    lists = 1
    while True:
        if shortlist := _enough(trial.recalls(inverted, lists)[: len(trial.ids) // 2], target):
            options.append((_cost(inverted, lists, shortlist), lists, shortlist))
        if lists == inverted.lists or (options and _cost(inverted, lists, AT) > min(options)[0]):
            break
        lists = min(max(lists + 1, round(1.25 * lists)), inverted.lists)
    _, lists, shortlist = min(options, default=(0.0, inverted.lists, LONGEST))
    return Effort(lists, shortlist, measured(inverted, trial, lists, shortlist))


def _enough(recalls: "np.ndarray", target: float) -> int:
    """The shortest shortlist that reaches the target by more than chance would (one standard error); 0 if none does."""
    import numpy as np

    lower = recalls.mean(axis=0) - recalls.std(axis=0) / max(len(recalls), 1) ** 0.5
    (enough,) = np.nonzero(lower >= min(target, 1 - 1e-6))
    return max(AT, int(enough[0]) + 1) if len(enough) else 0


def measured(inverted: Inverted, trial: Trial, lists: int, shortlist: int) -> float:
    """The recall on the half of the trial's queries that nothing was chosen by."""
    recalls = trial.recalls(inverted, lists)[len(trial.ids) // 2 :, min(shortlist, LONGEST) - 1]
    return round(float(recalls.mean()), 4)


def _cost(inverted: Inverted, lists: int, shortlist: int) -> float:
    scanned = len(inverted.ids) * lists / inverted.lists + inverted.lists
    return scanned * inverted.code_bytes * BYTE + shortlist * EMBEDDING
