"""How look-alikes are found among many photos: build, search, add, and what others do at equal recall.

    python benchmarks/large.py /tmp/large/6 --photos 1000000
    python benchmarks/similar.py /tmp/large/6 build      each step prints a line of JSON
    python benchmarks/similar.py /tmp/large/6 search
    python benchmarks/similar.py /tmp/large/6 add
    python benchmarks/similar.py /tmp/large/6 exact      the same in memory, compared one by one: 5 GB at a million
    python benchmarks/similar.py /tmp/large/6 lance      its IVF_PQ with refinement (on a copy of the table's manifest)
    python benchmarks/similar.py /tmp/large/5 hnswlib    with hnswlib installed
    python benchmarks/similar.py /tmp/large/5 usearch    with usearch installed: float16, as the cache has them
    python benchmarks/similar.py /tmp/large/5 autofaiss  the FAISS index that autofaiss chooses by default: HNSW32
    python benchmarks/similar.py docs/index.svg plot     from benchmarks/results/similar.jsonl

Ten million are the same: 21 GB on disk, a folder for them, and time (about ten times the million's).

Queries are made-up photos that are in no store, by a seed of their own. Memory is what the process holds (VmRSS,
VmHWM): the system's cache of the table's file is not part of it, and is given back when others need it. `search` is
warm: the table's pages that queries need have been read before where the machine has room for them.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the commands have it

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import large
import numpy as np
from machine import machine

from petrieve.index import build, search
from petrieve.index.codes import exact, update
from petrieve.store.cache import Cache
from petrieve.store.folder import Store
from petrieve.store.rows import unit_length

RESULTS = Path(__file__).parent / "results" / "similar.jsonl"
QUERIES, WARM, K = 500, 50, 10


def memory(name: str) -> float:
    """MB that this process holds (VmRSS) or has held at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return round(int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024, 1)


def queries() -> np.ndarray:
    return large.batch(0, 99, QUERIES).astype(np.float32)


def timed(ask: Callable[[np.ndarray], Any], asked: np.ndarray) -> tuple[list[Any], dict[str, float]]:
    """What a function answers to each query, and its latency once warm, in ms."""
    for one in asked[:WARM]:
        ask(one)
    answers, times = [], []
    for one in asked:
        started = time.perf_counter()
        answers.append(ask(one))
        times.append(1000 * (time.perf_counter() - started))
    return answers, {f"p{p}_ms": round(float(np.percentile(times, p)), 2) for p in (50, 90, 99)}


def recall(found: Any, wanted: np.ndarray) -> float:
    return round(float(np.mean([np.isin(one, other).mean() for one, other in zip(wanted, found, strict=True)])), 4)


def truth(cache: Cache) -> np.ndarray:
    """The ids of each query's ten nearest, kept beside the store: they are the same for all."""
    file = cache.store.path / "truth.npy"
    if not file.exists():
        np.save(file, exact.streamed(cache, unit_length(queries()), K)[1])
    return np.asarray(np.load(file))


def built(cache: Cache) -> dict[str, Any]:
    card = update.build_anew(cache)
    built_in = memory("VmHWM")
    started = time.perf_counter()
    update.files.save(card, cache)
    writing = time.perf_counter() - started
    return {
        **asdict(card.card),
        "write_seconds": round(writing, 2),
        "peak_mb": built_in,
        "peak_saving_mb": memory("VmHWM"),
    }


def searched(cache: Cache) -> dict[str, Any]:
    wanted = truth(cache)
    started = time.perf_counter()
    index = build.build(cache)
    opened = time.perf_counter() - started
    search.search(index, queries()[0])
    _, latency = timed(lambda one: search.search(index, one, k=K), queries())
    serving = {"serving_mb": memory("VmRSS"), "serving_peak_mb": memory("VmHWM")}
    found, _ = timed(lambda one: search.nearest(index, one, K)[1], queries())
    card = {} if index.kept is None else {"kind": index.kept.card.kind, "recall_in_card": index.kept.card.recall}
    return {"open_seconds": round(opened, 2), **latency, "recall": recall(found, wanted), **card, **serving}


def compared(cache: Cache) -> dict[str, Any]:
    """Exact search, in memory: in float16 as ours for small stores, and in float32 as FAISS's flat index.

    The search through `search.search` is timed in the same run, before them.
    """
    import faiss

    few, index = queries()[:20], build.build(cache)
    _, ours = timed(lambda one: search.search(index, one, k=K), queries())
    held = exact.held(cache.vectors(), cache.dimension)
    _, half = timed(lambda one: held.nearest(unit_length(one[None]), K), few)
    data = np.empty((cache.contents, large.DIMENSION), np.float32)
    ends = 0
    for _, embeddings in cache.vectors():
        data[ends : (ends := ends + len(embeddings))] = unit_length(embeddings)
    _, single = timed(lambda one: faiss.knn(unit_length(one[None]), data, K, metric=faiss.METRIC_INNER_PRODUCT), few)
    return {"ours": ours, "float16": half, "float32": single, "times": round(single["p50_ms"] / ours["p50_ms"], 1)}


def added(cache: Cache) -> dict[str, Any]:
    """1,000 new photos in the cache: until they are found; what `embed` adds to a run; until the file holds them."""
    index = build.build(cache)
    new = large.batch(int(time.time()), 7, 1000)
    large.add(cache, new, int(time.time()), "new")
    started = time.perf_counter()
    index = build.follow(index)
    best = search.search(index, new[500].astype(np.float32), k=1)[0]
    following = time.perf_counter() - started
    assert best.photo.startswith("/made-up/new"), best
    _, beside = timed(lambda one: search.search(index, one, k=K), queries())
    started = time.perf_counter()
    update.update(Cache.open(cache.store.path), patient=True)
    by_embed = time.perf_counter() - started
    started = time.perf_counter()
    card = update.update(Cache.open(cache.store.path))
    written = time.perf_counter() - started
    assert card
    return {
        "found_after_seconds": round(following, 3),
        "end_of_embed_seconds": round(by_embed, 3),
        "written_seconds": round(written, 3),
        "while_beside": beside,
        "recall_in_card": card.recall,
    }


def at_equal_recall(ask: Callable[[int], Callable[[np.ndarray], Any]], efforts: list[int], wanted: np.ndarray) -> Any:
    """The least effort whose recall is 0.99, and its latency; the greatest where none is."""
    for effort in efforts:
        found, latency = timed(ask(effort), queries())
        share = recall(found, wanted)
        if share >= 0.99:
            break
    return {"effort": effort, "recall": share, **latency}


def lance(cache: Cache) -> dict[str, Any]:
    import lance as library

    wanted = truth(cache)
    original = library.dataset(str(cache.folder.vectors))
    folder = mkdtemp()  # the index is made here; what it is made of stays where it is
    table = original.shallow_clone(f"{folder}/clone.lance", original.version)
    lists = 1 << round(np.log2(len(cache) ** 0.5))
    started = time.perf_counter()
    table = table.create_index(
        "embedding", "IVF_PQ", metric="cosine", num_partitions=lists, num_sub_vectors=128, replace=True
    )
    seconds = time.perf_counter() - started

    def ask(probes: int) -> Callable[[np.ndarray], Any]:
        def one(query: np.ndarray) -> Any:
            nearest = {"column": "embedding", "q": query, "k": K, "nprobes": probes, "refine_factor": 10}
            return table.to_table(columns=["uri"], nearest=nearest, with_row_id=True)["_rowid"].to_numpy()

        return one

    measured = at_equal_recall(ask, [8, 16, 32, 64, 128, 256], wanted)
    rmtree(folder)
    return {"seconds": round(seconds, 1), "lists": lists, **measured, "serving_peak_mb": memory("VmHWM")}


def hnswlib(cache: Cache) -> dict[str, Any]:
    from hnswlib import Index

    wanted = truth(cache)
    graph = Index(space="ip", dim=large.DIMENSION)
    graph.init_index(max_elements=len(cache), M=16, ef_construction=200, random_seed=0)
    graph.set_num_threads(2)
    started = time.perf_counter()
    for photos, embeddings in cache.vectors():
        graph.add_items(unit_length(embeddings), photos["_rowid"].cast("int64").to_numpy())
    seconds = time.perf_counter() - started

    def ask(effort: int) -> Callable[[np.ndarray], Any]:
        graph.set_ef(effort)
        return lambda one: graph.knn_query(unit_length(one[None]), K)[0][0]

    measured = at_equal_recall(ask, [64, 128, 256, 512, 1024], wanted)
    return {"seconds": round(seconds, 1), **measured, "serving_mb": memory("VmRSS")}


def usearch(cache: Cache) -> dict[str, Any]:
    from usearch.index import Index

    wanted = truth(cache)
    graph = Index(ndim=large.DIMENSION, metric="ip", dtype="f16", connectivity=16, expansion_add=128)
    started = time.perf_counter()
    for photos, embeddings in cache.vectors():
        graph.add(photos["_rowid"].cast("int64").to_numpy(), unit_length(embeddings), threads=2)
    seconds = time.perf_counter() - started

    def ask(effort: int) -> Callable[[np.ndarray], Any]:
        graph.expansion_search = effort
        return lambda one: graph.search(unit_length(one[None])[0], K).keys.astype(np.int64)

    measured = at_equal_recall(ask, [64, 128, 256, 512, 1024], wanted)
    return {"seconds": round(seconds, 1), **measured, "serving_mb": memory("VmRSS")}


def autofaiss(cache: Cache) -> dict[str, Any]:
    """Its `get_optimal_index_keys_v2` gives HNSW32 from 10,000 embeddings on where memory (16 GB by default) allows."""
    import faiss

    wanted = truth(cache)
    graph = faiss.index_factory(large.DIMENSION, "HNSW32", faiss.METRIC_INNER_PRODUCT)
    started, ids = time.perf_counter(), []
    for photos, embeddings in cache.vectors():
        graph.add(unit_length(embeddings))
        ids.append(photos["_rowid"].cast("int64").to_numpy())
    seconds, every = time.perf_counter() - started, np.concatenate(ids)

    def ask(effort: int) -> Callable[[np.ndarray], Any]:
        asked = faiss.SearchParametersHNSW(efSearch=effort)
        return lambda one: every[graph.search(unit_length(one[None]), K, params=asked)[1][0]]

    return {
        "seconds": round(seconds, 1),
        **at_equal_recall(ask, [64, 128, 256, 512, 1024], wanted),
        "serving_mb": memory("VmRSS"),
    }


def plot(file: Path) -> None:
    """How build time, memory and latency grow, from the results."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    shown = (("build", "seconds", "building, s"), ("search", "serving_mb", "memory when serving, MB"),
             ("search", "p50_ms", "a search, median, ms"))  # fmt: skip
    _, axes = plt.subplots(1, len(shown), figsize=(11, 3.2), layout="constrained")
    for axis, (step, figure, title) in zip(axes, shown, strict=True):
        points = {line["photos"]: line[figure] for line in lines if line["step"] == step and figure in line}
        axis.loglog(sorted(points), [points[n] for n in sorted(points)], "o-")
        axis.set(title=title, xlabel="photos")
        axis.grid(alpha=0.3)
    plt.savefig(file)


STEPS = {
    "build": built,
    "search": searched,
    "exact": compared,
    "add": added,
    "lance": lance,
    "hnswlib": hnswlib,
    "usearch": usearch,
    "autofaiss": autofaiss,
}


def main() -> None:
    folder, step = Path(sys.argv[1]), sys.argv[2]
    if step == "plot":
        plot(folder)
        return
    cache = Cache.open(Store(folder).path)
    photos = len(cache)
    print(json.dumps({"photos": photos, "step": step, **STEPS[step](cache), "machine": machine()}), flush=True)


if __name__ == "__main__":
    main()
