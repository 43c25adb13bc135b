"""Embeddings → their neighbours."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from extractor.errors import PetrieveError
from index.build import Index, unit_length

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Neighbour:
    """A cached photo (its path) and how like the query it is: cosine similarity, -1 to 1."""

    photo: str
    label: str | None
    similarity: float


def search(
    index: Index, embedding: "np.ndarray", *, k: int = 10, leave_out: frozenset[str] = frozenset()
) -> list[Neighbour]:
    """The `k` photos most like an embedding (1024,), best first, but for those whose paths are left out.

    Raises:
        PetrieveError: `k` is below 1.
    """
    check_k(k)
    similarities, ids = nearest(index, embedding, k + len(leave_out))
    rows = index.cache.rows(ids)
    neighbours = []
    for row, similarity in zip(ids, similarities, strict=True):
        photo = rows[row].photo
        if photo.path not in leave_out:
            neighbours.append(Neighbour(photo.path, photo.label, round(min(similarity, 1.0), 4)))
    return neighbours[:k]


def nearest(index: Index, embedding: "np.ndarray", wanted: int) -> tuple[list[float], list[int]]:
    """The cosines of so many rows most like an embedding (1024,), or of all, best first; and their ids."""
    wanted = min(wanted, index.faiss.ntotal)
    if not wanted:
        return [], []
    similarities, ids = index.faiss.search(unit_length(embedding[None]), wanted)  # (1, wanted) each
    return similarities[0].tolist(), ids[0].tolist()


def check_k(k: int) -> None:
    """Refuse to look for nothing.

    Raises:
        PetrieveError: `k` is below 1.
    """
    if k < 1:
        raise PetrieveError(f"cannot look for {k} neighbours", "give `-k` a number from 1 on")
