"""What a similarity means: how many pairs of photos are as close, among pairs drawn from the user's own cache."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from petrieve.store.cache import Cache
from petrieve.store.rows import unit_length

if TYPE_CHECKING:
    import numpy as np

# Photos that are drawn: 499,500 pairs. What is rarer than 1 of those is not told apart.
DRAWN = 1000


@dataclass(frozen=True, eq=False)
class Reading:
    """The similarities of all pairs of a sample, in rising order."""

    pairs: "np.ndarray"  # float32 (P,)

    def as_close(self, similarities: Sequence[float]) -> list[float]:
        """The share of random pairs that are at least as similar, for each similarity; above 0, at most 1.

        With P pairs, and n of them as close, (n + 1) / (P + 1): never 0 (Phipson and Smyth, "Permutation P-values
        should never be zero", 2010).
        """
        import numpy as np

        at_least = len(self.pairs) - np.searchsorted(self.pairs, np.asarray(similarities, np.float32))
        return [float(share) for share in (at_least + 1) / (len(self.pairs) + 1)]


@lru_cache(maxsize=2)
def reading(cache: Cache, *, seed: int = 0) -> Reading:
    """The similarities of random pairs of contents of the cache.

    It is remembered for the cache, as an index is that is asked again and again.
    """
    import numpy as np

    _, embeddings = cache.sample(DRAWN, seed=seed)
    unit = unit_length(embeddings)
    return Reading(np.sort((unit @ unit.T)[np.tri(len(unit), k=-1, dtype=bool)]))
