"""Embeddings → their neighbours."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from petrieve.index.build import Index
from petrieve.index.codes.exact import streamed
from petrieve.index.names import NAMES, names
from petrieve.store.chosen import Chosen
from petrieve.store.digests import as_bytes
from petrieve.store.errors import PetrieveError
from petrieve.store.photo import path_of
from petrieve.store.rows import digests, unit_length

if TYPE_CHECKING:
    import numpy as np

# Of more neighbours than this, all photos are compared: to read the embeddings one by one would take as long.
MANY = 1000
# How many more contents are looked at when those that were found have too few photos.
GROWTH = 4
# From so many questions on, the names of all photos are in memory. At a million, reading them takes 1.4 s once and
# spares 5 ms of each question: benchmarks/RESULTS.md.
PATIENCE = 50


@dataclass(frozen=True)
class Neighbour:
    """A cached photo (its path) and how like the query it is: cosine similarity, -1 to 1."""

    photo: str
    label: str | None
    similarity: float
    gone: str | None = None  # since when it was not found where it was


@dataclass(frozen=True)
class Found:
    """A photo of a content that was found, by its row's id."""

    row: int
    photo: str
    label: str | None
    gone: str | None
    similarity: float
    digest: str  # of its content, hexadecimal


def search(
    index: Index, embedding: "np.ndarray", *, k: int = 10, leave_out: frozenset[str] = frozenset()
) -> list[Neighbour]:
    """The `k` photos most like an embedding (D,), best first, but for those whose paths are left out.

    Raises:
        PetrieveError: `k` is below 1.
    """
    check_k(k)
    found = [one for one in ranked(index, embedding, k + len(leave_out)) if one.photo not in leave_out]
    return [Neighbour(one.photo, one.label, round(min(one.similarity, 1.0), 4), one.gone) for one in found[:k]]


def ranked(index: Index, embedding: "np.ndarray", wanted: int, chosen: Chosen | None = None) -> list[Found]:
    """The `wanted` photos most like an embedding (D,), or a few more, or all that there are; best first.

    Of all photos, or of the chosen ones. Photos with the same bytes stand beside each other.
    """
    asked = wanted
    while True:
        similarities, ids = nearest(index, embedding, asked, chosen)
        found = named(index, ids, similarities, chosen)
        if len(found) >= wanted or len(ids) < asked:
            return found
        asked *= GROWTH


def nearest(
    index: Index, embedding: "np.ndarray", wanted: int, chosen: Chosen | None = None
) -> tuple[list[float], list[int]]:
    """Cosines and ids of the `wanted` contents most like an embedding (D,), or of all that there are; best first."""
    similarities, ids = nearest_of_each(index, embedding[None], wanted, chosen)
    there = ids[0] >= 0
    return similarities[0][there].tolist(), ids[0][there].tolist()


def nearest_of_each(
    index: Index, embeddings: "np.ndarray", wanted: int, chosen: Chosen | None = None
) -> "tuple[np.ndarray, np.ndarray]":
    """Cosines and ids, (Q, `wanted` or as many as there are) each, of the contents most like embeddings (Q, D).

    Of all contents, or of those that the chosen photos have.
    """
    import numpy as np

    queries, among = unit_length(embeddings), None if chosen is None else chosen.contents
    if index.held is None:
        return streamed(index.cache, queries, wanted, among)
    similarities, ids = index.held.nearest(queries, wanted, among)
    if index.kept is None:
        return similarities, ids
    there = len(index.held.ids) + len(index.kept.inverted.ids) - len(index.stale) if among is None else among.count
    wanted = min(wanted, there)
    if wanted > MANY or (among is not None and index.kept.is_little(among)):
        return streamed(index.cache, queries, wanted, among)
    close, listed = index.kept.nearest(index.cache, queries, wanted, stale=index.stale, among=among)
    similarities, ids = np.concatenate([similarities, close], axis=1), np.concatenate([ids, listed], axis=1)
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :wanted]
    ids = np.take_along_axis(ids, order, 1)
    if ids.shape[1] < wanted or (ids < 0).any():  # the lists that were looked into hold too few
        return streamed(index.cache, queries, wanted, among)
    return np.take_along_axis(similarities, order, 1), ids


def named(index: Index, ids: list[int], similarities: list[float], chosen: Chosen | None = None) -> list[Found]:
    """The photos, or the chosen ones, of the contents with these row ids, in their order."""
    import numpy as np

    listed = zip(_photos_of(index, ids), similarities, strict=True)
    found = [found_of(photo, similarity) for photos, similarity in listed for photo in photos]
    if chosen is None:
        return found
    held = chosen.photos.hold(np.array([one.row for one in found], np.int64))
    return [one for one, is_chosen in zip(found, held, strict=True) if is_chosen]


def _photos_of(index: Index, ids: list[int]) -> list[list[dict[str, Any]]]:
    """Rows of the photos of each of these contents, with NAMES and `_rowid`."""
    import numpy as np

    if index.kept is not None and next(index.questions) >= PATIENCE and (known := names(index.cache)):
        return known.of(ids)
    rows = np.array(ids, np.int64)
    contents = None if index.held is None else index.held.of(rows)
    if contents is None:
        contents = digests(index.cache.take(rows, ["digest"]))
    if len(contents) < len(ids):  # the store let go of some while it was read
        return [[] for _ in ids]
    photos = defaultdict(list)
    for photo in index.cache.photos_of(contents, NAMES).to_pylist():
        photos[photo["digest"]].append(photo)
    return [photos[digest] for digest in as_bytes(contents)]


def found_of(photo: Mapping[str, Any], similarity: float) -> Found:
    """A photo's row, with NAMES and `_rowid`, as what was found."""
    gone = photo["gone"].date().isoformat() if photo["gone"] else None
    path, digest = path_of(photo["root"], photo["uri"]), photo["digest"].hex()
    return Found(photo["_rowid"], path, photo["label"], gone, similarity, digest)


def check_k(k: int) -> None:
    """Refuse to look for nothing.

    Raises:
        PetrieveError: `k` is below 1.
    """
    if k < 1:
        raise PetrieveError(f"cannot look for {k} neighbours", "give `-k` a number from 1 on")
