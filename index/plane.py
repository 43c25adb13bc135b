"""All embeddings of a cache as points in the plane: made once, kept in the store, and brought up to date when opened.

Contents that came later are placed among the landmarks that the others were placed by, and those that are gone are left
out: a map shows what the cache holds, whatever its file says.
"""

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from petrieve.index.codes.arrays import FileKind, check_weights, differences, digest_of, read_arrays, reading
from petrieve.index.landmarks import Landmarks, laid_out
from petrieve.store.cache import Cache
from petrieve.store.digests import marks_of
from petrieve.store.errors import PetrieveError
from petrieve.store.files import remove_abandoned, write_file
from petrieve.store.rows import digests, row_ids

if TYPE_CHECKING:
    import numpy as np

MAP = FileKind("map", "made", "run `petrieve build-map`")
METHOD = "t-SNE"  # another name for each way that gives other points: a map is made again
LANDMARKS = 25_000
OUTDATED = 0.2  # share of what it shows, or showed, that makes it worth making again


@dataclass(frozen=True)
class Card:
    """What a map is, and what it was made of."""

    method: str
    contents: int
    landmarks: int
    seconds: float
    fingerprint: str


@dataclass(frozen=True, eq=False)
class Plane:
    """N contents and their places in the plane."""

    contents: "np.ndarray"  # (N,) S16
    points: "np.ndarray"  # float32 (N, 2), in [-1, 1]
    method: str
    added: int  # of these, how many came after the map was made
    gone: int  # how many more there were when it was made
    seconds: float  # that making it took

    @property
    def behind(self) -> float:
        """The share, 0 to 1, of all that it shows or showed that came or went since it was made."""
        return (self.added + self.gone) / max(len(self.contents) + self.gone, 1)

    @property
    def outdated(self) -> bool:
        """Whether it should be made again: more than a fifth came or went."""
        return self.behind > OUTDATED


@dataclass(frozen=True, eq=False)
class KeptMap:
    """A map as its file has it."""

    card: Card
    ids: "np.ndarray"  # int64 (N,), of their rows, ascending
    contents: "np.ndarray"  # (N,) S16
    points: "np.ndarray"  # float32 (N, 2)
    landmarks: Landmarks


def make(cache: Cache) -> Plane:
    """The map of all contents in a cache, made and kept in its store; the one kept there where nothing has changed.

    Whoever is killed here, or makes one at the same time, leaves a whole one, the old or a new.

    Raises:
        PetrieveError: there are no embeddings, or the store cannot be written to.
    """
    import numpy as np

    started = time.perf_counter()
    ids, marks = cache.marks()
    if not len(ids):
        raise PetrieveError(f"there are no embeddings in {cache.store.path}", "run `petrieve embed FOLDER` first")
    with suppress(PetrieveError):
        kept = _read(cache)
        if kept and kept.card.method == METHOD and not any(map(len, _differences(kept, cache))):
            return _plane(kept, cache)
    drawn = ids[np.argsort(marks, kind="stable")[:LANDMARKS]]  # by digest: whatever came first
    first, embeddings = zip(*((row_ids(rows), some) for rows, some in cache.vectors_of(drawn)), strict=True)
    found = np.concatenate(first)
    order = np.argsort(found)
    landmarks = laid_out(np.concatenate(embeddings)[order[np.searchsorted(found, drawn, sorter=order)]])
    ids, contents, points = _placed(cache, ids, landmarks)
    points[np.searchsorted(ids, drawn)] = landmarks.spots
    seconds = round(time.perf_counter() - started, 1)
    card = Card(METHOD, len(ids), len(landmarks.spots), seconds, cache.fingerprint)
    kept = KeptMap(card, ids, contents, points, landmarks)
    _save(kept, cache)
    return _plane(kept, cache)


def load(cache: Cache) -> Plane | None:
    """The map in the cache's store, brought up to date in memory; None where none was made.

    Raises:
        PetrieveError: it is damaged, or was made from embeddings of another trunk, or nobody here may read it.
    """
    kept = _read(cache)
    if kept is None:
        return None
    return _plane(kept, cache)


def describe(cache: Cache) -> dict[str, Any] | None:
    """The card of the map in the cache's store, what came and went since, whether it `fits`; None if none was made."""
    try:
        kept = _read(cache)
    except PetrieveError as error:
        return {"fits": False, "why": str(error)}
    if kept is None:
        return None
    fresh, stale = _differences(kept, cache)
    card = {name: value for name, value in asdict(kept.card).items() if name != "fingerprint"}
    return {"fits": True, **card, "added": len(fresh), "gone": len(stale)}


def check(cache: Cache) -> list[dict[str, str]]:
    """What is wrong with the map in the cache's store (`what`), and what mends it (`remedy`)."""
    try:
        _read(cache)
    except PetrieveError as error:
        return [{"what": error.what, "remedy": error.remedy}]
    return []


def _plane(kept: KeptMap, cache: Cache) -> Plane:
    """A kept map without what is gone, and with what is new in its place."""
    import numpy as np

    fresh, stale = _differences(kept, cache)
    there = ~np.isin(kept.ids, stale)
    _, contents, points = _placed(cache, fresh, kept.landmarks)
    return Plane(
        np.concatenate([kept.contents[there], contents]),
        np.concatenate([kept.points[there], points]),
        kept.card.method,
        added=len(contents),
        gone=len(stale),
        seconds=kept.card.seconds,
    )


def _differences(kept: KeptMap, cache: Cache) -> "tuple[np.ndarray, np.ndarray]":
    """Ids in the cache that a map lacks, and ids in the map that the cache lacks: or holds with other content."""
    return differences(kept.ids, marks_of(kept.contents), *cache.marks())


def _placed(cache: Cache, ids: "np.ndarray", landmarks: Landmarks) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """The ids (n,) of these rows, ascending, their contents (n,), and where they are placed (n, 2)."""
    import numpy as np

    found, contents, points = [np.zeros(0, np.int64)], [np.zeros(0, "S16")], [np.zeros((0, 2), np.float32)]
    for rows, some in cache.vectors_of(ids):
        found.append(row_ids(rows))
        contents.append(digests(rows))
        points.append(landmarks.place(some))
    rows_found = np.concatenate(found)
    order = np.argsort(rows_found)  # a table's own may be another
    return rows_found[order], np.concatenate(contents)[order], np.concatenate(points)[order]


def _save(kept: KeptMap, cache: Cache) -> None:
    """Keep a map in the cache's store, and remove what makers left there that were killed."""
    import numpy as np
    from safetensors.numpy import save as to_bytes

    contents = kept.contents.view(np.uint8).reshape(-1, 16)
    arrays = {"ids": kept.ids, "contents": contents, "points": kept.points, **vars(kept.landmarks)}
    card = json.dumps(asdict(kept.card))
    remove_abandoned(cache.store.path)
    write_file(cache.folder.map, to_bytes(arrays, {"card": card, "digest": digest_of(card, arrays)}))


def _read(cache: Cache) -> KeptMap | None:
    """The map in the cache's store as it is there; None where there is none.

    Raises:
        PetrieveError: as `load` does.
    """
    kept = None
    with suppress(FileNotFoundError), reading(cache.folder.map, MAP) as here:
        kept = _kept(*read_arrays(here, Card))
        if kept.landmarks.axes.shape[0] != cache.dimension and kept.card.fingerprint == cache.fingerprint:
            raise ValueError("it is of embeddings of another dimension")
    if kept is not None:
        check_weights(kept.card.fingerprint, cache, MAP)
    return kept


def _kept(card: Card, arrays: "dict[str, np.ndarray]") -> KeptMap:
    """A map of what its file says.

    Raises:
        ValueError, KeyError, TypeError: it is not a map.
    """
    import numpy as np

    ids, contents, points = (arrays.pop(name) for name in ("ids", "contents", "points"))
    made, count, wanted = Landmarks(**arrays), card.landmarks, card.contents
    dimension, axes = made.axes.shape
    shapes = {"mean": (dimension,), "axes": (dimension, axes), "reduced": (count, axes), "spots": (count, 2)}
    found = {name: array.shape for name, array in arrays.items()}
    own = (ids.shape, contents.shape, points.shape)
    if count < 1 or found != shapes or own != ((wanted,), (wanted, 16), (wanted, 2)):
        raise ValueError(f"shapes {found} and {own}")
    numbers = all(array.dtype == np.float32 for array in (points, *arrays.values()))
    if not numbers or ids.dtype != np.int64 or contents.dtype != np.uint8:
        raise ValueError("numbers of another type")
    if not all(np.isfinite(array).all() for array in arrays.values()) or not (abs(points) <= 1).all():
        raise ValueError("places outside of the plane")
    if (ids[1:] <= ids[:-1]).any():
        raise ValueError("an id for each content is wanted")
    return KeptMap(card, ids, np.ascontiguousarray(contents).view("S16").reshape(-1), points, made)
