"""How often a photo's neighbours are of its own kind: what the search is worth on the user's own labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from petrieve.index.build import Index
from petrieve.index.codes.exact import Truth
from petrieve.index.search import nearest_of_each
from petrieve.store.cache import Cache
from petrieve.store.chosen import Chosen
from petrieve.store.digests import drawn, marks_of
from petrieve.store.errors import PetrieveError
from petrieve.store.rows import digests as digests_of
from petrieve.store.rows import row_ids, unit_length

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

PRECISION_AT, RECALL_AT = 5, 10
# Resampled queries, and what of them a confidence interval spans: Efron and Tibshirani, "An Introduction to the
# Bootstrap" (1993), 13.3.
RESAMPLED, INTERVAL = 2000, 0.95
# Photos whose neighbours are looked at, drawn by a seed: fewer where each has many to be compared with.
QUERIES, FEWEST, COMPARED = 2000, 200, 200_000_000
# From this cosine on, two photos count as one picture: with an ImageNet trunk, two frames of a burst have 0.993, the
# next pair of 3 million 0.906; with the bundled trunk, pictures saved anew as JPEG at quality 75 have 0.994 and more.
NEAR_COPY = 0.99
ASKED = 200  # photos that an index is measured with
VALUES = 4  # that an index is measured with among photos of one value alone: those that most have
# Photos that each of those is compared with: with 1,000,000 it takes 78 s and 1.5 GB on two cores.
MOST = 1_000_000
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
    """How many photos have a value in a column, and how well photos of the same value find each other."""

    column: str
    photos: int  # that have a value in this column, and that were looked at
    of: int  # how many have one
    values: int
    queries: int
    near_copies: int  # that were left out, pairs of a query and a photo
    precision_at_5: Figure
    precision_at_5_possible: float  # a kind with few photos cannot fill five places
    recall_at_10: Figure
    recall_at_10_possible: float  # ten neighbours are no more than a share of a kind that has many photos
    mean_average_precision: Figure
    index_recall: Figure | None  # None for an exact index
    index_recall_chosen: Figure | None  # the same among the photos of one value alone, as a condition chooses them


def evaluate(index: Index, *, column: str = "label", seed: int = 0) -> Evaluated:
    """How well cosine similarity finds the photos with the same value in a column, each photo asked once.

    A query itself is left out, and so is what has its bytes or a similarity of NEAR_COPY and more: to find those is
    no merit. Queries without another photo of their value are not asked. An approximate index is held against exact
    search too.

    Raises:
        PetrieveError: there is no such column, or no value that two photos share.
    """
    import numpy as np

    cache = index.cache
    ids, digests, codes, of = _valued(cache, column)
    shared = np.flatnonzero(np.bincount(codes)[codes] > 1) if len(ids) else ids
    if not len(shared):
        raise PetrieveError(
            f"no two photos in {cache.store.path} have the same {column}",
            "embed labelled photos, or name another column with `column=…`",
        )
    most = min(QUERIES, max(FEWEST, COMPARED // len(ids)), len(shared))
    chosen = np.sort(np.random.default_rng(seed).choice(shared, most, replace=False))
    left_out, measured = 0, []
    for some in np.array_split(chosen, -(-len(chosen) * len(ids) // HELD)):
        similarities = _similarities(cache, ids, some)
        for rows in np.array_split(np.arange(len(some)), -(-similarities.size // RANKED)):
            queries, part = some[rows], similarities[rows]
            near = (part >= NEAR_COPY) | (digests[queries][:, None] == digests)
            near[np.arange(len(queries)), queries] = False
            left_out += int(near.sum())
            part[near] = part[np.arange(len(queries)), queries] = -np.inf
            measured.append(per_query(part, codes[queries][:, None] == codes))
    scores = np.concatenate(measured, axis=1)
    if not scores.size:
        raise PetrieveError(f"all photos with the same {column} are near-copies", "embed more labelled photos")
    return Evaluated(
        column=column,
        photos=len(ids),
        of=of,
        values=int(codes.max()) + 1,
        queries=scores.shape[1],
        near_copies=left_out,
        precision_at_5=figure(scores[0], seed=seed),
        precision_at_5_possible=round(float(scores[4].mean()), 4),
        recall_at_10=figure(scores[1], seed=seed),
        recall_at_10_possible=round(float(scores[3].mean()), 4),
        mean_average_precision=figure(scores[2], seed=seed),
        index_recall=index_recall(index, seed=seed),
        index_recall_chosen=index_recall(index, _of_values(index, ids, codes), seed=seed) if index.kept else None,
    )


def index_recall(index: Index, chosen: Sequence[Chosen | None] = (None,), *, seed: int = 0) -> Figure | None:
    """The share of the ten nearest photos that an approximate index finds, photos asked; None for an exact one.

    Of several sets of chosen photos each is asked about with a part of the queries, whether these are in it or not.
    """
    import numpy as np

    if index.kept is None:
        return None
    _, queries = index.cache.sample(ASKED, seed=seed)
    parts = [unit_length(part) for part in np.array_split(queries, len(chosen))]
    truths = [Truth(part, RECALL_AT) for part in parts]
    for rows, embeddings in index.cache.vectors():
        ids, unit = row_ids(rows), unit_length(embeddings)
        for one, truth in zip(chosen, truths, strict=True):
            held = np.ones(len(ids), bool) if one is None else one.contents.hold(ids)
            if held.any():
                truth.show(unit[held], ids[held])
    shares: list[float] = []
    for one, part, truth in zip(chosen, parts, truths, strict=True):
        _, found = nearest_of_each(index, part, RECALL_AT, one)
        _, nearest = truth.found()
        shares += [np.isin(own[own >= 0], others).mean() for own, others in zip(nearest, found, strict=True)]
    return figure(np.array(shares), seed=seed)


def _of_values(index: Index, ids: "np.ndarray", codes: "np.ndarray") -> list[Chosen]:
    """The photos, of those with these row ids (N,), of each of the values (codes, (N,)) that most have."""
    import numpy as np

    counts = np.bincount(codes)
    return [index.cache.chosen_of(ids[codes == value]) for value in np.argsort(-counts, kind="stable")[:VALUES]]


def _valued(cache: Cache, column: str) -> "tuple[np.ndarray, np.ndarray, np.ndarray, int]":
    """The photos that have a value in a column: row ids, ascending, numbers for content and value, (N,) each; how many.

    No more than MOST, drawn by their digests: of each value the first, while there is room.
    """
    import numpy as np

    if column not in cache.columns():
        raise PetrieveError(f"there is no column {column!r}", f"the columns are {', '.join(cache.columns())}")

    numbers: dict[str, int] = {}
    ids, contents, values = [np.zeros(0, np.int64)], [np.zeros(0, "S16")], [np.zeros(0, np.int64)]
    for photos in cache.photos([column, "digest"]):
        there = photos.filter(photos[column].is_valid())
        words = map(str, there[column].to_pylist())
        ids.append(row_ids(there))
        contents.append(digests_of(there))
        values.append(np.array([numbers.setdefault(word, len(numbers)) for word in words], np.int64))
    rows, digests, codes = map(np.concatenate, (ids, contents, values))
    order = np.argsort(rows)
    if len(rows) > MOST:
        order = order[drawn(marks_of(digests[order]), codes[order], MOST)]
    bytes_, said = (np.unique(numbers[order], return_inverse=True)[1] for numbers in (digests, codes))
    return rows[order], bytes_, said, len(rows)


def _similarities(cache: Cache, ids: "np.ndarray", chosen: "np.ndarray") -> "np.ndarray":
    """Cosines (Q, N) of the photos at these positions to all whose row ids are given, which are in order."""
    import numpy as np

    queries = np.empty((len(chosen), cache.dimension), np.float32)
    for photos, embeddings in cache.embeddings([]):
        at, rows = _positions(photos, ids)
        _, here, where = np.intersect1d(at, chosen, return_indices=True)
        queries[where] = unit_length(embeddings[rows[here]])
    similarities = np.empty((len(chosen), len(ids)), np.float32)
    for photos, embeddings in cache.embeddings([]):
        at, rows = _positions(photos, ids)
        similarities[:, at] = queries @ unit_length(embeddings[rows]).T
    return similarities


def _positions(photos: "pa.RecordBatch", ids: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Where in `ids` the photos of a batch stand, and which of its rows these are."""
    import numpy as np

    own = row_ids(photos)
    rows = np.flatnonzero(np.isin(own, ids))
    return np.searchsorted(ids, own[rows]), rows


def per_query(similarities: "np.ndarray", alike: "np.ndarray") -> "np.ndarray":
    """Precision@5, recall@10, average precision, and the highest recall@10 and precision@5 that there can be: (5, Q).

    Of similarities (Q, N), where `alike` (Q, N) says who is of the query's kind.
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
    possible = np.minimum(there, RECALL_AT) / there, np.minimum(there, PRECISION_AT) / PRECISION_AT
    return np.stack([precision, recall, (precisions * hits).sum(axis=1) / there, *possible])


def figure(scores: "np.ndarray", *, seed: int = 0) -> Figure:
    """The mean of scores (Q,) with its confidence interval, queries resampled."""
    import numpy as np

    draw = np.random.default_rng(seed)
    means = np.array([scores[draw.integers(0, len(scores), len(scores))].mean() for _ in range(RESAMPLED)])
    low, high = np.quantile(means, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return Figure(round(float(scores.mean()), 4), round(float(low), 4), round(float(high), 4))
