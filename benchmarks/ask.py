"""What a condition, groups and the reading of a similarity cost beside a plain search, warm: benchmarks/RESULTS.md.

.venv/bin/python benchmarks/ask.py [--photos 25000]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from large import store
from machine import machine

from petrieve.index.build import build
from petrieve.index.question import Terms, ask
from petrieve.index.search import search
from petrieve.store.cache import Cache

REPEATS = 100


def milliseconds(act: Callable[[np.ndarray], object], queries: np.ndarray) -> dict[str, float]:
    act(queries[0])
    times = []
    for query in queries:
        started = time.perf_counter()
        act(query)
        times.append(1000 * (time.perf_counter() - started))
    return {"p50_ms": round(float(np.median(times)), 2), "p99_ms": round(float(np.quantile(times, 0.99)), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=25_000)
    photos = parser.parse_args().photos
    with tempfile.TemporaryDirectory() as folder:
        store(Path(folder), photos)
        index = build(Cache.open(folder))
        _, queries = index.cache.sample(REPEATS)
        few = f"uri < 'pets/{photos // 100:08d}'"
        acts: dict[str, Callable[[np.ndarray], object]] = {
            "search": lambda query: search(index, query),
            "ask": lambda query: ask(index, [query]),
            "ask, grouped": lambda query: ask(index, [query], Terms(group_by="label")),
            "ask, 1 % of the photos chosen": lambda query: ask(index, [query], Terms(where=few)),
            "ask, all photos chosen": lambda query: ask(index, [query], Terms(where="width > 0")),
        }
        measured = {name: milliseconds(act, queries) for name, act in acts.items()}
        first, chosen = search(index, queries[0]), ask(index, [queries[0]], Terms(where="width > 0"))
        assert [one.photo for one in first] == [one.photo for one in chosen]
    print(json.dumps({"photos": photos, **measured, **machine()}))


if __name__ == "__main__":
    main()
