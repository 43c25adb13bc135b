"""What a condition costs, and what it finds, among many photos: this release beside another, in one run.

    python benchmarks/large.py /tmp/large/6 --photos 1000000
    python benchmarks/conditions.py /tmp/large/6 columns    adds `draw`, a random order, and `kind`, 100 clusters
    python benchmarks/similar.py /tmp/large/6 build
    python benchmarks/conditions.py /tmp/large/6 ask [--before CHECKOUT]
    python benchmarks/conditions.py /tmp/large/6 crossing   embeddings that are read, beside codes that are looked at
    python benchmarks/conditions.py /tmp/large/7 chosen [--before CHECKOUT]   the condition alone, without a search
    python benchmarks/conditions.py 10000000 codes          made-up codes of so many, and half of them chosen

Queries are made-up photos that are in no store. Recall is that of the ten nearest, against all that is chosen. Beside
the time on the clock stands the processor's, which other work on the machine changes less.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the commands have it

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import large
import numpy as np
from machine import machine

CLUSTERS, K = 100, 10
FEW = ("none", "chooses half", "1 %", "one photo")  # that another release is asked, which may take seconds for each


def conditions(photos: int) -> dict[str, str | None]:
    return {
        "none": None,
        "chooses half": f"draw < {photos // 2}",
        "half of the clusters": f"kind < {CLUSTERS // 2}",
        "one cluster": "kind = 7",
        "1 %": f"draw < {photos // 100}",
        "1,000 photos": "draw < 1000",
        "one photo": "draw = 77",
    }


def columns(store: Path) -> dict[str, Any]:
    """Add to the table of photos a random number of each, and the cluster of the real photo that it was made of."""
    import faiss
    import lance
    import pyarrow as pa

    table = lance.dataset(str(store / "photos.lance"))
    photos, unit = table.count_rows(), large.unit(large.real())
    means = faiss.Kmeans(large.DIMENSION, CLUSTERS, niter=10, seed=1, spherical=True, min_points_per_centroid=1)
    means.train(unit)
    own = means.index.search(unit, 1)[1][:, 0]
    batches = range(-(-photos // large.BATCH))
    made_of = [np.random.default_rng([0, n]).integers(len(unit), size=large.BATCH) for n in batches]
    kind = own[np.concatenate(made_of)[:photos]]
    draw = np.random.default_rng(5).permutation(photos)
    table.add_columns(pa.table({"draw": draw, "kind": kind}).to_reader(large.BATCH))
    return {"largest": int(np.bincount(kind).max())}


def timed(act: Callable[[int], object], repeats: int) -> dict[str, float]:
    """The clock's and the processor's ms, medians, once warm."""
    act(0)
    clock, processor = [], []
    for n in range(repeats):
        started, worked = time.perf_counter(), time.process_time()
        act(n)
        clock.append(1000 * (time.perf_counter() - started))
        processor.append(1000 * (time.process_time() - worked))
    return {
        "ms": round(float(np.median(clock)), 2),
        "least_ms": round(min(clock), 2),
        "processor_ms": round(float(np.median(processor)), 2),
    }


def asked(store: Path) -> dict[str, Any]:
    """What each condition costs the first time and then, through `question.ask`, in this process's release."""
    from petrieve.index import build, question
    from petrieve.store.cache import Cache

    index = build.build(Cache.open(store))
    queries = large.batch(0, 99, 40).astype(np.float32)

    def ask(query: np.ndarray, where: str | None) -> object:
        if hasattr(question, "Terms"):
            return question.ask(index, [query], question.Terms(where=where))
        return question.ask(index, [query], where=where)  # type: ignore[call-arg]

    ask(queries[0], None)
    ask(queries[0], "draw = 1")  # what any first condition reads
    found: dict[str, Any] = {}
    before = not hasattr(index.cache, "chosen")
    for name, where in conditions(len(index.cache)).items():
        if before and name not in FEW:
            continue

        def act(n: int, where: str | None = where) -> object:
            return ask(queries[n], where)

        started = time.perf_counter()
        act(0)
        first = round(1000 * (time.perf_counter() - started), 1)
        found[name] = {"first_ms": first, **timed(act, 2 if before and where else 30)}
    held = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return {**found, "held_mb": int(held.split()[1]) >> 10}


def recalls(store: Path) -> dict[str, float]:
    """Of each condition's ten nearest, the share that is found."""
    from petrieve.index import build, search
    from petrieve.index.codes.exact import Truth
    from petrieve.store.cache import Cache
    from petrieve.store.rows import row_ids, unit_length

    index = build.build(Cache.open(store))
    queries = unit_length(large.batch(0, 99, 100))
    chosen = {name: where and index.cache.chosen(where) for name, where in conditions(len(index.cache)).items()}
    truths = {name: Truth(queries, K) for name in chosen}
    for rows, embeddings in index.cache.vectors():
        ids, unit = row_ids(rows), unit_length(embeddings)
        for name, one in chosen.items():
            held = one.contents.hold(ids) if one else np.ones(len(ids), bool)
            if held.any():
                truths[name].show(unit[held], ids[held])
    found = {}
    for name, one in chosen.items():
        answers = [search.nearest(index, query, K, one or None)[1] for query in queries]
        pairs = zip(truths[name].found()[1], answers, strict=True)
        found[name] = round(float(np.mean([np.isin(own[own >= 0], other).mean() for own, other in pairs])), 4)
    return found


def crossing(store: Path) -> dict[str, Any]:
    """So many chosen photos, their embeddings read or found among the codes."""
    from petrieve.index import build
    from petrieve.index.codes.exact import streamed
    from petrieve.store.cache import Cache
    from petrieve.store.chosen import Bits
    from petrieve.store.rows import unit_length

    index = build.build(Cache.open(store))
    kept, cache = index.kept, index.cache
    assert kept
    queries, found = unit_length(large.batch(0, 99, 40)), {}
    for count in (10, 50, 100, 200, 400, 800):
        among = Bits.of(np.random.default_rng(count).choice(len(cache), count, replace=False))
        read = timed(lambda n, among=among: streamed(cache, queries[n : n + 1], K, among), 20)
        coded = timed(lambda n, among=among: kept.nearest(cache, queries[n : n + 1], K, among=among), 20)
        found[str(count)] = {"read": read, "codes": coded}
    return found


def chosen(store: Path) -> dict[str, Any]:
    """What choosing costs by itself: the first condition, further ones, and the same again."""
    from petrieve.store.cache import Cache

    cache = Cache.open(store)
    cache.marks()  # an index that is opened has read these
    half = len(cache) // 2
    found = {}
    for name, where in {
        "first": f"draw < {half}",
        "another": f"draw >= {half}",
        "by label": "label = 'dog'",
        "1 %": f"draw < {half // 50}",
    }.items():
        started = time.perf_counter()
        if hasattr(cache, "chosen"):
            cache.chosen(where)
        else:  # before: each time, without what was done with it then
            for _ in cache.where(where, ["digest"]):
                pass
        found[name] = round(time.perf_counter() - started, 3)
    if hasattr(cache, "chosen"):
        found["again, ms"] = timed(lambda _: cache.chosen("label = 'dog'"), 20)["ms"]
    return found


def codes(photos: int) -> dict[str, Any]:
    """A shortlist among made-up codes: of all by the lists that ten million need, of half, 1 % and 1,000 by all."""
    import faiss

    from petrieve.index.codes.inverted import Inverted, ivf, take_in
    from petrieve.store.chosen import Bits

    draw, lists, directions = np.random.default_rng(0), 16_384, 256
    made = faiss.index_factory(directions, f"IVF{lists},SQ8", faiss.METRIC_L2)
    inner = ivf(made)
    inner.quantizer.add(draw.normal(size=(lists, directions)).astype(np.float32))
    faiss.copy_array_to_vector(np.repeat([-3, 6], directions).astype(np.float32), inner.sq.trained)
    inner.is_trained, inner.parallel_mode = True, 1
    ids = draw.permutation(photos)
    sizes = np.diff(np.linspace(0, photos, lists + 1).astype(np.int64))
    for n, end in enumerate(np.cumsum(sizes)):
        one = np.zeros(lists, np.int64)
        one[n] = sizes[n]
        own = np.sort(ids[end - sizes[n] : end])
        take_in(made, one, own, draw.integers(0, 256, (sizes[n], directions), dtype=np.uint8))
    inverted = Inverted(made, np.arange(photos), np.zeros(photos, np.uint64))
    queries = draw.normal(size=(40, directions)).astype(np.float32)
    found = {"none": timed(lambda n: inverted.shortlist(queries[n : n + 1], wanted=35, lists=361), 20)}
    for name, count in {"chooses half": photos // 2, "1 %": photos // 100, "1,000 photos": 1000}.items():
        among = Bits.of(draw.choice(photos, count, replace=False))
        found[name] = timed(
            lambda n, among=among: inverted.shortlist(queries[n : n + 1], wanted=35, lists=361, among=among), 10
        )
    return found


def in_release(checkout: Path, store: Path, step: str) -> dict[str, Any]:
    """What a step measures with the package of a checkout, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "petrieve").symlink_to(checkout.resolve())
        command = [sys.executable, __file__, str(store), f"{step}-here"]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": folder}, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(done.stdout))


STEPS = {"columns": columns, "crossing": crossing, "recall": recalls, "ask-here": asked, "chosen-here": chosen}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("step", choices=[*STEPS, "ask", "chosen", "codes"])
    parser.add_argument("--before", type=Path)
    given = parser.parse_args()
    store, step = Path(given.store), given.step
    if step in STEPS:
        print(json.dumps(STEPS[step](store)))
        return
    if step == "codes":
        measured = codes(int(given.store))
    else:
        now = Path(__file__).resolve().parents[1]
        releases = {"before": given.before, "now": now} if given.before else {"now": now}
        measured = {name: in_release(checkout, store, step) for name, checkout in releases.items()}
    print(json.dumps({"step": step, **measured, "machine": machine()}))


if __name__ == "__main__":
    main()
