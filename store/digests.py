"""Rows found by the digest of their content: a sorted list of its first bytes in memory, 16 bytes a row."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


# Rows of each group that come first where some are drawn: enough for five folds, each with four.
FEW = 20


@dataclass(frozen=True, eq=False)
class Digests:
    """Rows by the first 8 bytes of their digests, in the order of these.

    Two contents that share them are told apart by who reads the rows.
    """

    marks: "np.ndarray"  # uint64 (N,), ascending
    ids: "np.ndarray"  # int64 (N,)

    def rows(self, wanted: "np.ndarray") -> "np.ndarray":
        """The ids of all rows with one of these marks (M,), uint64."""
        import numpy as np

        wanted = np.unique(wanted)
        first, last = (np.searchsorted(self.marks, wanted, side) for side in ("left", "right"))
        return np.asarray(self.ids[spans(first, last - first)])

    def without(self, ids: "np.ndarray") -> "Digests":
        """The others than those with these ids."""
        import numpy as np

        kept = ~np.isin(self.ids, ids)
        return Digests(self.marks[kept], self.ids[kept])

    def holds(self, wanted: "np.ndarray") -> "np.ndarray":
        """Whether there is a row with each of these marks: booleans (M,)."""
        import numpy as np

        if not len(self.marks):
            return np.zeros(len(wanted), bool)
        places = np.searchsorted(self.marks, wanted).clip(max=len(self.marks) - 1)
        return np.asarray(self.marks[places] == wanted)


def sorted_by_digest(batches: "Iterable[tuple[np.ndarray, np.ndarray]]") -> Digests:
    """Rows by their digests, of batches of ids (n,) and digests (n,)."""
    import numpy as np

    ids, marks = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    for some, digests in batches:
        ids.append(some)
        marks.append(marks_of(digests))
    every, found = np.concatenate(ids), np.concatenate(marks)
    order = np.argsort(found, kind="stable")
    return Digests(found[order], every[order])


def marks_of(digests: "np.ndarray") -> "np.ndarray":
    """The first 8 bytes of digests (n,) of 16 bytes, uint64."""
    import numpy as np

    return np.ascontiguousarray(digests).view("<u8")[::2].astype(np.uint64)


def spans(starts: "np.ndarray", counts: "np.ndarray") -> "np.ndarray":
    """The places start, start + 1, … of each span (M,), one span behind the other."""
    import numpy as np

    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(np.repeat(starts, counts) + within)


def drawn(marks: "np.ndarray", groups: "np.ndarray", most: int) -> "np.ndarray":
    """The places, ascending, of `most` rows, or of all, drawn by their marks (N,): of the same rows always the same.

    Of each of the groups (N,), numbers, the lowest FEW are drawn first, as long as there is room, then the lowest of
    all. Who grows keeps most of those that were drawn.
    """
    import numpy as np

    order = np.lexsort((marks, groups))
    marks, groups = marks[order], groups[order]
    first = np.flatnonzero(np.append(True, groups[1:] != groups[:-1]))
    group = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(groups))))
    rest = np.arange(len(groups)) - first[group] >= FEW
    best = np.lexsort((marks, np.where(rest, 0, marks[first][group]), rest))[:most]
    return np.sort(order[best])


def as_bytes(digests: "np.ndarray") -> list[bytes]:
    """Digests (n,) of dtype S16 as they were: an element of such an array has lost its last zeros."""
    return [bytes(digest).ljust(16, b"\0") for digest in digests]


def as_array(digests: Iterable[bytes]) -> "np.ndarray":
    """Digests of 16 bytes as numbers to look them up by: (n,), of dtype S16."""
    import numpy as np

    return np.frombuffer(b"".join(digests), "S16")
