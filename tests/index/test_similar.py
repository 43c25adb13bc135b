"""The questions behind `similar`: conditions, groups, several photos of one pet, what a similarity means."""

import datetime
import shutil
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import Done
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from planting import DIMENSION, kept

from petrieve.index.build import build
from petrieve.index.question import Terms, ask
from petrieve.index.reading import reading
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError
from petrieve.store.known import known
from petrieve.store.rows import unit_length

Run = Callable[..., Done]


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """60 photos of 20 animals, three of each, the last two animals without a number; found on days of October."""
    draw = np.random.default_rng(3)
    animals = draw.normal(size=(20, DIMENSION))
    vectors = np.repeat(animals, 3, axis=0) + 0.8 * draw.normal(size=(60, DIMENSION)) + 1
    said = [
        {
            "label": "dog" if number % 2 else "cat",
            "pet_id": number // 3 if number < 54 else None,
            "found_on": datetime.date(2026, 10, 1 + number // 3),
            "coat colour": "black" if number % 5 else "it's red",
        }
        for number in range(60)
    ]
    return kept(tmp_path_factory.mktemp("pets"), vectors, said)


def brute(cache: Cache) -> tuple[list[str], np.ndarray]:
    batches = list(cache.embeddings())
    uris = [uri for photos, _ in batches for uri in photos["uri"].to_pylist()]
    return uris, unit_length(np.concatenate([vectors for _, vectors in batches]))


def similar(run: Run, cache: Cache, *words: object) -> Done:
    folder = cache.store.path.parent
    named = [folder / word if str(word).endswith(".jpg") else word for word in words]
    return run("similar", *named, "--store", cache.store.path)


def found(run: Run, cache: Cache, *words: object) -> list[str]:
    done = similar(run, cache, *words, "--json")
    assert done.status == 0, done.err
    return [Path(one["photo"]).name for one in done.json["neighbours"]]


CONDITIONS: dict[str, Callable[[int], bool]] = {
    "label = 'dog'": lambda n: n % 2 == 1,
    "label = 'dog' and found_on >= date '2026-10-11'": lambda n: n % 2 == 1 and n // 3 >= 10,
    "pet_id in (3, 4) or pet_id is null": lambda n: n // 3 in (3, 4, 18, 19),
    "`coat colour` = 'it''s red'": lambda n: n % 5 == 0,
    "uri like '1%.jpg'": lambda n: str(n).startswith("1"),
    "width = 4": lambda n: n < 99,
    "label = 'no such'": lambda n: n > 99,
    "(label = ')' or /* ) */ width = 4) -- )": lambda n: n < 99,
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_chooses_and_what_it_leaves_is_ranked_exactly(run: Run, pets: Cache, condition: str) -> None:
    uris, unit = brute(pets)
    cosines = unit @ unit[uris.index("0.jpg")]
    chosen = [n for n in np.argsort(-cosines) if CONDITIONS[condition](int(uris[n][:-4])) and uris[n] != "0.jpg"]
    assert found(run, pets, "0.jpg", "--where", condition, "-k", 7) == [uris[n] for n in chosen[:7]]


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (
            "lable = 'dog'",
            "lable, which is not a column; the columns are label, split, pet_id, found_on, `coat colour`",
        ),
        ("label = dog", "write texts in single quotes"),
        ("length(repeat('x', 10000000000)) > 0", "it may not call repeat, only abs, "),
        ("label = ", "the filter cannot be used"),
        ("label", "does not return a boolean"),
        ("", "the filter cannot be used"),
        ("'" * 999, "the filter cannot be used"),
        ("(" * 9999, "the filter cannot be used"),
        ("pet_id = 'x'", "could not convert"),
        ("pet_id / 0 = 1", "Divide by zero"),
        ("found_on >= '2026-10-01'", "date '2026-10-01'"),
        ("\"label\" = 'dog'", "double quotes"),
        ("label = 'dog'; drop table t", "the filter cannot be used"),
        ("label = 'dog' limit 1", "the filter cannot be used"),
        ("label in (select label from t)", "not supported"),
        ("read_csv('/etc/passwd') is null", "may not call read_csv"),
        ("label = ?", "? stands for nothing"),
        ("label = $1 and pet_id = 2", "$1 stands for nothing"),
        ("sum(pet_id) > 1", "the filter cannot be used"),
        ("label.colour = 'black'", "Cannot access field"),
        ("arrow_cast(pet_id, 'Number') > 1", "may not call arrow_cast"),
        ("label =", "found: ) or its end; write"),
        ("label = 'dog') or (label = 'cat'", "closes a bracket that it has not opened"),
        ("1 = 1) limit 1 --", "closes a bracket that it has not opened"),
        ("pet_id = 1) garbage (x", "closes a bracket that it has not opened"),
        ("label = $$dog$$", "$ stands for nothing"),
    ],
)
def test_a_wrong_condition_is_one_line_that_names_the_columns(run: Run, pets: Cache, condition: str, said: str) -> None:
    done = similar(run, pets, "0.jpg", "--where", condition)
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1), done.err
    assert said in done.err
    assert "label" in done.err


@settings(max_examples=60, deadline=None)
@given(
    condition=st.text(st.sampled_from(string.ascii_letters + " '\"`();,=<>%-*/\\\n\0") | st.characters(), max_size=30)
)
def test_no_condition_does_more_than_choose_or_fail(pets: Cache, condition: str) -> None:
    version, there = pets.version, len(pets)
    try:
        chosen = [uri for photos in pets.where(condition, ["uri"]) for uri in photos["uri"].to_pylist()]
        assert len(set(chosen)) == len(chosen) <= there
    except PetrieveError as error:
        assert "the filter" in str(error)
    now = Cache.open(pets.store.path)
    assert (now.version, len(now)) == (version, there)


def test_grouped_the_best_photo_of_each_animal_counts_and_photos_without_one_stand_alone(run: Run, pets: Cache) -> None:
    uris, unit = brute(pets)
    cosines = unit @ unit[uris.index("0.jpg")]
    best, seen = [], set()
    for n in np.argsort(-cosines):
        number = int(uris[n][:-4])
        animal = number // 3 if number < 54 else f"alone {number}"
        if number and animal not in seen:
            seen.add(animal)
            best.append(uris[n])
    done = similar(run, pets, "0.jpg", "--group-by", "pet_id", "-k", 100, "--json").json["neighbours"]
    assert [Path(one["photo"]).name for one in done] == best
    assert len(best) == 18 + 6
    numbers = [int(Path(one["photo"]).stem) for one in done]
    assert [one["group"] for one in done] == [number // 3 if number < 54 else None for number in numbers]
    assert found(run, pets, "0.jpg", "--group-by", "pet_id", "-k", 3) == best[:3]
    assert "group" in similar(run, pets, "0.jpg", "--group-by", "found_on").out.splitlines()[0]
    done = similar(run, pets, "0.jpg", "--group-by", "pet")
    assert (done.status, "the columns are label, split, pet_id" in done.err) == (1, True)


def test_lists_can_be_grouped_by(tmp_path: Path) -> None:
    cache = kept(tmp_path, np.eye(4, DIMENSION) + 1, [{} for _ in range(4)])
    cache.add_columns(pa.schema([("tags", pa.list_(pa.int64()))]))
    tags: dict[str, dict[str, Any]] = {path: {"tags": [1, n // 2]} for n, path in enumerate(sorted(known(cache)))}
    cache.change(tags, known(cache))
    found = ask(build(Cache.open(tmp_path / "store")), [np.ones(DIMENSION)], Terms(group_by="tags"))
    assert sorted(one.group for one in found) == [[1, 0], [1, 1]]


def test_one_animal_with_most_photos_does_not_hide_the_others(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    vectors = np.concatenate(
        [np.ones((200, DIMENSION)) + 0.1 * draw.normal(size=(200, DIMENSION)), np.eye(5, DIMENSION)]
    )
    cache = kept(tmp_path, vectors, [{"pet_id": n if n >= 200 else 7} for n in range(205)])
    groups = [one.group for one in ask(build(cache), [np.ones(DIMENSION, np.float32)], Terms(k=4, group_by="pet_id"))]
    assert groups[0] == 7
    assert len(set(groups)) == 4


def test_several_photos_of_one_pet_are_asked_with_the_mean_of_their_cosines(run: Run, pets: Cache) -> None:
    uris, unit = brute(pets)
    asked = [uris.index(name) for name in ("0.jpg", "1.jpg", "33.jpg")]
    means = (unit @ unit[asked].T).mean(axis=1)
    order = [n for n in np.argsort(-means) if n not in asked][:9]
    document = similar(run, pets, "0.jpg", "1.jpg", "33.jpg", "-k", 9, "--json").json
    assert [Path(photo).name for photo in document["photos"]] == ["0.jpg", "1.jpg", "33.jpg"]
    assert [Path(one["photo"]).name for one in document["neighbours"]] == [uris[n] for n in order]
    assert np.allclose([one["similarity"] for one in document["neighbours"]], means[order], atol=1e-3)
    assert set(similar(run, pets, "0.jpg", "--json").json) == {"photo", "neighbours"}


def test_nothing_below_the_least_similarity_is_shown(run: Run, pets: Cache) -> None:
    every = similar(run, pets, "0.jpg", "-k", 100, "--json").json["neighbours"]
    least = every[11]["similarity"]
    assert found(run, pets, "0.jpg", "-k", 100, "--min-similarity", least) == [
        Path(one["photo"]).name for one in every if one["similarity"] >= least
    ]
    assert found(run, pets, "0.jpg", "--min-similarity", 1) == []
    assert similar(run, pets, "0.jpg", "--min-similarity", 2).status == 2


def test_a_similarity_is_read_off_all_pairs_of_the_cache(run: Run, pets: Cache) -> None:
    _, unit = brute(pets)
    pairs = (unit @ unit.T)[np.triu_indices(60, 1)]
    for one in similar(run, pets, "0.jpg", "-k", 59, "--json").json["neighbours"]:
        as_close = one["pairs_as_close"] * (len(pairs) + 1) - 1
        assert (pairs >= one["similarity"] + 1e-4).sum() <= round(as_close) <= (pairs >= one["similarity"] - 1e-4).sum()
    assert "1 of " in similar(run, pets, "0.jpg").out
    assert np.array_equal(reading(pets).pairs, reading(Cache.open(pets.store.path)).pairs)


def test_copies_of_the_same_bytes_are_no_random_pair(tmp_path: Path) -> None:
    vectors = np.repeat(np.eye(4, DIMENSION), 2, axis=0)
    cache = kept(tmp_path, vectors, [{"same_as": n // 2} for n in range(8)])
    assert reading(cache).pairs.tolist() == [0.0] * 6
    assert reading(cache).as_close([0.5, 0.0]) == [1 / 7, 1.0]


def test_an_empty_store_is_said_to_be_empty(run: Run, tmp_path: Path, drawn: Path) -> None:
    photo = shutil.copy(sorted((drawn / "cat").iterdir())[0], tmp_path / "a.jpg")
    run("embed", tmp_path, "--store", tmp_path / "s", "--weights", "bundled")
    moved = shutil.move(photo, tmp_path.parent / f"{tmp_path.name}.jpg")
    run("embed", tmp_path, "--store", tmp_path / "s", "--prune", "--forget", 1)
    done = run("similar", moved, "--store", tmp_path / "s")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert "run `cli.py embed FOLDER` first" in done.err


def test_a_sheet_frames_every_photo_of_the_pet(run: Run, store: Path, drawn: Path, tmp_path: Path) -> None:
    cats = sorted((drawn / "cat").iterdir())[:2]
    assert run("similar", *cats, "--store", store, "-k", 2, "--sheet", tmp_path / "s.jpg").status == 0
    with Image.open(tmp_path / "s.jpg") as sheet:
        frames = [sheet.getpixel((12 + 232 * column + 110, 9)) for column in range(4)]
    orange = [red > 180 and blue < 110 for red, _, blue in frames]  # type: ignore[misc]
    assert orange == [True, True, False, False]


def test_an_embedding_without_numbers_makes_no_other_photo_answer_twice(run: Run, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(6, DIMENSION))
    vectors[2] = np.nan
    cache = kept(tmp_path, vectors, [{} for _ in vectors])
    assert sorted(found(run, cache, "0.jpg", "-k", 10)) == ["1.jpg", "3.jpg", "4.jpg", "5.jpg"]
    assert sorted(found(run, cache, "0.jpg", "1.jpg", "-k", 10)) == ["3.jpg", "4.jpg", "5.jpg"]
