"""Sets of photos and contents as bits: a search among a million looks up in them which of them a condition chooses."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False)
class Bits:
    """A set of row ids: id n is bit n % 8 of byte n // 8, as FAISS's IDSelectorBitmap has it.

    Lance numbers rows one after the other, so that ten million take 1.25 MB.
    """

    packed: "np.ndarray"  # uint8
    count: int

    @classmethod
    def of(cls, ids: "np.ndarray") -> "Bits":
        """The set of these ids (n,), int64."""
        import numpy as np

        marked = np.zeros(ids.max(initial=-1) + 1, bool)
        marked[ids] = True
        return cls(np.packbits(marked, bitorder="little"), int(np.count_nonzero(marked)))

    def hold(self, ids: "np.ndarray") -> "np.ndarray":
        """Which of these ids (n,) are in the set: booleans (n,)."""
        import numpy as np

        inside = ids >> 3 < len(self.packed)
        held = np.zeros(len(ids), bool)
        held[inside] = self.packed[ids[inside] >> 3] >> (ids[inside] & 7) & 1
        return held

    def ids(self) -> "np.ndarray":
        """The ids, ascending, int64."""
        import numpy as np

        return np.flatnonzero(np.unpackbits(self.packed, bitorder="little"))


@dataclass(frozen=True, eq=False)
class Chosen:
    """Photos, by their rows' ids, and the contents that they have, by the ids of a trunk's rows.

    Of contents that share the first 8 bytes of their digests all are here where one is: the photos tell them apart.
    """

    photos: Bits
    contents: Bits
