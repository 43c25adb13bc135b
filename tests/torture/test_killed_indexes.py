"""Builders killed again and again, `embed` killed while it updates the index, and every place of the file damaged."""

import random
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Done, Process
from damaging import right
from PIL import Image
from planting import DIMENSION, of_trunk

from petrieve.index import build, search
from petrieve.index.codes import kept
from petrieve.store.cache import Cache
from petrieve.store.known import known

pytestmark = pytest.mark.torture

Run = Callable[..., Done]
Start = Callable[..., Process]
SECONDS = 40  # for each test


def kill_at_some_moment(process: Process, store: Path, chance: random.Random) -> int:
    """Let a command work for a while, or until it writes the index, and kill it: its exit status."""
    if chance.random() < 0.5:
        process.wait_for(lambda: list(of_trunk(store).path.glob(".index*")))
    else:
        until = time.monotonic() + chance.uniform(0.5, 4)
        process.wait_for(lambda: time.monotonic() > until)
    return process.kill_group().status


def test_builders_killed_alone_and_in_pairs_leave_a_whole_index(many: Cache, start: Start) -> None:
    chance, outcomes, until = random.Random(0), Counter[int](), time.monotonic() + SECONDS
    while time.monotonic() < until:
        kinds = [chance.choice(["PCA16,IVF4,SQ8", "PCA64,IVF8,SQ8", "IVF4,SQ4"]) for _ in range(chance.choice([1, 2]))]
        builders = [start("build-index", "--store", many.store.path, "--kind", kind) for kind in kinds]
        outcomes.update(kill_at_some_moment(builder, many.store.path, chance) for builder in builders)
        assert kept.load(many) is not None
        right(build.build(many), outcomes.total())
    print(outcomes)
    assert outcomes[-9] > 2


def test_embed_killed_while_it_updates_the_index_leaves_searches_right(
    start: Start, run: Run, tmp_path: Path, photos: Path
) -> None:
    """Photos come, change and go; after each kill a search knows all that is committed and nothing else."""
    store = tmp_path / "s"
    run("embed", photos, "--store", store, "--weights", "bundled")
    run("build-index", "--store", store, "--kind", "PCA8,IVF4,SQ8")
    chance, outcomes, until = random.Random(0), Counter[int](), time.monotonic() + SECONDS
    while time.monotonic() < until:
        number = outcomes.total()
        Image.effect_noise((200, 200), 90).convert("RGB").save(photos / f"new {number}.png")
        chance.choice(sorted(photos.rglob("*.*"))).unlink()
        Image.new("RGB", (99, 99), (number, 9, 9)).save(chance.choice(sorted(photos.rglob("*.png"))))
        embed = start("embed", photos, "--store", store, "--prune")
        outcomes[kill_at_some_moment(embed, store, chance)] += 1
        cache = Cache.open(store)
        found = search.search(build.build(cache), np.ones(DIMENSION), k=10**6)
        assert sorted(one.photo for one in found) == sorted(known(cache))
    print(outcomes)
    assert run("embed", photos, "--store", store, "--prune").status == 0
    there = {str(path) for path in photos.rglob("*.*")}
    assert set(known(Cache.open(store))) == there
    assert run("info", "--store", store, "--json").json["index"]["photos"] == len(there)


def test_a_bit_flipped_anywhere_in_an_index_changes_no_answer(run: Run, store: Path, drawn: Path) -> None:
    """Searched, listed, verified and embedded with: one line of trouble at most, and the answers as before."""
    photo, index = sorted((drawn / "cat").iterdir())[0], of_trunk(store).index
    run("build-index", "--store", store, "--kind", "PCA8,IVF4,SQ8")
    data, wanted = index.read_bytes(), run("similar", photo, "--store", store, "--json").json
    head = 8 + int.from_bytes(data[:8], "little")
    chance, outcomes, until = random.Random(0), Counter[str](), time.monotonic() + SECONDS
    commands = (("similar", photo, "--json"), ("info",), ("verify", "--sample", 0), ("embed", drawn), ("evaluate",))
    while time.monotonic() < until:
        place = chance.randrange(head if chance.random() < 0.7 else len(data))
        for words in chance.sample(commands, 2):
            index.write_bytes(data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :])
            done = run(*words, "--store", store)
            outcomes[f"{words[0]} {done.status}"] += 1
            assert done.status == (words[0] == "verify"), (place, done)
            assert not re.search("Traceback|panicked", done.err), (place, done)
            if words[0] == "similar":
                assert [one["photo"] for one in done.json["neighbours"]] == [
                    one["photo"] for one in wanted["neighbours"]
                ]
    print(outcomes)
