"""Augmented views: a photo has several rows, and each of them is the same on every machine and in every run."""

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Done, Process
from embedding import repaint
from planting import DIMENSION, Endless, nothing_there, of_trunk, whole

from petrieve.classifier import head
from petrieve.extractor.engines import local as stream
from petrieve.extractor.pixels import augment as views
from petrieve.extractor.pixels.decode import Decoded
from petrieve.extractor.query import query
from petrieve.extractor.sources.folder import find
from petrieve.extractor.trunks.trunk import load_trunk
from petrieve.store.cache import Cache
from petrieve.store.known import Known, known
from petrieve.store.photo import path_of
from petrieve.store.rows import Embedded

Run = Callable[..., Done]
WEIGHTS = ("--weights", "bundled")


def bits(store: Path) -> dict[tuple[str, int], bytes]:
    """The embeddings' bits by path and view, straight from the table."""
    cache = Cache.open(store)
    found = {(path, view): v.tobytes() for path, one in whole(cache).items() for view, v in enumerate(one.views)}
    rows = [(row["digest"], row["view"]) for batch, _ in cache.every_vector() for row in batch.to_pylist()]
    assert len(rows) == len(set(rows)) == cache.counts()["views"], "each content has each view once"
    return found


def rows_of(cache: Cache) -> dict[tuple[bytes, int], int]:
    """The ids of the rows of each content and view."""
    rows = [row for batch, _ in cache.every_vector() for row in batch.to_pylist()]
    return {(row["digest"], row["view"]): row["_rowid"] for row in rows}


def again(run: Run, store: Path, *words: object) -> dict[str, int]:
    """The counts of a run, zeros left out."""
    done = run("embed", *words, "--store", store, "--json", *WEIGHTS)
    assert done.status == 0, done.err
    names = ("found", "embedded", "cached", "copied", "unreadable", "missing", "views")
    return {name: done.json[name] for name in names if done.json[name]}


@pytest.fixture
def few(photos: Path) -> Path:
    """Ten photos: more than a batch."""
    for extra in sorted(photos.rglob("*.*"))[10:]:
        extra.unlink()
    return photos


@pytest.fixture
def grown(store: Path) -> tuple[Cache, Known]:
    """The store of the drawn photos, with two made-up views beside each canonical one; and what it held before."""
    cache = Cache.open(store)
    before = known(cache)
    cache.keep_views(2, views.RECIPE)
    added = [np.stack([one.embedding + 1, one.embedding + 2]) for one in whole(cache).values()]
    cache.commit([replace(one, views=v, first=1) for one, v in zip(whole(cache).values(), added, strict=True)], before)
    return cache, before


def test_readers_that_ask_for_nothing_else_see_canonical_views(grown: tuple[Cache, Known]) -> None:
    cache, before = grown
    assert len(cache) == len(known(cache)) == sum(len(vectors) for _, vectors in cache.embeddings()) == 40
    assert [known(cache).row(path) for path in before] == [before.row(path) for path in before]
    assert (cache.counts()["photos"], cache.counts()["views"]) == (40, 120)
    rows = [row for batch, _ in cache.vectors(every_view=True) for row in batch.to_pylist()]
    assert sorted(row["view"] for row in rows) == [0] * 40 + [1] * 40 + [2] * 40
    assert {row["view"] for batch, _ in cache.vectors() for row in batch.to_pylist()} == {0}


def test_a_few_photos_are_looked_up_as_all_are_read(grown: tuple[Cache, Known]) -> None:
    cache, _ = grown

    def paths(photos: dict[str, bytes | None]) -> list[str]:
        return sorted(path_of(row["root"], row["uri"]) for row in cache.known_of(photos))

    every = known(cache)
    for path in every:
        digest = every.digest(path)
        assert digest
        assert paths({path: None}) == [path], "by its path"
        same = sorted(other for other in every if every.digest(other) == digest)
        assert paths({"/elsewhere/" + Path(path).name: digest}) == same, "by its bytes alone"
        assert cache.content_of(digest) == every.embeddings.of(digest)
    assert paths({path: every.digest(path) for path in every}) == sorted(every)
    assert paths({"/elsewhere/none.jpg": bytes(16)}) == paths({}) == []
    assert cache.content_of(bytes(16)) is None


def test_a_photos_views_come_back_as_one_value_in_their_order(grown: tuple[Cache, Known]) -> None:
    cache, _ = grown
    for one in whole(cache).values():
        assert one.views.shape == (3, DIMENSION)
        assert np.allclose(one.views - one.embedding, [[0], [1], [2]], atol=0.01)


def test_a_changed_photo_and_a_forgotten_one_take_all_their_views(grown: tuple[Cache, Known]) -> None:
    cache, there = grown
    one, _, gone = list(whole(cache).values())[:3]
    changed = replace(one, photo=replace(one.photo, size=1), digest=bytes(range(16)), views=one.views * 0 + 7)
    cache.commit([changed], there)
    assert whole(cache)[one.photo.path].photo.size == 1
    assert (whole(cache)[one.photo.path].views == 7).all()
    assert cache.counts()["views"] == 41 * 3, "what the photo showed before is kept"
    cache.forget([gone.photo.path], there)
    assert cache.counts()["views"] == 39 * 3, "what no photo shows goes with what is forgotten"


def test_views_depend_on_the_photo_alone_and_more_of_them_cost_only_the_difference(
    run: Run, few: Path, tmp_path: Path
) -> None:
    """Not on the batch, the order, the number of workers or the steps: bit by bit."""
    assert again(run, tmp_path / "at once", few, "--views", 3) == {"found": 10, "embedded": 10, "views": 40}
    assert again(run, tmp_path / "s", few, "--views", 1) == {"found": 10, "embedded": 10, "views": 20}
    before = rows_of(Cache.open(tmp_path / "s"))
    assert again(run, tmp_path / "s", few, "--views", 3) == {"found": 10, "embedded": 10, "views": 20}
    assert before.items() <= rows_of(Cache.open(tmp_path / "s")).items(), "what was there stays in its rows"
    for photo in sorted(few.rglob("*.*"), reverse=True)[:4]:
        again(run, tmp_path / "one by one", photo, "--views", 3)
    wanted = bits(tmp_path / "at once")
    assert bits(tmp_path / "s") == wanted
    alone = bits(tmp_path / "one by one")
    assert len(alone) == 16
    assert alone.items() <= wanted.items()
    assert len({wanted[str(photo), view] for photo in few.rglob("*.*") for view in range(4)}) == 40


def test_the_store_remembers_how_many_views_and_takes_none_away(run: Run, few: Path, tmp_path: Path) -> None:
    again(run, tmp_path / "s", few, "--views", 2)
    assert again(run, tmp_path / "s", few, "--views", 1) == {"found": 10, "cached": 10}
    repaint(few / "new.png", "teal")
    assert again(run, tmp_path / "s", few) == {"found": 11, "embedded": 1, "cached": 10, "views": 3}
    document = run("info", "--store", tmp_path / "s", "--json").json
    assert (document["photos"], document["views"], document["index"]["photos"]) == (11, 33, 11)
    repaint(few / "newer.png", "olive")
    again(run, tmp_path / "s", few, "--trunk", "densenet121")
    assert run("info", "--store", tmp_path / "s", "--json").json["views"] == 36, "also where the trunk is named"


def test_a_changed_photo_gets_all_its_views_anew_and_copies_bring_theirs(run: Run, few: Path, tmp_path: Path) -> None:
    again(run, tmp_path / "s", few, "--views", 2)
    first, second, third = sorted(few.rglob("*.*"))[:3]
    shutil.copy(first, second)  # changed, and a copy now
    shutil.copy(third, few / "copy.png")
    repaint(third, "brown")
    os.utime(sorted(few.rglob("*.*"))[9])  # touched alone
    assert again(run, tmp_path / "s", few) == {"found": 11, "embedded": 1, "cached": 7, "copied": 3, "views": 3}
    again(run, tmp_path / "anew", few, "--views", 2)
    assert bits(tmp_path / "s") == bits(tmp_path / "anew")


def test_photos_with_the_same_bytes_have_the_same_views(run: Run, few: Path, tmp_path: Path) -> None:
    first = sorted(few.rglob("*.*"))[0]
    shutil.copy(first, few / "twin.png")
    again(run, tmp_path / "s", few, "--views", 1)
    assert again(run, tmp_path / "s", few, "--views", 2)["views"] == 10
    shutil.copy(first, few / "third.png")
    assert again(run, tmp_path / "s", few)["copied"] == 1
    found = bits(tmp_path / "s")
    for view in range(3):
        assert found[str(first), view] == found[str(few / "twin.png"), view] == found[str(few / "third.png"), view]


def test_pruning_a_photo_and_damaging_one_take_all_their_views(run: Run, few: Path, tmp_path: Path) -> None:
    again(run, tmp_path / "s", few, "--views", 2)
    gone, broken = sorted(few.rglob("*.*"))[:2]
    gone.unlink()
    broken.write_bytes(b"broken now")
    counts = again(run, tmp_path / "s", few, "--prune")
    assert counts == {"found": 9, "cached": 8, "unreadable": 1, "missing": 1}
    assert len(bits(tmp_path / "s")) == 8 * 3


def test_views_that_come_later_have_their_photos_labels(run: Run, few: Path, tmp_path: Path) -> None:
    """Also where the same run brings the labels, from a CSV or from the folder above."""
    again(run, tmp_path / "s", few / "cat")
    uri = next((few / "cat").iterdir()).name
    (tmp_path / "l.csv").write_text(f"photo,label,pet\ncat/{uri},tiger,Rex\n")
    again(run, tmp_path / "s", few, "--views", 1, "--labels", tmp_path / "l.csv")
    rows = [row for batch in Cache.open(tmp_path / "s").every_photo() for row in batch.to_pylist()]
    told = {(row["uri"], row["label"], row["pet"]) for row in rows if "dog" not in row["uri"]}
    assert told == {(uri, "tiger", "Rex")} | {
        (photo.name, "cat", None) for photo in (few / "cat").iterdir() if photo.name != uri
    }
    assert run("verify", "--store", tmp_path / "s", "--sample", 0).status == 0


def test_a_run_that_is_killed_between_views_is_gone_on_with(
    run: Run, start: Callable[..., Process], drawn: Path, made_store: Path, tmp_path: Path
) -> None:
    """From one view of each photo to three, killed at work twice: what is there then is whole and stays."""
    shutil.copytree(made_store, "s")
    shutil.copytree(made_store, made := tmp_path / "wanted")
    assert run("embed", drawn, "--store", made, "--views", 2).status == 0
    before = bits(Path("s"))
    versions = of_trunk(Path("s")).vectors / "_versions"
    for _ in range(2):
        there = len(list(versions.glob("*.manifest")))
        running = start("embed", drawn, "--store", "s", "--views", 2)
        running.wait_for(lambda there=there: len(list(versions.glob("*.manifest"))) > there)  # type: ignore[misc]
        time.sleep(0.05)
        running.kill_group()
        now = bits(Path("s"))
        assert before.items() <= now.items()
        numbers = {len(one.views) for one in whole(Cache.open("s")).values()}
        assert numbers <= {1, 3}, "a photo's views are written at once"
        before = now
    assert len(before) > 40
    assert run("embed", drawn, "--store", "s").status == 0, "the number is remembered"
    assert bits(Path("s")) == bits(made)


def test_views_of_another_recipe_are_embedded_anew_and_canonical_ones_stay(run: Run, few: Path, tmp_path: Path) -> None:
    again(run, tmp_path / "s", few, "--views", 1)
    cache = Cache.open(tmp_path / "s")
    wanted, rows = bits(tmp_path / "s"), {key: row for key, row in rows_of(cache).items() if key[1] == 0}
    cache._vectors.delete("view = 1")
    others = [replace(one, views=-one.views[:1], first=1) for one in whole(cache).values()]
    cache.commit(others, known(cache))
    assert bits(tmp_path / "s") != wanted
    card = json.loads((tmp_path / "s" / "store.json").read_text())
    card["trunks"][0]["recipe"] = "augmented views 0"
    (tmp_path / "s" / "store.json").write_text(json.dumps({**card, "digest": None}))
    photo = sorted(few.rglob("*.*"))[0]
    (found,) = query(photo, Cache.open(tmp_path / "s"), views=1)
    assert isinstance(found, Embedded)
    apart = found.views[1] - np.frombuffer(wanted[str(photo), 1], np.float32)
    assert np.abs(apart).max() < 0.05, "a query does not take them from there"
    assert again(run, tmp_path / "s", few) == {"found": 10, "embedded": 10, "views": 10}
    assert bits(tmp_path / "s") == wanted
    assert rows.items() <= rows_of(Cache.open(tmp_path / "s")).items()


def test_look_alikes_do_not_change_with_views(run: Run, few: Path, tmp_path: Path) -> None:
    again(run, tmp_path / "s", few)
    words = ("similar", sorted(few.rglob("*.*"))[0], "--store", tmp_path / "s", "--json")
    before = run(*words).json
    again(run, tmp_path / "s", few, "--views", 2)
    assert run(*words).json == before
    assert len(before["neighbours"]) == 9


def test_verify_reads_every_view_and_embeds_those_of_its_sample_again(run: Run, few: Path, tmp_path: Path) -> None:
    again(run, tmp_path / "s", few, "--views", 2)
    done = run("verify", "--store", tmp_path / "s", "--json")
    assert (done.status, done.json["photos"], done.json["sampled"], done.json["findings"]) == (0, 10, 10, [])
    cache = Cache.open(tmp_path / "s")
    one = next(iter(whole(cache).values()))
    cache._vectors.delete(f"_rowid = {rows_of(cache)[one.digest, 2]}")
    cache.commit([replace(one, views=-one.views[2:], first=2)], known(cache))
    (found,) = run("verify", "--store", tmp_path / "s", "--json").json["findings"]
    assert f"the embedding of {one.photo.path} is not its own" in found["what"]


def test_verify_finds_a_view_that_is_lost(run: Run, grown: tuple[Cache, Known], store: Path) -> None:
    cache, _ = grown
    one = next(iter(whole(cache).values()))
    cache._vectors.delete(f"_rowid = {rows_of(cache)[one.digest, 1]}")
    (found,) = run("verify", "--store", store, "--sample", 0, "--json").json["findings"]
    assert "lacks views before others" in found["what"]


def test_predict_averages_the_probabilities_of_a_photos_views(run: Run, store: Path, drawn: Path) -> None:
    photo = sorted((drawn / "dog").iterdir())[0]
    cache = Cache.open(store)
    words = ("predict", photo, "--store", store, "--json", "--views")
    (found,) = query(photo, cache, views=4)
    assert isinstance(found, Embedded)
    assert found.views.shape == (5, DIMENSION)
    shares = head.load(cache).predict(found.views)
    (said,) = run(*words, 4).json
    assert said["probabilities"]["dog"] == pytest.approx(shares[:, 1].mean(), abs=1e-5)
    assert run(*words, 0).json[0]["probabilities"]["dog"] == pytest.approx(shares[0, 1], abs=1e-5)
    assert run("embed", photo, "--store", store, "--views", 4).status == 0
    assert run(*words, 4).json[0]["probabilities"]["dog"] == pytest.approx(shares[:, 1].mean(), abs=2e-3)


@pytest.mark.parametrize("number", [-1, views.MAX_VIEWS + 1])
def test_a_number_of_views_that_cannot_be_is_one_line(run: Run, store: Path, few: Path, number: int) -> None:
    for command in ("embed", "predict"):
        done = run(command, few, "--store", store, "--views", number)
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
        assert "name a number from 0 to 31" in done.err


def test_a_photo_is_decoded_once_for_all_its_views(
    run: Run, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    decode = stream.decode_small

    def counted(data: bytes, **options: bool) -> Decoded:
        decoded.append(len(data))
        return decode(data, **options)

    monkeypatch.setattr(stream, "decode_small", counted)
    again(run, tmp_path / "s", few, "--views", 3)
    assert len(decoded) == 10 + 1, "one to see whether there is a photo to make a new store for"
    again(run, tmp_path / "s", few, "--views", 5)
    assert len(decoded) == 20 + 1


def test_more_views_do_not_mean_more_photos_in_memory(drawn: Path) -> None:
    (photo,) = find(sorted(drawn.rglob("*.jpg"))[0])
    source = Endless(photo)
    trunk = load_trunk("bundled")
    made = stream.results(source, trunk=lambda: trunk, there=nothing_there, batch=8, workers=1, views=2, once=False)
    assert len(next(made)) % 8 == 0
    assert source.taken <= 8 * (stream.AHEAD + 1)
    made.close()


@pytest.mark.gpu
def test_a_gpu_makes_the_same_of_every_view_but_for_rounding(run: Run, few: Path, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    again(run, tmp_path / "cpu", few, "--views", 3, "--device", "cpu", "--precision", "float32")
    again(run, tmp_path / "cuda", few, "--views", 3, "--device", "cuda", "--precision", "float32")
    one, other = whole(Cache.open(tmp_path / "cpu")), whole(Cache.open(tmp_path / "cuda"))
    for path, photo in one.items():
        a, b = photo.views, other[path].views
        assert ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min() > 0.9995
