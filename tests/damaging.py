"""Damage to stores and photos, and whether it is found."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import corpus
import lance
import numpy as np
import pyarrow as pa
import torch
from conftest import ROOT, Done
from embedding import vectors
from planting import DIMENSION, brute_force, of_trunk, thorough, whole
from reference import TENSOR, VIEW, reference_trunk

from petrieve.classifier import head
from petrieve.index import build, search
from petrieve.store.cache import Cache
from petrieve.store.photo import path_of

Run = Callable[..., Done]


def findings(run: Run, store: Path, *words: object) -> list[str]:
    """What is wrong, by `verify`; a store that cannot be opened says so as an error."""
    done = run("verify", "--store", store, "--json", *words)
    if not done.out:
        assert (done.status, done.err.count("\n")) == (1, 1)
        return [done.err]
    found = [f"{one['what']}; {one['remedy']}" for one in done.json["findings"]]
    assert done.status == bool(found)
    return found


def contents(store: Path) -> object:
    """All that a store says of photos, and its head. The rows' ids are the table's own affair."""
    cache = Cache.open(store)
    rows = {
        path_of(photo.pop("root"), photo.pop("uri")): {**photo, "_rowid": None}
        for batch in cache.every_photo()
        for photo in batch.to_pylist()
    }
    made = {path: one.views.tobytes() for path, one in whole(cache).items()}
    fitted = head.load(cache)
    return rows, made, fitted.classes, fitted.weight.tobytes(), fitted.bias.tobytes(), fitted.report, cache.weights


def harmless_or_found(run: Run, store: Path, damage: Callable[[bytes], bytes | None], times: int) -> Counter[str]:
    """How often damage to each kind of file was found, and how often it had no effect; nothing else may happen."""
    outcomes: Counter[str] = Counter()
    before = contents(store)
    for file in sorted(path for path in store.rglob("*") if path.is_file() and path.stat().st_size):
        whole = file.read_bytes()
        if damage(whole) is None and file.suffix in (".manifest", ".safetensors"):
            continue  # without its newest version a table is as before, and a store need have no head: tested elsewhere
        kind = f"{file.parent.name} {file.suffix}"
        for _ in range(times):
            damaged = damage(whole)
            file.unlink() if damaged is None else file.write_bytes(damaged)
            found = findings(run, store, "--sample", 0)
            assert found or contents(store) == before, (file, found)
            outcomes[f"{kind} {'found' if found else 'harmless'}"] += 1
            file.write_bytes(whole)
    assert findings(run, store, "--sample", 1) == []
    return outcomes


def damages(seed: int) -> dict[str, Callable[[bytes], bytes | None]]:
    chance = random.Random(seed)

    def flipped(data: bytes) -> bytes:
        made = bytearray(data)
        made[chance.randrange(len(made))] ^= 1 << chance.randrange(8)
        return bytes(made)

    return {"flipped": flipped, "cut": lambda data: data[: chance.randrange(len(data))], "gone": lambda _: None}


def changed_table(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write a table anew, as another tool might."""
    place = str(path)
    table = change(lance.dataset(place).to_table())
    shutil.rmtree(place)
    lance.write_dataset(table, place, enable_stable_row_ids=True)


def tables(store: Path) -> dict[str, Path]:
    return {"photos": store / "photos.lance", "vectors": of_trunk(store).vectors}


def rows_of(cache: Cache, digest: bytes) -> list[int]:
    rows = [row for batch, _ in cache.every_vector() for row in batch.to_pylist()]
    return [row["_rowid"] for row in rows if row["digest"] == digest]


# What a person should not have to read.
UGLY = re.compile(r"Error|Exception|0x|/|<|>|\\x|_|\bNone\b|PIL|libtiff|-\d")
# The network, the photos of a few batches, and the largest photo of the corpus while it is decoded.
MOST_MEMORY = 2.5  # GB


# A new process counts as its own the most that the process which started it has held: this one is small.
MEASURED = """
import os, subprocess, sys
started = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(started.pid, 0)
print(usage.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def embedded(folder: Path, store: Path) -> tuple[dict[str, int], float]:
    """A run's figures, and the most memory in GB that it or a decoding process of its own took."""
    words = ["embed", str(folder), "--store", str(store), "--json", "--weights", "bundled"]
    command = [sys.executable, "-c", MEASURED, sys.executable, str(ROOT / "cli.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout), int(done.stderr.splitlines()[-1]) / 1e6


def check(run: Run, folder: Path, store: Path, expected: dict[str, str]) -> None:
    """Every file of the folder is in one of the two tables, once, and where it should be."""
    figures, gigabytes = embedded(folder, store)
    found = vectors(store)
    document = run("info", "--store", store, "--json").json
    reasons = {os.path.abspath(one["photo"]): one["reason"] for one in document["unreadable"]}
    assert len(reasons) == len(document["unreadable"]) == figures["unreadable"]
    assert document["views"] == figures["embedded"]
    assert document["photos"] == len(found) == figures["embedded"] + figures["copied"]
    assert not found.keys() & reasons.keys()
    assert found.keys() | reasons.keys() == expected.keys()
    assert {
        path: reasons[path] for path, fate in expected.items() if fate in ("same", "good") and path in reasons
    } == {}
    assert [path for path, fate in expected.items() if fate == "bad" and path in found] == []
    assert [reason for reason in reasons.values() if UGLY.search(reason) or not reason.isprintable()] == []
    assert all(np.isfinite(vector).all() and vector.any() for vector in found.values())
    assert gigabytes < MOST_MEMORY, gigabytes
    print(Counter(reasons.values()), f"{gigabytes} GB", figures)


def check_the_scene(folder: Path, store: Path, expected: dict[str, str]) -> None:
    """However it is wrapped, the same picture has the same embedding."""
    picture = corpus.scene(folder.with_name("again"))
    with torch.inference_mode():
        wanted = reference_trunk()(TENSOR(VIEW(picture))[None]).relu().mean((2, 3))[0].numpy()
    wanted /= np.linalg.norm(wanted)
    found = vectors(store)
    cosines = {
        path: found[path] @ wanted / np.linalg.norm(found[path]) for path, fate in expected.items() if fate == "same"
    }
    assert {path: cosine for path, cosine in cosines.items() if cosine < 0.97} == {}


def right(index: build.Index, seed: int) -> None:
    """A search finds what its own version of the cache holds, and all of that."""
    query = np.random.default_rng(seed).normal(size=DIMENSION)
    wanted = dict(brute_force(index.cache, query))
    found = search.search(thorough(index), query, k=20)
    assert len({one.photo for one in found}) == len(found) == min(20, len(wanted))
    assert np.allclose([one.similarity for one in found], sorted(wanted.values())[:-21:-1], atol=2e-4)
    assert np.allclose([one.similarity for one in found], [wanted[one.photo] for one in found], atol=2e-4)


def halve(file: Path) -> None:
    """Leave the first half of a file."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
