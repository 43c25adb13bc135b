"""The question behind "similar": which of the photos that may be meant look most like one pet, told by its photos."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from index.build import Index
from index.reading import reading
from index.search import check_k, named, nearest
from store.errors import PetrieveError
from store.rows import lengths, unit_length

if TYPE_CHECKING:
    import numpy as np

# How many more rows are looked at when too few of them count.
GROWTH = 4
Ranking = Callable[[int], "tuple[list[int], list[float]]"]  # how many → row ids and similarities, best first


@dataclass(frozen=True)
class Match:
    """A cached photo (its path), how like the query it is, and what that means.

    `similarity` is the cosine, -1 to 1; for several photos of one pet the mean of theirs. `pairs_as_close` is the
    share of random pairs of the cache that are as similar; `group` the value of the column that was grouped by.
    """

    photo: str
    label: str | None
    similarity: float
    pairs_as_close: float
    group: Any = None


def ask(
    index: Index,
    embeddings: "Sequence[np.ndarray]",
    *,
    k: int = 10,
    leave_out: frozenset[str] = frozenset(),
    where: str | None = None,
    group_by: str | None = None,
    min_similarity: float = -1.0,
) -> list[Match]:
    """The `k` photos most like a pet, best first, but for paths that are left out; its photos' embeddings are (1024,).

    `where` is a condition in SQL on the photos' columns: those for which it holds are compared one by one. With
    `group_by`, a column, only the best photo of each of its values counts; photos without a value stand alone.

    Raises:
        PetrieveError: `k` is below 1, the condition cannot be used, or there is no such column.
    """
    import numpy as np

    check_k(k)
    if not len(index.cache):
        raise PetrieveError(f"there are no embeddings in {index.cache.store.path}", "run `cli.py embed FOLDER` first")
    if group_by is not None and group_by not in index.cache.columns():
        known = ", ".join(index.cache.columns())
        raise PetrieveError(f"there is no column {group_by!r} to group by", f"the columns are {known}")
    # (1024,): its product with a photo's embedding is the mean of the cosines.
    pet = unit_length(np.stack(embeddings)).mean(axis=0)
    ranking = _chosen(index, pet, where) if where is not None else _all(index, pet)
    wanted, found = k + len(leave_out), list[Match]()
    while True:
        ids, similarities = ranking(wanted)
        candidates = _matches(index, ids, similarities, leave_out, group_by)
        found = [one for one in candidates if one.similarity >= min_similarity][:k]
        exhausted = len(ids) < wanted or (similarities and similarities[-1] < min_similarity)
        if len(found) == k or exhausted:
            break
        wanted *= GROWTH
    shares = reading(index.cache).as_close([one.similarity for one in found])
    return [replace(one, pairs_as_close=share) for one, share in zip(found, shares, strict=True)]


def _all(index: Index, pet: "np.ndarray") -> Ranking:
    """All photos, as the index ranks them."""
    import numpy as np

    length = float(np.linalg.norm(pet))

    def ranking(wanted: int) -> tuple[list[int], list[float]]:
        similarities, ids = nearest(index, pet, wanted)
        return ids, [one * length for one in similarities]

    return ranking


def _chosen(index: Index, pet: "np.ndarray", where: str) -> Ranking:
    """The photos that a condition chooses, ranked exactly: each is compared, and 12 bytes of each are kept."""
    import numpy as np

    ids, similarities = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for photos, embeddings in index.cache.where(where):
        ids.append(photos["_rowid"].cast("int64").to_numpy())
        similarities.append(embeddings @ pet / lengths(embeddings))
    every, close = np.concatenate(ids), np.concatenate(similarities)
    order = np.argsort(-close, kind="stable")

    def ranking(wanted: int) -> tuple[list[int], list[float]]:
        first = order[:wanted]
        return every[first].tolist(), close[first].tolist()

    return ranking


def _matches(
    index: Index, ids: list[int], similarities: list[float], leave_out: frozenset[str], group_by: str | None
) -> Iterator[Match]:
    """The photos with these row ids, best first: the best of each group alone."""
    photos = named(index, ids)  # most often from memory
    groups = _values(index, ids, group_by) if group_by else [None] * len(ids)
    seen = set[str]()
    for (path, label), group, similarity in zip(photos, groups, similarities, strict=True):
        word = None if group is None else str(group)  # lists, which an import may bring, are not hashable
        if path in leave_out or word in seen:
            continue
        if word is not None:
            seen.add(word)
        yield Match(path, label, round(min(similarity, 1.0), 4), 1.0, group)


def _values(index: Index, ids: list[int], column: str) -> list[Any]:
    """What stands in a column of the photos with these row ids."""
    import numpy as np

    values: list[Any] = index.cache.take(np.array(ids, np.int64), [column])[column].to_pylist()
    return values
