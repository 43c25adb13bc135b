"""Groups of photos that are copies of each other, each with its best photo first."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from petrieve.store.linked import joined

ALIKE = 0.8  # of the sharpest
BYTES = "same bytes"


@dataclass(frozen=True)
class Copy:
    """One photo of a group."""

    photo: str
    label: str | None
    width: int
    height: int
    size: int  # bytes

    @property
    def path(self) -> str:
        """Where the photo is, as `path` of every answer has it."""
        return self.photo


@dataclass(frozen=True)
class Group:
    """Photos that are copies of each other, the best first: the largest, of equals the sharpest."""

    kind: str  # `same bytes`, `same picture` or `same scene`
    best: str
    photos: list[Copy]


def grouped(
    kind: str,
    linked: Iterable[Sequence[int]],
    stands_for: Mapping[int, int],
    photos: Mapping[int, Copy],
    sharpness: Callable[[str], float],
) -> tuple[list[Group], dict[int, int]]:
    """Groups of what is linked, also by way of others; and by row the best photo that stands for it from now on.

    `stands_for` says so of the kinds before. Of `photos`, by row, the earlier is the better where nothing else decides.
    """
    import numpy as np

    place = {row: number for number, row in enumerate(photos)}
    pairs = [[place[stands_for.get(end, end)] for end in pair] for pair in linked]
    members = defaultdict(list)
    for row, group in zip(photos, joined(np.array(pairs, np.int64), len(photos)).tolist(), strict=True):
        members[group].append(row)
    groups: list[Group] = []
    best_of: dict[int, int] = {}
    for rows in members.values():
        if len(rows) > 1:
            ordered = _best_first(rows, photos, sharpness if kind != BYTES else None)
            best_of |= dict.fromkeys(rows, ordered[0])
            groups.append(Group(kind, photos[ordered[0]].photo, [photos[row] for row in ordered]))
    after = {row: best_of.get(best, best) for row, best in stands_for.items()}
    return sorted(groups, key=lambda group: group.best), best_of | after


def _best_first(rows: list[int], photos: Mapping[int, Copy], sharpness: Callable[[str], float] | None) -> list[int]:
    """The largest first; of those that are equally large the sharpest, then the one with the most bytes.

    Sharpness within ALIKE counts as equal: what compression adds looks like detail.
    """
    pixels = {row: photos[row].width * photos[row].height for row in rows}
    largest = [row for row in rows if pixels[row] == max(pixels.values())]
    sharp = {row: sharpness(photos[row].photo) for row in largest} if sharpness and len(largest) > 1 else {}
    soft = {row for row in sharp if sharp[row] < ALIKE * max(sharp.values())}
    return sorted(rows, key=lambda row: (-pixels[row], row in soft, -photos[row].size))
