"""How often a photo's neighbours are of its own kind: what the search is worth on the user's own labels."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from extractor.cache import Cache
from extractor.errors import PetrieveError
from extractor.rows import DIMENSION
from index.build import unit_length

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

PRECISION_AT, RECALL_AT = 5, 10
# Resampled queries, and what of them a confidence interval spans: Efron and Tibshirani, "An Introduction to the
# Bootstrap" (1993), 13.3.
RESAMPLED, INTERVAL = 2000, 0.95
# Photos whose neighbours are looked at, drawn by a seed: fewer where each has many to be compared with.
QUERIES, FEWEST, COMPARED = 2000, 200, 200_000_000
# Similarities held at a time, and ranked at a time.
HELD, RANKED = 50_000_000, 2_000_000


@dataclass(frozen=True)
class Figure:
    """A mean over queries, and the ends of its 95 % confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluated:
    """What was measured, over how many photos; the column that says what is alike; near-copies that were left out."""

    column: str
    photos: int  # that have a value in this column
    values: int
    queries: int
    near_copies: int  # pairs of a query and a photo
    precision_at_5: Figure
    recall_at_10: Figure
    mean_average_precision: Figure


def evaluate(cache: Cache, *, column: str = "label", near_copy: float = 1.0, seed: int = 0) -> Evaluated:
    """How well cosine similarity finds the photos that have the same value in a column, each photo asked once.

    A query itself is left out, and so is what has its bytes or a similarity of `near_copy` and more: to find those is
    no merit. Queries without another photo of their value are not asked.

    Raises:
        PetrieveError: there is no such column, or no value that two photos share.
    """
    import numpy as np

    ids, digests, codes = _said(cache, column)
    shared = np.flatnonzero(np.bincount(codes)[codes] > 1) if len(ids) else ids
    if not len(shared):
        raise PetrieveError(
            f"no two photos in {cache.store.path} have the same {column}",
            "embed labelled photos, or name another column with `--column`",
        )
    most = min(QUERIES, max(FEWEST, COMPARED // len(ids)), len(shared))
    chosen = np.sort(np.random.default_rng(seed).choice(shared, most, replace=False))
    left_out, measured = 0, []
    for some in np.array_split(chosen, -(-len(chosen) * len(ids) // HELD)):
        similarities = _similarities(cache, ids, some)
        for rows in np.array_split(np.arange(len(some)), -(-similarities.size // RANKED)):
            queries, part = some[rows], similarities[rows]
            near = (part >= near_copy) | (digests[queries][:, None] == digests)
            near[np.arange(len(queries)), queries] = False
            left_out += int(near.sum())
            part[near] = part[np.arange(len(queries)), queries] = -np.inf
            measured.append(per_query(part, codes[queries][:, None] == codes))
    figures = [figure(scores, seed=seed) for scores in np.concatenate(measured, axis=1)]
    return Evaluated(column, len(ids), int(codes.max()) + 1, len(chosen), left_out, *figures)


def _said(cache: Cache, column: str) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Row ids (N,), in their order, of the photos that have a value in a column; numbers for bytes and values."""
    import numpy as np

    ids: list[int] = []
    digests: list[bytes] = []
    values: list[str] = []
    for photos, _ in cache.embeddings():
        if column not in photos.schema.names:
            raise PetrieveError(f"there is no column {column!r}", f"use {', '.join(cache.columns())}")
        there = photos.filter(photos[column].is_valid())
        ids += there["_rowid"].to_pylist()
        digests += there["digest"].to_pylist()
        values += map(str, there[column].to_pylist())
    order = np.argsort(np.array(ids, np.int64))
    codes = [np.unique(words, return_inverse=True)[1] for words in (digests, values)]
    return np.array(ids, np.int64)[order], codes[0][order], codes[1][order]


def _similarities(cache: Cache, ids: "np.ndarray", chosen: "np.ndarray") -> "np.ndarray":
    """Cosines (Q, N) of the photos at these positions to all whose row ids are given, which are in order."""
    import numpy as np

    queries = np.empty((len(chosen), DIMENSION), np.float32)
    for photos, embeddings in cache.embeddings():
        at, rows = _positions(photos, ids)
        _, here, where = np.intersect1d(at, chosen, return_indices=True)
        queries[where] = unit_length(embeddings[rows[here]])
    similarities = np.empty((len(chosen), len(ids)), np.float32)
    for photos, embeddings in cache.embeddings():
        at, rows = _positions(photos, ids)
        similarities[:, at] = queries @ unit_length(embeddings[rows]).T
    return similarities


def _positions(photos: "pa.RecordBatch", ids: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Where in `ids` the photos of a batch stand, and which of its rows these are."""
    import numpy as np

    own = photos["_rowid"].cast("int64").to_numpy()
    rows = np.flatnonzero(np.isin(own, ids))
    return np.searchsorted(ids, own[rows]), rows


def per_query(similarities: "np.ndarray", alike: "np.ndarray") -> "np.ndarray":
    """Precision@5, recall@10 and average precision (3, Q) of similarities (Q, N), where `alike` (Q, N) says who is.

    What is left out has a similarity of minus infinity. A query that nothing is like any more is dropped.
    Average precision as in Manning, Raghavan and Schütze, "Introduction to Information Retrieval" (2008), 8.4.
    """
    import numpy as np

    alike = alike & np.isfinite(similarities)
    asked = alike.any(axis=1)
    order = np.argsort(-similarities[asked], axis=1, kind="stable")
    hits = np.take_along_axis(alike[asked], order, axis=1)  # (Q, N), best first
    there = hits.sum(axis=1)
    precision = hits[:, :PRECISION_AT].sum(axis=1) / PRECISION_AT
    recall = hits[:, :RECALL_AT].sum(axis=1) / there
    precisions = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return np.stack([precision, recall, (precisions * hits).sum(axis=1) / there])


def figure(scores: "np.ndarray", *, seed: int = 0) -> Figure:
    """The mean of scores (Q,) with its confidence interval, queries resampled."""
    import numpy as np

    draw = np.random.default_rng(seed)
    means = np.array([scores[draw.integers(0, len(scores), len(scores))].mean() for _ in range(RESAMPLED)])
    low, high = np.quantile(means, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return Figure(round(float(scores.mean()), 4), round(float(low), 4), round(float(high), 4))
