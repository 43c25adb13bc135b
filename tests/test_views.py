"""Augmented views: a photo has several rows, and each of them is the same on every machine and in every run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Done

from extractor.cache import Cache
from extractor.rows import Embedded, Known

Run = Callable[..., Done]


def whole(cache: Cache) -> dict[str, Embedded]:
    """Each photo with all its views, by path."""
    ids = [row for known in cache.known().values() for row in known.rows]
    return {one.photo.path: one for one in cache.rows(ids).values()}


@pytest.fixture
def grown(store: Path) -> tuple[Cache, dict[str, Known]]:
    """The store of the drawn photos, with two made-up views beside each canonical one; and what it held before."""
    cache = Cache.open(store)
    known = cache.known()
    photos = [replace(one, augmented=[one.embedding + 1, one.embedding + 2]) for one in whole(cache).values()]
    cache.commit(photos, known)
    return cache, known


def test_readers_that_ask_for_nothing_else_see_canonical_views(grown: tuple[Cache, dict[str, Known]]) -> None:
    cache, before = grown
    assert len(cache) == len(cache.known()) == sum(len(vectors) for _, vectors in cache.embeddings()) == 40
    assert {path: one.row for path, one in cache.known().items()} == {path: one.row for path, one in before.items()}
    assert (cache.counts()["photos"], cache.counts()["views"]) == (40, 120)
    rows = [row for photos, _ in cache.embeddings(every_view=True) for row in photos.to_pylist()]
    assert sorted(row["view"] for row in rows) == [0] * 40 + [1] * 40 + [2] * 40
    assert {row["view"] for photos, _ in cache.embeddings() for row in photos.to_pylist()} == {0}


def test_a_photos_views_come_back_as_one_value_in_their_order(grown: tuple[Cache, dict[str, Known]]) -> None:
    cache, _ = grown
    for one in whole(cache).values():
        assert one.views.shape == (3, 1024)
        assert np.allclose(one.views - one.embedding, [[0], [1], [2]], atol=0.01)
    first = next(iter(cache.known().values()))
    assert len(cache.rows([first.row])[first.row].augmented) == 0
    assert cache.rows(first.augmented) == {}


def test_a_changed_photo_a_forgotten_one_and_a_new_label_reach_every_view(
    grown: tuple[Cache, dict[str, Known]],
) -> None:
    cache, _ = grown
    known = cache.known()
    one, other, gone = list(whole(cache).values())[:3]
    photo = replace(one.photo, size=1)
    cache.commit([replace(one, photo=photo, embedding=-one.embedding, augmented=[one.embedding * 0] * 2)], known)
    cache.relabel({other.photo.path: {"label": "tiger"}})
    cache.forget([gone.photo.path], known)
    rows = [row for photos, _ in cache.embeddings(every_view=True) for row in photos.to_pylist()]
    assert len(rows) == 39 * 3
    assert [row["size"] for row in rows if row["uri"] == one.photo.uri] == [1] * 3
    assert [row["label"] for row in rows if row["uri"] == other.photo.uri] == ["tiger"] * 3
    assert {len(vector) for vector in whole(cache)[one.photo.path].views} == {1024}
    assert not np.any(whole(cache)[one.photo.path].augmented)
