"""Stores of made-up photos, and what a store holds."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from petrieve.extractor.engines.local import View, load
from petrieve.extractor.sources.folder import Files, read_photo
from petrieve.extractor.trunks.kinds import FIRST
from petrieve.index import build, search
from petrieve.store.cache import Cache
from petrieve.store.folder import Folder, Made, Store, read_card
from petrieve.store.known import nothing
from petrieve.store.photo import Photo, path_of
from petrieve.store.rows import Embedded, Unreadable, own, photo_of, unit_length

DIMENSION = FIRST.dimension


def nothing_there(digest: bytes) -> None:
    """What a new store has of a content."""


def seen(photo: Photo) -> View | Unreadable | None:
    """What reading and decoding a photo gives."""
    return load(read_photo(photo), there=nothing_there).seen


def said_in(cache: Cache) -> dict[str, dict[str, Any]]:
    """Label, split and the user's own columns of all photos, by path."""
    rows = [row for batch in cache.photos(["root", "uri", *cache.columns()]) for row in batch.to_pylist()]
    return {path_of(row["root"], row["uri"]): {name: row[name] for name in cache.columns()} for row in rows}


def empty_store(store: Path) -> Cache:
    """A new store without photos, of a trunk that does not exist."""
    return Cache.create(Store(store), Made(FIRST.name, "planted", "bundled"), dimension=DIMENSION)


def of_trunk(store: Path) -> Folder:
    """What lies in a store's folder of its first trunk."""
    card = read_card(Store(store))
    assert card
    return Store(store).folder(card.trunks[0])


def whole(cache: Cache) -> dict[str, Embedded]:
    """All photos of a cache with the embeddings of all their views, by path."""
    names = own(cache.photo_schema)
    rows = [row for batch in cache.photos(cache.photo_schema.names) for row in batch.to_pylist()]
    held = cache.views_of({row["digest"] for row in rows})
    found = [
        Embedded(photo_of(row, names), row["digest"], row["width"], row["height"], held[row["digest"]]) for row in rows
    ]
    return {one.photo.path: one for one in found}


SEED = np.random.default_rng(7)


def planted(store: Path, counts: dict[tuple[str | None, str | None], int], *, noise: float = 1.0) -> Cache:
    """A cache of made-up embeddings: N photos of each (label, split), each label around a point of its own."""
    cache = empty_store(store)
    labels = sorted({label for label, _ in counts if label})
    middles = {label: np.random.default_rng(i).normal(size=DIMENSION) for i, label in enumerate(labels)}
    rows = []
    for (label, split), count in counts.items():
        for number in range(count):
            photo = Photo("/made-up", f"{label}-{split}-{number}.jpg", 1, 1, label, split)
            vector = middles.get(label or "", np.zeros(DIMENSION)) + SEED.normal(size=DIMENSION) * noise
            rows.append(Embedded(photo, len(rows).to_bytes(16, "big"), 1, 1, vector[None].astype(np.float32)))
    cache.commit(rows, nothing())
    return cache


OWN = pa.schema([("pet_id", pa.int64()), ("found_on", pa.date32()), ("coat colour", pa.string())])


def kept(folder: Path, vectors: np.ndarray, said: list[dict[str, Any]]) -> Cache:
    """A cache of made-up embeddings; each photo is a file of a few bytes with the digest that its row has."""
    cache = empty_store(folder / "store")
    cache.add_columns(OWN)
    rows = []
    for number, (vector, words) in enumerate(zip(vectors, said, strict=True)):
        data = str(words.pop("same_as", number)).encode()
        (folder / f"{number}.jpg").write_bytes(data)
        label = words.pop("label", None)
        photo = Photo(str(folder), f"{number}.jpg", len(data), 1, label, None, words)
        rows.append(
            Embedded(photo, hashlib.blake2b(data, digest_size=16).digest(), 4, 3, vector[None].astype(np.float32))
        )
    cache.commit(rows, nothing())
    return Cache.open(folder / "store")


KIND = "PCA16,IVF4,SQ8"


def made_up(number: int, content: int, label: str = "cat") -> Embedded:
    """A photo whose embedding and digest follow from its content."""
    vector = np.random.default_rng(content).normal(size=DIMENSION).astype(np.float16).astype(np.float32)
    photo = Photo("/made-up", f"{number}.jpg", 1, content, label, None)
    return Embedded(photo, content.to_bytes(16, "little"), 1, 1, vector[None])


def brute_force(cache: Cache, query: np.ndarray) -> list[tuple[str, float]]:
    """Every photo in the cache with its cosine, best first."""
    found = []
    for photos, vectors in cache.embeddings():
        cosines = unit_length(vectors) @ unit_length(query[None])[0]
        found += zip([f"/made-up/{uri}" for uri in photos["uri"].to_pylist()], cosines.tolist(), strict=True)
    return sorted(found, key=lambda one: -one[1])


def thorough(index: build.Index) -> build.Index:
    """The same index, which looks into all its lists and compares all that it finds there."""
    if index.kept is None:
        return index
    card = replace(index.kept.card, lists=index.kept.inverted.lists, shortlist=max(1, len(index.kept.inverted.ids)))
    return replace(index, kept=replace(index.kept, card=card))


def agree(index: build.Index, query: np.ndarray, k: int) -> None:
    """A search finds what brute force over the cache's present rows finds."""
    every = brute_force(Cache.open(index.cache.store.path), query)
    wanted = every[:k]
    found = search.search(thorough(index), query, k=k)
    assert len({one.photo for one in found}) == len(found) == len(wanted)
    assert np.allclose([one.similarity for one in found], [cosine for _, cosine in wanted], atol=2e-4)
    assert np.allclose([one.similarity for one in found], [dict(every)[one.photo] for one in found], atol=2e-4)


def first(cache: Cache) -> np.ndarray:
    return np.asarray(next(vectors for _, vectors in cache.embeddings())[0])


Row = tuple[str, str | None, np.ndarray]  # label, split, embedding (1024,) or, with views, (V, 1024)


def cache_of(store: Path, rows: list[Row], digests: list[int] | None = None) -> Cache:
    cache = empty_store(store)
    made = []
    for number, (label, split, vector) in enumerate(rows):
        photo = Photo("/made-up", f"{number:05d}.jpg", 1, 1, label, split)
        digest = (digests[number] if digests else number).to_bytes(16, "big")
        made.append(Embedded(photo, digest, 1, 1, np.atleast_2d(vector).astype(np.float32)))
    cache.commit(made, nothing())
    return cache


def drawn(counts: dict[str, int], *, apart: float = 0.15, seed: int = 0, split: str | None = None) -> list[Row]:
    """So many photos of each label, around points that lie so far apart that some are mistaken."""
    draw = np.random.default_rng(seed)
    points = {label: np.random.default_rng(i + 1).normal(size=DIMENSION) for i, label in enumerate(sorted(counts))}
    return [
        (label, split, points[label] * apart + draw.normal(size=DIMENSION) + 2)
        for label, count in counts.items()
        for _ in range(count)
    ]


def arrays(classes: int, count: int, wide: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    targets = np.arange(count) % classes
    x = draw.normal(size=(classes, wide))[targets] * 0.3 + draw.normal(size=(count, wide)) * draw.uniform(0.5, 3, wide)
    return (x + 5).astype(np.float32), targets


def mistaken(report: dict[str, Any]) -> int:
    return sum(map(sum, report["confusion"])) - sum(row[i] for i, row in enumerate(report["confusion"]))


class Endless:
    """Parts of one photo each, without end; `taken` counts them."""

    def __init__(self, photo: Photo) -> None:
        self.taken, self._photo = 0, photo

    def __iter__(self) -> Iterator[tuple[Files, list[Photo]]]:
        while True:
            self.taken += 1
            yield Files((self._photo,)), [self._photo]
