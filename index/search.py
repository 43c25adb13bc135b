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
    if k < 1:
        raise PetrieveError(f"cannot look for {k} neighbours", "give `-k` a number from 1 on")
    wanted = min(k + len(leave_out), index.faiss.ntotal)
    if not wanted:
        return []
    similarities, ids = index.faiss.search(unit_length(embedding[None]), wanted)  # (1, wanted) each
    rows = index.cache.rows(ids[0].tolist())
    neighbours = []
    for row, similarity in zip(ids[0].tolist(), similarities[0].tolist(), strict=True):
        photo = rows[row].photo
        if photo.path not in leave_out:
            neighbours.append(Neighbour(photo.path, photo.label, round(min(similarity, 1.0), 4)))
    return neighbours[:k]
