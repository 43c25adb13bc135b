"""Embeddings → their neighbours."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from index.build import Index
from index.exact import NAMES, streamed
from store.errors import PetrieveError
from store.photo import path_of
from store.rows import unit_length

if TYPE_CHECKING:
    import numpy as np

# Of more neighbours than this, all photos are compared: reading so many one by one would take as long.
MANY = 1000


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
    found = zip(similarities, named(index, ids), strict=True)
    neighbours = [
        Neighbour(path, label, round(min(one, 1.0), 4)) for one, (path, label) in found if path not in leave_out
    ]
    return neighbours[:k]


def nearest(index: Index, embedding: "np.ndarray", wanted: int) -> tuple[list[float], list[int]]:
    """The cosines of so many rows most like an embedding (1024,), or of all, best first; and their ids."""
    similarities, ids = nearest_of_each(index, embedding[None], wanted)
    return similarities[0].tolist(), ids[0].tolist()


def nearest_of_each(index: Index, embeddings: "np.ndarray", wanted: int) -> "tuple[np.ndarray, np.ndarray]":
    """Cosines and ids, (Q, `wanted` or as many as there are) each, of the rows most like embeddings (Q, 1024)."""
    import numpy as np

    queries = unit_length(embeddings)
    if index.held is None:
        return streamed(index.cache, queries, wanted)
    similarities, ids = index.held.nearest(queries, wanted)
    if index.kept is None:
        return similarities, ids
    wanted = min(wanted, len(index.held.ids) + len(index.kept.inverted.ids) - len(index.stale))
    if wanted > MANY:
        return streamed(index.cache, queries, wanted)
    close, listed = index.kept.nearest(index.cache, queries, wanted, index.stale)
    similarities, ids = np.concatenate([similarities, close], axis=1), np.concatenate([ids, listed], axis=1)
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :wanted]
    ids = np.take_along_axis(ids, order, 1)
    if ids.shape[1] < wanted or (ids < 0).any():  # the lists that were looked into hold too few
        return streamed(index.cache, queries, wanted)
    return np.take_along_axis(similarities, order, 1), ids


def named(index: Index, ids: list[int]) -> list[tuple[str, str | None]]:
    """Path and label of the photos with these row ids."""
    import numpy as np

    rows = None if index.held is None else index.held.of(ids)
    if rows is None:
        rows = index.cache.take(np.array(ids, np.int64), NAMES)
    columns = [rows[name].to_pylist() for name in NAMES]
    return [(path_of(root, uri), label) for root, uri, label in zip(*columns, strict=True)]


def check_k(k: int) -> None:
    """Refuse to look for nothing.

    Raises:
        PetrieveError: `k` is below 1.
    """
    if k < 1:
        raise PetrieveError(f"cannot look for {k} neighbours", "give `-k` a number from 1 on")
