"""The index of many photos: as good as it says, alive, and trusted for nothing but speed."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SHARED, Done, need
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from planting import DIMENSION, KIND, agree, empty_store, first, made_up, of_trunk
from safetensors.numpy import load_file

from petrieve.index import build, names, search
from petrieve.index.codes import exact, kept, tune, update
from petrieve.store.cache import Cache
from petrieve.store.known import known, nothing
from petrieve.store.rows import unit_length

Run = Callable[..., Done]


@pytest.mark.real
def test_the_card_says_what_is_measured_and_a_large_store_gets_its_index_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(SHARED / "embeddings")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import large

    large.store(tmp_path / "s", 20_000)
    cache = Cache.open(tmp_path / "s")
    assert update.update(cache) is None  # each is compared
    monkeypatch.setattr(exact, "EXACT", 10_000)
    assert build.build(cache).held is None
    card = update.update(cache, recall=0.97)
    assert card is not None
    assert (card.target, card.photos, card.chosen) == (0.97, 20_000, True)
    assert card.recall > 0.955
    index = build.build(cache)
    rows = cache.take(cache.marks()[0][5:20_000:199], ["embedding"])
    queries = np.stack(rows["embedding"].to_pylist()).astype(np.float32)
    _, wanted = search.nearest_of_each(replace(index, held=None), queries, 11)
    _, found = search.nearest_of_each(index, queries, 11)
    recall = np.mean([np.isin(one[1:], other).mean() for one, other in zip(wanted, found, strict=True)])
    assert recall > 0.95
    assert card.lists < index.kept.inverted.lists / 2  # type: ignore[union-attr]
    assert (unit_length(queries) * unit_length(queries)).sum(axis=1) == pytest.approx(1)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 12)),
        st.tuples(st.sampled_from(["change", "remove", "swap", "relabel"]), st.integers(0, 10**6)),
        st.tuples(st.sampled_from(["update", "follow", "search", "reopen"]), st.integers(1, 60)),
    ),
    max_size=12,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS)
def test_a_search_is_brute_force_over_what_the_cache_holds_whatever_happened(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, int]]
) -> None:
    cache = empty_store(tmp_path_factory.mktemp("s") / "s")
    cache.commit([made_up(n, n + 1) for n in range(60)], nothing())
    update.update(cache, kind=KIND)
    index, new = build.build(cache), 1000
    for operation, number in [*operations, ("follow", 9)]:
        there = known(cache)
        paths = sorted(there)
        if operation == "add":
            new += number
            cache.commit([made_up(n, n) for n in range(new - number, new)], there)
        elif operation == "change" and paths:
            path = paths[number % len(paths)]
            new += 1
            cache.commit([made_up(int(Path(path).stem), new)], there)
        elif operation == "swap" and len(paths) > 1:
            one, other = (int(Path(paths[(number + step) % len(paths)]).stem) for step in (0, 1))
            new += 2
            cache.commit([made_up(one, new), made_up(other, new - 1)], there)
        elif operation == "remove" and paths:
            cache.forget(paths[number % len(paths) :][: 1 + number % 7], there)
        elif operation == "relabel" and paths:
            cache.change({paths[number % len(paths)]: {"label": "rabbit"}}, there)
        elif operation == "update":
            update.update(Cache.open(cache.store.path))
        elif operation == "reopen":
            index = build.build(Cache.open(cache.store.path))
        index = build.follow(index)
        agree(index, np.random.default_rng(number).normal(size=DIMENSION), 1 + number % 70)


def test_an_index_follows_what_is_added_changed_and_removed_without_being_written(many: Cache) -> None:
    file, index = many.folder.index.read_bytes(), build.build(many)
    new = made_up(9000, 9000)
    assert search.search(index, new.embedding, k=1)[0].similarity < 0.5
    many.commit([new], nothing())
    before = index
    index = build.follow(index)
    assert search.search(index, new.embedding, k=1)[0].photo == "/made-up/9000.jpg"
    assert search.search(before, new.embedding, k=1)[0].photo != "/made-up/9000.jpg"  # of the cache as it was
    changed = made_up(9000, 9001)
    many.commit([changed], known(many))
    index = build.follow(index)
    assert search.search(index, new.embedding, k=1)[0].similarity < 0.5
    assert search.search(index, changed.embedding, k=1)[0].similarity == 1.0
    gone = search.search(index, first(many), k=1)[0].photo
    many.forget([gone], known(many))
    index = build.follow(index)
    assert gone not in {one.photo for one in search.search(index, first(many), k=400)}
    assert len(search.search(index, first(many), k=1000)) == len(many) == 400
    assert build.follow(index) is index
    assert many.folder.index.read_bytes() == file


def test_who_asks_often_gets_the_answers_of_who_asks_first(
    many: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    twin = replace(made_up(9001, 7), digest=made_up(1, 7).digest)  # an embedding of its own is not taken: it has one
    many.commit([made_up(9000, 9000), twin], known(many))
    many.mark_gone(["/made-up/9000.jpg"], known(many))
    index, asked = build.follow(build.build(many)), [first(many), made_up(9000, 9000).embedding]
    before = [search.search(index, one, k=400) for one in asked]
    assert {one.photo: one.gone is not None for one in before[1]}["/made-up/9000.jpg"]
    monkeypatch.setattr(search, "PATIENCE", 0)  # all names are in memory from now on
    assert [search.search(index, one, k=400) for one in asked] == before
    monkeypatch.setattr(names, "MOST", 10)
    names.names.cache_clear()
    assert [search.search(index, one, k=400) for one in asked] == before


def test_update_takes_in_what_is_new_and_keeps_lists_and_codes(many: Cache) -> None:
    before, held = kept.load(many), load_file(many.folder.index)
    assert before is not None
    many.commit([made_up(n, n) for n in range(9000, 9090)], nothing())
    card = update.update(many)
    after = kept.load(many)
    assert after is not None
    assert card == after.card
    assert (after.card.photos, after.card.trained_on, after.card.seconds) == (490, 400, before.card.seconds)
    assert (load_file(many.folder.index)["centroids"] == held["centroids"]).all()
    assert len(build.build(many).held.ids) == 0  # type: ignore[union-attr]
    written = many.folder.index.stat().st_mtime_ns
    update.update(many)
    assert many.folder.index.stat().st_mtime_ns == written


def test_a_patient_update_leaves_little_to_be_compared_beside_and_takes_in_more(many: Cache) -> None:
    written = many.folder.index.read_bytes()
    many.commit([made_up(n, n) for n in range(9000, 9004)], nothing())
    update.update(many, patient=True)
    assert many.folder.index.read_bytes() == written
    agree(build.build(many), made_up(9001, 9001).embedding, 3)
    many.commit([made_up(9004, 9004)], nothing())
    card = update.update(many, patient=True)
    assert card is not None
    assert card.photos == 405


def test_an_index_that_finds_too_little_is_built_anew(many: Cache) -> None:
    told: list[str] = []
    many.commit([made_up(n, n) for n in range(9000, 9450)], nothing())  # more than it was trained on
    card = update.update(many, tell=told.append)
    assert card is not None
    assert (card.photos, card.trained_on) == (850, 850)
    assert card.kind == KIND
    assert "built anew" in told[0]
    found = kept.load(many)
    assert found is not None
    kept.save(replace(found, card=replace(found.card, recall=found.card.recall_built - 0.05)), many)
    many.commit([made_up(8000, 8000)], nothing())
    card = update.update(many, tell=told.append)
    assert card is not None
    assert card.trained_on == 851


def test_more_neighbours_than_there_are_and_more_than_the_lists_hold_are_all_there_are(many: Cache) -> None:
    index = build.build(many)
    assert len(search.search(index, first(many), k=400)) == 400
    assert len(search.search(index, first(many), k=10**6)) == 400


def test_the_commands_build_show_and_check_an_index(run: Run, store: Path, photos: Path, drawn: Path) -> None:
    done = run("build-index", "--store", store, "--kind", "PCA8,IVF4,SQ8", "--recall", 0.9, "--json")
    assert done.status == 0, done.err
    assert (done.json["kind"], done.json["photos"], done.json["fits"], done.json["target"]) == (
        "PCA8,IVF4,SQ8", 40, True, 0.9,
    )  # fmt: skip
    assert run("info", "--store", store, "--json").json["index"] == done.json
    assert "finds" in run("info", "--store", store).out
    photo = sorted((drawn / "cat").iterdir())[0]
    assert len(run("similar", photo, "--store", store, "-k", 100, "--json").json["neighbours"]) == 39
    shutil.copy(sorted((photos / "dog").iterdir())[0], photos / "twin.jpg")
    Image.new("RGB", (300, 260), "teal").save(photos / "new.png")
    assert run("embed", photos / "twin.jpg", photos / "new.png", "--store", store).status == 0
    assert run("info", "--store", store, "--json").json["index"]["photos"] == 41, "contents"
    assert run("verify", "--store", store, "--sample", 0).status == 0
    data = of_trunk(store).index.read_bytes()
    of_trunk(store).index.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    done = run("verify", "--store", store, "--sample", 0, "--json")
    assert (done.status, [one["remedy"] for one in done.json["findings"]]) == (1, ["run `cli.py build-index`"])
    assert run("build-index", "--store", store, "--kind", "PCA8,IVF4,SQ8").status == 0
    assert run("verify", "--store", store, "--sample", 0).status == 0


def test_a_large_store_without_an_index_is_compared_photo_by_photo_and_embed_builds_one(
    run: Run, store: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = sorted((drawn / "cat").iterdir())[0]
    before = run("similar", photo, "--store", store, "--json").json
    monkeypatch.setattr(exact, "EXACT", 30)
    monkeypatch.setattr(tune, "kinds_for", lambda _: ["PCA8,IVF4,SQ8"])
    done = run("similar", photo, "--store", store, "--json")
    assert "cli.py build-index" in done.err
    assert not (of_trunk(store).index).exists()
    near = [one["similarity"] for one in done.json["neighbours"]]
    assert near == pytest.approx([one["similarity"] for one in before["neighbours"]], abs=2e-4)
    done = run("embed", drawn, "--store", store)
    assert (done.status, "an index of 40 photos is built" in done.err) == (0, True)
    assert run("info", "--store", store, "--json").json["index"]["chosen"] is True
    assert "note" not in run("embed", drawn, "--store", store).err


def test_a_builder_that_is_killed_and_two_at_once_leave_a_whole_index(
    many: Cache, start: Callable[..., object]
) -> None:
    words = ("build-index", "--store", many.store.path, "--kind", "PCA8,IVF8,SQ8", "--recall")
    one, other = start(*words, 0.9), start(*words, 0.8)
    assert [one.done().status, other.done().status] == [0, 0]  # type: ignore[attr-defined]
    found = kept.load(many)
    assert found is not None
    assert found.card.target in (0.8, 0.9)
    killed = start(*words, 0.95)
    killed.wait_for(lambda: list(many.folder.path.glob(".index.safetensors.*")))  # type: ignore[attr-defined]
    killed.kill_group()  # type: ignore[attr-defined]
    assert kept.load(many) is not None
    agree(build.build(many), first(many), 10)


def test_a_full_disk_costs_no_search_and_leaves_the_index_as_it_was(
    many: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = many.folder.index.read_bytes()
    many.commit([made_up(9000, 9000)], nothing())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        update.update(many)
    monkeypatch.undo()
    assert many.folder.index.read_bytes() == data
    assert not list(many.folder.path.glob(".index*"))
    agree(build.build(many), made_up(9000, 9000).embedding, 5)
