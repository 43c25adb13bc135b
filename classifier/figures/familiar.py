"""Neighbours of photos: a yardstick for heads, and the bound beyond which a photo is unlike all others."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from petrieve.store.rows import lengths, unit_length

if TYPE_CHECKING:
    import numpy as np

QUERIES_AT_ONCE = 1024  # rows that are compared at a time: of 10,000 queries, 120 MB
NEIGHBOURS = 5
# The share of held-out photos, pets like those of the cache, that count as unfamiliar.
QUANTILE = 0.01
# Photos that this is measured on: of an accuracy of 98 %, to a point in 95 of 100 cases.
SAMPLE = 1000


def nearest(
    queries: "np.ndarray", blocks: "Iterable[np.ndarray]", wanted: int = NEIGHBOURS
) -> "tuple[np.ndarray, np.ndarray]":
    """Cosines and places (Q, `wanted`) of the embeddings that lie nearest to `queries` (Q, D), best first.

    Places count through the blocks; if there are fewer, cosines of -1 fill up.
    """
    import numpy as np

    units = unit_length(queries)
    near = np.full((len(units), wanted), -1, np.float32)
    places = np.zeros((len(units), wanted), int)
    start = 0
    for block in (whole[at : at + QUERIES_AT_ONCE] for whole in blocks for at in range(0, len(whole), QUERIES_AT_ONCE)):
        cosines = units @ block.T
        cosines /= lengths(block)
        # Most blocks have nothing nearer for most queries, and to look takes a tenth of what sorting does.
        some = np.flatnonzero((cosines > near[:, -1:]).any(axis=1))
        cosines = cosines[some]
        best = np.argpartition(cosines, -min(wanted, len(block)), axis=1)[:, -wanted:]
        both = np.concatenate([near[some], np.take_along_axis(cosines, best, 1)], axis=1)
        of_both = np.concatenate([places[some], best + start], axis=1)
        order = np.argsort(-both, axis=1, kind="stable")[:, :wanted]
        near[some], places[some] = np.take_along_axis(both, order, 1), np.take_along_axis(of_both, order, 1)
        start += len(block)
    return near, places


def similarity(near: "np.ndarray") -> "np.ndarray":
    """A photo's similarity to its nearest neighbours (Q,), by their cosines (Q, 5): the mean of those that exist."""
    import numpy as np

    there = near > -1
    return np.asarray((near * there).sum(axis=1) / np.maximum(there.sum(axis=1), 1))


def measured(
    embeddings: "np.ndarray", targets: "np.ndarray", parts: "list[tuple[np.ndarray, np.ndarray]]"
) -> dict[str, Any]:
    """`figures` of held-out photos.

    `parts` are places of such photos, each beside the places of those they are compared with.
    """
    import numpy as np

    total = sum(len(held_out) for held_out, _ in parts)
    found = []
    for held_out, rest in parts:
        count = min(len(held_out), max(1, SAMPLE * len(held_out) // total))
        some = held_out[np.unique(np.linspace(0, len(held_out) - 1, count).astype(int))]  # evenly spread by path
        blocks = (embeddings[rest[start : start + QUERIES_AT_ONCE]] for start in range(0, len(rest), QUERIES_AT_ONCE))
        near, places = nearest(embeddings[some], blocks)
        found.append((near, targets[rest[places]], targets[some]))
    near, votes, truth = (np.concatenate(part) for part in zip(*found, strict=True))
    return figures(near, votes, truth)


def figures(near: "np.ndarray", votes: "np.ndarray", targets: "np.ndarray") -> dict[str, Any]:
    """A report's `accuracy_knn`, by the nearest neighbours' vote, and `unfamiliar`: the similarity that all but 1 % of
    photos reach.

    Of held-out photos: cosines of their neighbours (Q, 5), these neighbours' classes (Q, 5), their own classes (Q,).
    """
    import numpy as np

    weights = np.zeros((len(near), max(votes.max(), targets.max()) + 1))
    for column in range(near.shape[1]):
        weights[np.arange(len(near)), votes[:, column]] += np.maximum(near[:, column], 0)
    accuracy = float((weights.argmax(axis=1) == targets).mean())
    bound = float(np.quantile(similarity(near), QUANTILE))
    return {
        "accuracy_knn": round(accuracy, 4),
        "unfamiliar": {"similarity": round(bound, 6), "quantile": QUANTILE, "neighbours": NEIGHBOURS},
    }


def unlike(
    embeddings: "np.ndarray", contents: "np.ndarray", blocks: "Iterable[tuple[np.ndarray, np.ndarray]]", bound: float
) -> "np.ndarray":
    """Which photos (Q,) are less like their nearest neighbours in the blocks than `bound`, of embeddings (Q, D).

    A block is digests (n,) and embeddings (n, D). A photo's own digest, of `contents` (Q,), is not a neighbour.
    """
    import numpy as np

    digests = [np.zeros(0, "S16")]

    def rows() -> "Iterator[np.ndarray]":
        for those, block in blocks:
            digests.append(those)
            yield block

    near, places = nearest(embeddings, rows(), NEIGHBOURS + 1)
    there = near > -1
    itself = np.zeros(near.shape, bool)
    itself[there] = (np.concatenate(digests)[places[there]]) == np.repeat(contents, there.sum(axis=1))
    return similarity(-np.sort(-np.where(itself, -1, near), axis=1)[:, :NEIGHBOURS]) < bound
