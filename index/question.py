"""The question behind "similar": which of the photos that may be meant look most like one pet, told by its photos."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from petrieve.index.build import Index
from petrieve.index.reading import reading
from petrieve.index.search import GROWTH, Found, check_k, ranked
from petrieve.store.errors import PetrieveError
from petrieve.store.rows import unit_length

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Terms:
    """How many photos are looked for, and which of them count.

    `where` is a condition in SQL on the photos' columns: only those for which it holds are meant. With `group_by`, a
    column, only the best photo of each of its values counts; photos without a value stand alone.
    """

    k: int = 10
    where: str | None = None
    group_by: str | None = None
    min_similarity: float = -1.0


ANY = Terms()


@dataclass(frozen=True)
class Match:
    """A cached photo (its path), how like the query it is, and what that means.

    `similarity` is the cosine, -1 to 1; for several photos of one pet the mean of theirs. `pairs_as_close` is the
    share of random pairs of the cache that are as similar; `group` the value of the column that was grouped by;
    `gone` since when the photo was not found where it was.
    """

    photo: str
    label: str | None
    similarity: float
    pairs_as_close: float
    group: Any = None
    gone: str | None = None
    digest: str = ""  # of its content, hexadecimal

    @property
    def path(self) -> str:
        """Where the photo is, as `path` of every answer has it."""
        return self.photo


def ask(
    index: Index,
    embeddings: "Sequence[np.ndarray]",
    terms: Terms = ANY,
    *,
    leave_out: frozenset[str] = frozenset(),
) -> list[Match]:
    """The photos most like a pet, best first, but for paths that are left out; its photos' embeddings are (D,).

    Raises:
        PetrieveError: `k` is below 1, a similarity beyond 1, the condition cannot be used, or there is no such column.
    """
    import numpy as np

    k, where, group_by = terms.k, terms.where, terms.group_by
    check_k(k)
    if not -1 <= terms.min_similarity <= 1:
        raise PetrieveError(
            f"no photo is {terms.min_similarity:g} similar", "give `min_similarity=…` a number from -1 to 1"
        )
    if not len(index.cache):
        raise PetrieveError(f"there are no embeddings in {index.cache.store.path}", "run `petrieve embed FOLDER` first")
    if group_by is not None and group_by not in index.cache.columns():
        known = ", ".join(index.cache.columns())
        raise PetrieveError(f"there is no column {group_by!r} to group by", f"the columns are {known}")
    # (D,): its product with a photo's embedding is the mean of the cosines.
    pet = unit_length(np.stack(embeddings)).mean(axis=0)
    length, chosen = float(np.linalg.norm(pet)), None if where is None else index.cache.chosen(where)
    wanted, found = k + len(leave_out), list[Match]()
    while True:
        ranked_ = [replace(one, similarity=one.similarity * length) for one in ranked(index, pet, wanted, chosen)]
        candidates = _matches(index, ranked_, leave_out, group_by)
        found = [one for one in candidates if one.similarity >= terms.min_similarity][:k]
        exhausted = len(ranked_) < wanted or ranked_[-1].similarity < terms.min_similarity
        if len(found) == k or exhausted:
            break
        wanted *= GROWTH
    shares = reading(index.cache).as_close([one.similarity for one in found])
    return [replace(one, pairs_as_close=share) for one, share in zip(found, shares, strict=True)]


def _matches(
    index: Index, ranked_: Sequence[Found], leave_out: frozenset[str], group_by: str | None
) -> Iterator[Match]:
    """These photos, best first: the best of each group alone."""
    groups = _values(index, [one.row for one in ranked_], group_by) if group_by else [None] * len(ranked_)
    seen = set[str]()
    for one, group in zip(ranked_, groups, strict=True):
        word = None if group is None else str(group)  # lists, which an import may bring, are not hashable
        if one.photo in leave_out or word in seen:
            continue
        if word is not None:
            seen.add(word)
        yield Match(one.photo, one.label, round(min(one.similarity, 1.0), 4), 1.0, group, one.gone, one.digest)


def _values(index: Index, ids: list[int], column: str) -> list[Any]:
    """What stands in a column of the photos with these row ids."""
    import numpy as np

    values: list[Any] = index.cache.take_photos(np.array(ids, np.int64), [column])[column].to_pylist()
    return values
