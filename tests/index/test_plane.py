"""The map: like beside like, the same each time, and what the store holds, whatever the map's file says."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Done
from forging import Lie, forged
from planting import DIMENSION, empty_store, made_up, of_trunk, whole

from petrieve.index import plane, tsne
from petrieve.index.landmarks import laid_out
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError
from petrieve.store.known import known, nothing
from petrieve.store.photo import Photo
from petrieve.store.rows import Embedded, unit_length

Run = Callable[..., Done]


@pytest.fixture(scope="module")
def made_mapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three kinds of made-up photos, a third of them laid out, the others placed between."""
    folder = tmp_path_factory.mktemp("mapped") / "s"
    cache, drawn = empty_store(folder), np.random.default_rng(0)
    for kind in ("cat", "dog", "fox"):
        middle = drawn.normal(size=DIMENSION)
        vectors = (middle + drawn.normal(size=(50, 1, DIMENSION))).astype(np.float32)
        photos = [Photo("/made-up", f"{kind} {n}.jpg", 1, 1, kind, None) for n in range(50)]
        rows = zip(photos, vectors, strict=True)
        cache.commit([Embedded(photo, drawn.bytes(16), 1, 1, one) for photo, one in rows], known(cache))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plane, "LANDMARKS", 50)
        plane.make(cache)
    return folder


@pytest.fixture
def mapped(made_mapped: Path, tmp_path: Path) -> Cache:
    """Such a store, the test's own."""
    return Cache.open(shutil.copytree(made_mapped, tmp_path / "mapped"))


def nearest(points: np.ndarray, count: int) -> np.ndarray:
    """The places of the `count` others nearest to each."""
    far = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(far, np.inf)
    return np.argsort(far, axis=1)[:, :count]


def labels(cache: Cache, contents: np.ndarray) -> np.ndarray:
    said = {row["digest"].rstrip(b"\0"): row["label"] for batch in cache.every_photo() for row in batch.to_pylist()}
    return np.array([said[bytes(one)] for one in contents])


def place_of(found: plane.Plane, content: bytes) -> np.ndarray:
    (place,) = found.points[found.contents == content.rstrip(b"\0")]
    return np.asarray(place)


def test_a_map_keeps_more_neighbours_than_two_principal_components(run: Run, store: Path) -> None:
    done = run("build-map", "--store", store, "--json")
    assert (done.status, done.json["contents"]) == (0, 40), done.err
    cache = Cache.open(store)
    found = plane.load(cache)
    assert found is not None
    assert (found.points.dtype, found.points.shape, float(abs(found.points).max())) == (np.float32, (40, 2), 1)
    held = {one.digest.rstrip(b"\0"): one.embedding for one in whole(cache).values()}
    embeddings = np.stack([held[bytes(one)] for one in found.contents])
    true = nearest(unit_length(embeddings), 5)
    components = laid_out(embeddings).reduced[:, :2]
    kept, by_components = (
        np.mean([np.isin(*pair).mean() for pair in zip(nearest(points, 5), true, strict=True)])
        for points in (found.points, components)
    )
    assert kept > by_components + 0.05


def test_repulsion_on_the_grid_is_that_between_all_pairs() -> None:
    points = np.random.default_rng(0).normal(0, 20, (800, 2)).astype(np.float32)
    exact = tsne._exact(points)
    off = abs(tsne._repulsion(points) - exact)
    assert off.mean() < 0.06 * abs(exact).mean()


def test_those_that_are_placed_lie_among_their_own_kind(mapped: Cache) -> None:
    found = plane.load(mapped)
    assert found is not None
    assert (len(found.contents), found.added, found.gone, found.outdated) == (150, 0, 0, False)
    kinds = labels(mapped, found.contents)
    assert (kinds[nearest(found.points, 5)] == kinds[:, None]).mean() > 0.95


def test_the_same_contents_give_the_same_map_in_whatever_order_they_came(tmp_path: Path) -> None:
    rows = [made_up(number, number + 1) for number in range(40)]
    maps = []
    for name, some in (("a", rows), ("b", rows[::-1]), ("c", rows)):
        empty_store(tmp_path / name).commit(some, nothing())
        maps.append(plane.make(Cache.open(tmp_path / name)))
    places = [{bytes(one): place.tobytes() for one, place in zip(a.contents, a.points, strict=True)} for a in maps]
    assert places[0] == places[1] == places[2]
    assert len(places[0]) == 40


def test_new_photos_are_placed_beside_their_look_alikes_and_gone_ones_leave(mapped: Cache) -> None:
    before = plane.load(mapped)
    assert before is not None
    there = whole(mapped)
    path = next(path for path, one in there.items() if one.photo.label == "fox")
    twin = there[path].embedding + np.random.default_rng(0).normal(0, 0.05, DIMENSION).astype(np.float32)
    mapped.commit([Embedded(Photo("/made-up", "twin.jpg", 1, 1, None, None), b"t" * 16, 1, 1, twin[None])], nothing())
    gone = sorted(other for other, one in there.items() if one.photo.label == "cat")[:50]
    mapped.forget(gone, known(mapped))
    data = mapped.folder.map.read_bytes()
    cache = Cache.open(mapped.store.path)
    found = plane.load(cache)
    assert found is not None
    assert (len(found.contents), found.added, found.gone) == (101, 1, 50)
    assert found.outdated
    assert np.linalg.norm(place_of(found, b"t" * 16) - place_of(found, there[path].digest)) < 0.05
    assert not np.isin(found.contents, [there[one].digest.rstrip(b"\0") for one in gone]).any()
    assert mapped.folder.map.read_bytes() == data, "who looks writes nothing"
    made = plane.make(cache)
    assert (len(made.contents), made.added, made.gone) == (101, 0, 0)


@pytest.mark.parametrize("count", [1, 2, 3, 30])
def test_few_photos_and_photos_that_are_all_the_same_have_places_too(tmp_path: Path, count: int) -> None:
    cache = empty_store(tmp_path / "s")
    same = np.ones((1, DIMENSION), np.float32)
    rows = [
        Embedded(Photo("/made-up", f"{n}.jpg", 1, 1, None, None), bytes([n + 1]) * 16, 1, 1, same) for n in range(count)
    ]
    cache.commit(rows, nothing())
    made = plane.make(Cache.open(tmp_path / "s"))
    assert made.points.shape == (count, 2)
    assert (abs(made.points) <= 1).all()


def test_where_nothing_was_embedded_or_no_map_was_made_that_is_said(run: Run, store: Path, tmp_path: Path) -> None:
    assert plane.load(Cache.open(store)) is None
    assert run("info", "--store", store, "--json").json["map"] is None
    empty_store(tmp_path / "empty")
    done = run("build-map", "--store", tmp_path / "empty")
    assert (done.status, done.out, "cli.py embed" in done.err) == (1, "", True)


def test_a_damaged_map_is_seen_wherever_a_bit_is_flipped_or_the_file_is_cut(run: Run, mapped: Cache) -> None:
    file = mapped.folder.map
    data = file.read_bytes()
    places = [*range(0, 1500, 97), *np.random.default_rng(0).integers(len(data), size=30).tolist()]
    damaged = [data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :] for place in places]
    for one in [*damaged, *(data[:end] for end in (0, 1, 8, 100, len(data) // 2, len(data) - 1))]:
        file.write_bytes(one)
        with pytest.raises(PetrieveError, match="build-map"):
            plane.load(mapped)
    info = run("info", "--store", mapped.store.path)
    assert (info.status, "cli.py build-map` makes it anew" in info.out) == (0, True)
    assert [one["remedy"] for one in plane.check(mapped)] == ["run `petrieve build-map`"]
    assert run("build-map", "--store", mapped.store.path).status == 0
    assert plane.check(mapped) == []


LIES: dict[str, Lie] = {
    "fewer places than contents": lambda held, _: held.update(points=held["points"][:-1]),
    "places outside": lambda held, _: held["points"].__setitem__((0, 0), 2),
    "places that are no numbers": lambda held, _: held["points"].fill(np.nan),
    "an id twice": lambda held, _: held["ids"].__setitem__(1, held["ids"][0]),
    "landmarks without places": lambda held, _: held.update(spots=held["spots"][:0]),
    "axes of another trunk": lambda held, _: held.update(axes=held["axes"][:-1], mean=held["mean"][:-1]),
    "axes that are no numbers": lambda held, _: held["axes"].fill(np.inf),
    "an array too many": lambda held, _: held.update(more=held["spots"]),
    "numbers of another type": lambda held, _: held.update(reduced=held["reduced"].astype(np.float64)),
    "a method that is a number": lambda _, card: card.update(method=1),
    "no method": lambda _, card: card.pop("method"),
    "another trunk's": lambda _, card: card.update(fingerprint="another"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_map_that_lies_about_itself_is_refused(mapped: Cache, lie: str) -> None:
    forged(mapped.folder.map, LIES[lie])
    with pytest.raises(PetrieveError, match="build-map"):
        plane.load(mapped)


def test_verify_names_a_map_that_does_not_fit_and_the_command_that_mends_it(run: Run, store: Path) -> None:
    assert run("build-map", "--store", store).status == 0
    assert run("verify", "--store", store, "--sample", 0).status == 0
    forged(of_trunk(store).map, lambda _, card: card.update(fingerprint="another"))
    done = run("verify", "--store", store, "--sample", 0, "--json")
    assert (done.status, [one["remedy"] for one in done.json["findings"]]) == (1, ["run `cli.py build-map`"])


def test_a_maker_that_is_killed_leaves_the_old_map(mapped: Cache, start: Callable[..., object]) -> None:
    mapped.commit([made_up(number, number + 1000) for number in range(40)], nothing())
    data = mapped.folder.map.read_bytes()
    killed = "import os; os.fsync = lambda _: os.kill(os.getpid(), 9)"  # when all is written, and not yet renamed
    done = start("build-map", "--store", mapped.store.path, first=killed).done()  # type: ignore[attr-defined]
    assert (done.status, mapped.folder.map.read_bytes() == data) == (-9, True)
    found = plane.load(Cache.open(mapped.store.path))
    assert found is not None
    assert (len(found.contents), found.added) == (190, 40)
