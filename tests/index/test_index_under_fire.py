"""The index while others write: a search answers with what the cache holds, whoever builds, embeds or dies."""

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Done, fill
from damaging import right
from planting import KIND, made_up, of_trunk

from petrieve.index import build
from petrieve.index.codes import exact, kept, update
from petrieve.store.cache import Cache
from petrieve.store.known import known

Run = Callable[..., Done]


def write(store: Path, until: Callable[[], bool]) -> None:
    """Add, change and remove photos, merge pieces, and bring the index up to date, as runs of `embed` do."""
    new = 1000
    while not until():
        cache = Cache.open(store)
        there = known(cache)
        new += 10
        cache.commit([made_up(n, n) for n in range(new, new + 5)], there)
        cache.commit([made_up(n % 400, new + n % 5 + 5) for n in range(new, new + 3)], known(cache))
        cache.forget(sorted(there)[new % 60 :: 60], there)
        cache.tidy()
        cache.sign()
        update.update(cache, patient=new % 20 == 0)


@pytest.mark.parametrize("seconds", [4, pytest.param(40, marks=pytest.mark.torture)])
def test_a_searcher_that_follows_is_right_at_every_moment(many: Cache, seconds: int) -> None:
    until = time.monotonic() + seconds
    index, versions, taken_up = build.build(many), set(), set()
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write, many.store.path, lambda: time.monotonic() > until)
        while not writer.done():
            index = build.follow(index)
            right(index, len(versions))
            versions.add(index.cache.version)
            taken_up.add(id(index.kept))
        writer.result()
    assert len(versions) > 3
    assert len(taken_up) > 1, "an index that was written meanwhile is taken up"
    index = build.follow(index)
    assert index.kept.card == kept.card(index.cache)
    assert sorted(file.name for file in many.folder.path.glob(".index*")) == []


def test_a_watcher_takes_up_the_index_that_was_built_after_it_began(
    tmp_path: Path, made_many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are too many photos to compare and no index yet, it would read the whole cache for each answer."""
    store = Path(shutil.copytree(made_many, tmp_path / "s"))
    (of_trunk(store).index).unlink()
    monkeypatch.setattr(exact, "EXACT", 100)
    index = build.build(Cache.open(store))
    assert index.held is None
    update.update(Cache.open(store), kind=KIND)
    assert build.follow(index).kept is not None


def test_an_index_that_vanishes_or_may_not_be_read_is_no_traceback(run: Run, many: Cache) -> None:
    file = many.folder.index
    file.unlink()
    assert (kept.load(many), kept.card(many), kept.glance(many)) == (None, None, None)
    file.mkdir()
    for words in (("info",), ("verify", "--sample", 0), ("evaluate",)):
        done = run(*words, "--store", many.store.path)
        assert (done.status, "index.safetensors" in done.out + done.err) == (1, True)


def test_what_a_killed_builder_left_goes_with_the_next_index(many: Cache) -> None:
    old, new = (many.store.path / f".index.safetensors.{letter * 32}" for letter in "ab")
    for left in (old, new):
        left.write_bytes(b"half an index")
    os.utime(old, (1, 1))
    update.update(many, kind="PCA8,IVF4,SQ8")
    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.parametrize("leave", [0, 40_000])
def test_an_index_on_a_full_disk_stays_what_it_was(
    run: Run,
    drawn: Path,
    store: Path,
    disk: Path,
    leave: int,
) -> None:
    full = Path(shutil.copytree(store, disk / "s"))
    assert run("build-index", "--store", full, "--kind", "PCA8,IVF4,SQ8").status == 0
    photo = sorted((drawn / "cat").iterdir())[0]
    wanted, data = run("similar", photo, "--store", full, "--json").json, (of_trunk(full).index).read_bytes()
    fill(disk, leave=leave)
    done = run("build-index", "--store", full, "--kind", "PCA32,IVF4,SQ8")
    assert (done.status, done.out, "Traceback" in done.err) == (1, "", False)
    assert f"{of_trunk(full).index}: No space left on device" in done.err
    assert (of_trunk(full).index).read_bytes() == data
    assert list(of_trunk(full).path.glob(".index*")) == []
    assert run("similar", photo, "--store", full, "--json").json == wanted
    (of_trunk(full).index).write_bytes(data[:-9] + bytes(9))
    assert run("similar", photo, "--store", full, "--json").json["neighbours"][0] == wanted["neighbours"][0]
