"""All embeddings of a cache as points in the plane: made once, kept in the store, and brought up to date when opened.

Contents that came later are placed among the landmarks that the others were placed by, and those that are gone are left
out: a map shows what the cache holds, whatever its file says.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from petrieve.index.codes.exact import taken
from petrieve.index.landmarks import Landmarks, laid_out
from petrieve.store.cache import Cache
from petrieve.store.digests import Digests, marks_of
from petrieve.store.errors import PetrieveError, first_line
from petrieve.store.files import remove_abandoned, write_file
from petrieve.store.near import local
from petrieve.store.rows import digests

if TYPE_CHECKING:
    import numpy as np

REMEDY = "run `petrieve build-map`"
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
    source: str  # a digest of the contents
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
        """How far it is behind: the share of all that it shows or showed that came or went since, 0 to 1."""
        return (self.added + self.gone) / max(len(self.contents) + self.gone, 1)

    @property
    def outdated(self) -> bool:
        """Whether so much came or went that it should be made again."""
        return self.behind > OUTDATED


@dataclass(frozen=True, eq=False)
class Kept:
    """A map as its file has it."""

    card: Card
    contents: "np.ndarray"  # (N,) S16, ascending by their marks
    points: "np.ndarray"  # float32 (N, 2)
    landmarks: Landmarks

    @cached_property
    def marks(self) -> "np.ndarray":
        """The first 8 bytes of the contents, uint64 (N,), ascending."""
        return marks_of(self.contents)


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
        if kept and (kept.card.source, kept.card.method) == (_source(marks), METHOD):
            return _plane(kept, np.ones(len(kept.contents), bool), [], [])
    chosen = np.argsort(marks, kind="stable")[:LANDMARKS]  # by digest: the same ones whatever came first
    first, embeddings = zip(*((digests(rows), some) for rows, some in taken(cache, ids[chosen])), strict=True)
    landmarks = laid_out(np.concatenate(embeddings))
    contents, points = _placed(cache, ids, landmarks)
    order = np.argsort(marks_of(contents), kind="stable")
    contents, points = contents[order], points[order]
    points[np.searchsorted(marks_of(contents), marks_of(np.concatenate(first)))] = landmarks.spots
    seconds = round(time.perf_counter() - started, 1)
    card = Card(METHOD, len(contents), len(landmarks.spots), seconds, _source(marks), cache.fingerprint)
    kept = Kept(card, contents, points, landmarks)
    _save(kept, cache)
    return _plane(kept, np.ones(len(contents), bool), [], [])


def load(cache: Cache) -> Plane | None:
    """The map in the cache's store, brought up to date in memory; None where none was made.

    Raises:
        PetrieveError: it is damaged, or was made from embeddings of another trunk, or nobody here may read it.
    """
    kept = _read(cache)
    if kept is None:
        return None
    there, fresh = _differences(kept, cache)
    contents, points = _placed(cache, fresh, kept.landmarks)
    return _plane(kept, there, [contents], [points])


def describe(cache: Cache) -> dict[str, Any] | None:
    """What the map in the cache's store is, how far it is behind, and whether it `fits`; None where none was made."""
    try:
        kept = _read(cache)
    except PetrieveError as error:
        return {"fits": False, "why": str(error)}
    if kept is None:
        return None
    there, fresh = _differences(kept, cache)
    card = {name: value for name, value in asdict(kept.card).items() if name not in ("source", "fingerprint")}
    return {"fits": True, **card, "added": len(fresh), "gone": int((~there).sum())}


def check(cache: Cache) -> list[dict[str, str]]:
    """What is wrong with the map in the cache's store (`what`), and what mends it (`remedy`)."""
    try:
        _read(cache)
    except PetrieveError as error:
        return [{"what": error.what, "remedy": error.remedy}]
    return []


def _plane(kept: Kept, there: "np.ndarray", contents: "list[np.ndarray]", points: "list[np.ndarray]") -> Plane:
    """What of a kept map is `there`, with more contents and their places."""
    import numpy as np

    return Plane(
        np.concatenate([kept.contents[there], *contents]),
        np.concatenate([kept.points[there], *points]),
        kept.card.method,
        added=sum(map(len, contents)),
        gone=int((~there).sum()),
        seconds=kept.card.seconds,
    )


def _placed(cache: Cache, ids: "np.ndarray", landmarks: Landmarks) -> "tuple[np.ndarray, np.ndarray]":
    """The contents (n,) of these rows, and where they are placed (n, 2)."""
    import numpy as np

    contents, points = [np.zeros(0, "S16")], [np.zeros((0, 2), np.float32)]
    for rows, some in taken(cache, ids):
        contents.append(digests(rows))
        points.append(landmarks.place(some))
    return np.concatenate(contents), np.concatenate(points)


def _differences(kept: Kept, cache: Cache) -> "tuple[np.ndarray, np.ndarray]":
    """Which of a map's contents (N,) the cache holds; and the ids of those that the map lacks, ascending."""
    import numpy as np

    ids, marks = cache.marks()
    order = np.argsort(marks, kind="stable")  # where both are sorted, a million are looked up in 0.1 s, and not in 2
    now, then = Digests(marks[order], ids[order]), Digests(kept.marks, kept.marks)
    return now.holds(then.marks), np.sort(now.ids[~then.holds(now.marks)])


def _source(marks: "np.ndarray") -> str:
    """Changes with the contents, whatever their order."""
    import numpy as np

    return hashlib.blake2b(np.sort(marks).astype("<u8").tobytes(), digest_size=16).hexdigest()


def _save(kept: Kept, cache: Cache) -> None:
    """Keep a map in the cache's store, and remove what makers left there that were killed."""
    import numpy as np
    from safetensors.numpy import save as to_bytes

    held = {"contents": kept.contents.view(np.uint8).reshape(-1, 16), "points": kept.points, **vars(kept.landmarks)}
    card = json.dumps(asdict(kept.card))
    remove_abandoned(cache.store.path)
    write_file(cache.folder.map, to_bytes(held, {"card": card, "digest": _digest(card, held)}))


def _read(cache: Cache) -> Kept | None:
    """The map in the cache's store as it is there; None where there is none.

    Raises:
        PetrieveError: as `load` does.
    """
    from safetensors import safe_open

    kept = None
    with suppress(FileNotFoundError), _whole(cache):
        with safe_open(str(local(cache.folder.map)), "numpy") as opened:
            metadata = opened.metadata() or {}
            held = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        if metadata["digest"] != _digest(metadata["card"], held):
            raise ValueError("its digest is another's")
        kept = _kept(Card(**json.loads(metadata["card"])), held)
        if kept.landmarks.axes.shape[0] != cache.dimension and kept.card.fingerprint == cache.fingerprint:
            raise ValueError("it is of embeddings of another dimension")
    if kept is not None and kept.card.fingerprint != cache.fingerprint:
        raise PetrieveError(
            f"the map was made from embeddings of other weights ({kept.card.fingerprint[:8]}) "
            f"than the store's ({cache.fingerprint[:8]})",
            REMEDY,
        )
    return kept


def _kept(card: Card, held: "dict[str, np.ndarray]") -> Kept:
    """A map of what its file says.

    Raises:
        ValueError, KeyError, TypeError: that is no map.
    """
    import numpy as np

    for name, type_ in Card.__annotations__.items():
        if not isinstance(getattr(card, name), type_):
            raise TypeError(f"{name} is not a {type_}")
    contents, points = held.pop("contents"), held.pop("points")
    made, count = Landmarks(**held), card.landmarks
    dimension, axes = made.axes.shape
    shapes = {"mean": (dimension,), "axes": (dimension, axes), "reduced": (count, axes), "spots": (count, 2)}
    found = {name: array.shape for name, array in held.items()}
    if count < 1 or found != shapes or (contents.shape, points.shape) != ((card.contents, 16), (card.contents, 2)):
        raise ValueError(f"shapes {found}")
    if contents.dtype != np.uint8 or any(array.dtype != np.float32 for array in (points, *held.values())):
        raise ValueError("numbers of another type")
    if not all(np.isfinite(array).all() for array in held.values()) or not (abs(points) <= 1).all():
        raise ValueError("places that are no places")
    kept = Kept(card, np.ascontiguousarray(contents).view("S16").reshape(-1), points, made)
    if (kept.marks[1:] < kept.marks[:-1]).any():
        raise ValueError("contents in another order")
    return kept


@contextmanager
def _whole(cache: Cache) -> Iterator[None]:
    """Trouble with reading the map in the cache's store, said as ours; that there is none stays FileNotFoundError."""
    from safetensors import SafetensorError

    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        what = f"cannot read the map {cache.folder.map}: {first_line(error)}"
        raise PetrieveError(what, "make it readable, or remove it") from error
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise PetrieveError(f"the map {cache.folder.map} is damaged, or of another release", REMEDY) from error


def _digest(card: str, held: "dict[str, np.ndarray]") -> str:
    """Changes with every bit of a map: it tells damage, not forgery."""
    digest = hashlib.blake2b(card.encode(), digest_size=16)
    for name in sorted(held):
        digest.update(f"{name} {held[name].dtype} {held[name].shape}\n".encode())
        digest.update(held[name].data)
    return digest.hexdigest()
