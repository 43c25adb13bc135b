"""A search among the photos that a condition chooses: as sure as without one, and of these photos alone."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Done
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planting import DIMENSION, KIND, OWN, empty_store, made_up, thorough

from petrieve.index import build, search
from petrieve.index.codes import kept, update
from petrieve.index.question import Terms, ask
from petrieve.store.cache import Cache
from petrieve.store.known import known, nothing
from petrieve.store.photo import Photo
from petrieve.store.rows import Embedded, unit_length

Run = Callable[..., Done]
CLUSTERS, PHOTOS = 12, 1800


@pytest.fixture(scope="module")
def clustered(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """1,800 photos around 12 points, a label for each, with an index of 36 lists; `pet_id` tells nothing of them."""
    draw = np.random.default_rng(5)
    points = draw.normal(size=(CLUSTERS, DIMENSION))
    ways = draw.normal(size=(24, DIMENSION))
    cache = empty_store(tmp_path_factory.mktemp("clustered") / "s")
    cache.add_columns(OWN)
    photos = []
    for number, pet in enumerate(draw.permutation(PHOTOS).tolist()):
        vector = points[number % CLUSTERS] + draw.normal(size=24) @ ways * 0.15
        photo = Photo("/made-up", f"{number}.jpg", 1, 1, f"breed {number % CLUSTERS}", None, {"pet_id": pet})
        photos.append(Embedded(photo, draw.bytes(16), 1, 1, vector[None].astype(np.float32)))
    cache.commit(photos, nothing())
    update.update(cache, kind="PCA64,IVF36,SQ8", recall=0.995)
    return Cache.open(cache.store.path)


@pytest.fixture
def read_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a condition chooses is little: its embeddings are read and compared."""
    monkeypatch.setattr(kept, "EMBEDDING", 0)


def everything(cache: Cache) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Each photo's row, and the unit-length embeddings (N, D)."""
    batches = list(cache.embeddings())
    return [row for photos, _ in batches for row in photos.to_pylist()], unit_length(
        np.concatenate([vectors for _, vectors in batches])
    )


CONDITIONS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "pet_id < 900": lambda row: row["pet_id"] < 900,
    "pet_id < 300": lambda row: row["pet_id"] < 300,
    "pet_id < 30": lambda row: row["pet_id"] < 30,
    "pet_id = 7": lambda row: row["pet_id"] == 7,
    "pet_id < 0": lambda row: row["pet_id"] < 0,
    "label = 'breed 3'": lambda row: row["label"] == "breed 3",
    "label <= 'breed 4'": lambda row: row["label"] <= "breed 4",
    "label = 'breed 3' and pet_id < 300": lambda row: row["label"] == "breed 3" and row["pet_id"] < 300,
    "width > 0": lambda row: row["width"] > 0,
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_leaves_the_nearest_as_sure_as_they_were_though_it_goes_with_the_lists(
    clustered: Cache, condition: str
) -> None:
    rows, unit = everything(clustered)
    index = build.build(clustered)
    assert index.kept is not None
    assert index.kept.card.lists < index.kept.inverted.lists / 4
    chosen = np.flatnonzero([CONDITIONS[condition](row) for row in rows])
    paths = np.array([f"/made-up/{row['uri']}" for row in rows])
    shares = []
    for query in range(0, PHOTOS, 59):
        found = [one.photo for one in ask(index, [unit[query]], Terms(where=condition))]
        assert len(set(found)) == len(found) == min(10, len(chosen))
        assert set(found) <= set(paths[chosen])
        nearest = paths[chosen[np.argsort(-(unit[chosen] @ unit[query]))[:10]]]
        shares.append(np.isin(nearest, found).mean() if len(nearest) else 1)
    assert np.mean(shares) >= 0.99


def test_what_a_condition_chooses_is_ranked_alike_by_codes_and_by_embeddings(
    clustered: Cache, request: pytest.FixtureRequest
) -> None:
    index, (_, unit) = thorough(build.build(clustered)), everything(clustered)
    asked = partial(
        ask,
        embeddings=[unit[77], unit[78]],
        terms=Terms(where="pet_id < 200", k=25, group_by="label"),
        leave_out=frozenset({"/made-up/77.jpg"}),
    )
    by_codes = asked(index)
    request.getfixturevalue("read_all")
    by_embeddings = asked(index)
    assert [one.photo for one in by_codes] == [one.photo for one in by_embeddings]
    assert [one.group for one in by_codes] == list(dict.fromkeys(one.group for one in by_codes))
    assert len(by_codes) == CLUSTERS
    assert [one.similarity for one in by_codes] == pytest.approx([one.similarity for one in by_embeddings], abs=2e-4)


def test_more_than_a_search_reads_one_by_one_are_all_that_a_condition_chooses(clustered: Cache) -> None:
    index, (rows, unit) = build.build(clustered), everything(clustered)
    found = ask(index, [unit[0]], Terms(where="pet_id < 1200", k=2000))
    assert {one.photo for one in found} == {f"/made-up/{row['uri']}" for row in rows if row["pet_id"] < 1200}


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["add", "copy", "change", "relabel", "remove", "update"]), st.integers(0, 10**6)),
    max_size=9,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS, exactly=st.booleans(), in_codes=st.booleans(), named=st.booleans())
def test_a_condition_sees_what_is_new_changed_and_gone_and_each_photo_by_its_own_words(
    tmp_path_factory: pytest.TempPathFactory,
    operations: list[tuple[str, int]],
    exactly: bool,
    in_codes: bool,
    named: bool,
) -> None:
    cache = empty_store(tmp_path_factory.mktemp("s") / "s")
    cache.commit([made_up(n, n + 1, ("cat", "dog")[n % 2]) for n in range(60)], nothing())
    if in_codes:
        update.update(cache, kind=KIND)
    index, new = build.build(cache), 1000
    for operation, number in [*operations, ("end", 7)]:
        there, new = known(cache), new + 1
        path = sorted(there)[number % len(there)]
        label = ("cat", "dog", "rabbit")[number % 3]
        if operation == "add":
            cache.commit([made_up(new, new, label)], there)
        elif operation == "copy":  # the same bytes by another name, and with other words
            cache.commit([made_up(new, 1 + number % 60, label)], there)
        elif operation == "change":
            cache.commit([made_up(int(Path(path).stem), new)], there)
        elif operation == "relabel":
            cache.change({path: {"label": label}}, there)
        elif operation == "remove":
            cache.forget([path], there)
        elif operation == "update" and in_codes:
            update.update(Cache.open(cache.store.path))
        index = build.follow(index)
        rows, unit = everything(Cache.open(cache.store.path))
        query = np.random.default_rng(number).normal(size=DIMENSION)
        cosines = unit @ unit_length(query[None])[0]
        for label in ("cat", "rabbit"):
            wanted = {
                f"/made-up/{row['uri']}": c for row, c in zip(rows, cosines, strict=True) if row["label"] == label
            }
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(kept, "EMBEDDING", 0 if exactly else kept.EMBEDDING)
                patch.setattr(search, "PATIENCE", 0 if named else search.PATIENCE)
                found = ask(thorough(index), [query], Terms(where=f"label = '{label}'", k=1 + number % 40))
            assert len({one.photo for one in found}) == len(found) == min(len(wanted), 1 + number % 40)
            best = sorted(wanted.values(), reverse=True)[: len(found)]
            assert [one.similarity for one in found] == pytest.approx(best, abs=3e-4)
            assert [one.similarity for one in found] == pytest.approx([wanted[one.photo] for one in found], abs=3e-4)


def test_contents_whose_digests_begin_alike_are_told_apart(many: Cache) -> None:
    rows, unit = everything(many)  # the first 8 bytes are zeros in all of them
    found = ask(build.build(many), [unit[0]], Terms(where="label = 'dog'", k=300))
    assert {one.photo for one in found} == {f"/made-up/{row['uri']}" for row in rows if row["label"] == "dog"}


def test_a_condition_is_remembered_as_long_as_nothing_is_written_and_one_that_passes_is_not(many: Cache) -> None:
    past = "modified < now()"
    assert many.chosen(past) is not many.chosen(past)
    dogs = many.chosen("label = 'dog'")
    assert many.chosen("label = 'dog'") is dogs
    assert (dogs.photos.count, many.chosen("label = 'cat'").photos.count) == (200, 200)
    path = next(path for path in sorted(known(many)) if "cat" in path)
    many.change({path: {"label": "dog"}}, known(many))
    assert many.chosen("label = 'dog'").photos.count == 201


def test_evaluate_measures_the_index_among_photos_of_one_label_too(run: Run, clustered: Cache) -> None:
    document = run("evaluate", "--store", clustered.store.path, "--json").json
    assert document["index_recall"]["value"] >= 0.98
    assert document["index_recall_chosen"]["value"] >= 0.99
    assert "among photos of one label alone" in run("evaluate", "--store", clustered.store.path).out
