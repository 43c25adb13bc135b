"""How finding the pairs that could be near-copies grows, and which share of planted ones it finds: RESULTS.md.

    .venv/bin/python benchmarks/duplicates.py [--photos 10000 100000]

Made-up embeddings (benchmarks/large.py) and 1,000 copies of some, as near as re-encoded, resized and mirrored photos
are to their originals. Photos are not read: that costs what decoding the candidates costs, once each.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import large
import numpy as np
from large import store, unit
from machine import machine

from petrieve.index.duplicates.near import near, pairs
from petrieve.store.cache import Cache
from petrieve.store.digests import as_bytes

PLANTED, LEAST, NEIGHBOURS = 1000, 0.9, 10


def planted(folder: Path, photos: int) -> tuple[Cache, set[tuple[int, int]]]:
    """A store of so many photos and copies of some, and which rows are copies of which."""
    store(folder, photos)
    draw = np.random.default_rng(1)
    cache = Cache.open(folder)
    contents, originals = cache.sample(PLANTED, seed=1)
    rows = {row["digest"]: row["_rowid"] for row in cache.photos_of(contents, ["uri"]).to_pylist()}
    wanted = [rows[content] for content in as_bytes(contents)]
    close = draw.uniform(LEAST + 0.01, 0.999, (PLANTED, 1))
    away = draw.normal(size=originals.shape)
    own = unit(originals)
    away = unit(away - (away * own).sum(axis=1, keepdims=True) * own)
    copies = (close * own + np.sqrt(1 - close**2) * away) * np.linalg.norm(originals, axis=1, keepdims=True)
    large.add(cache, copies.astype(np.float16), photos, "copies")
    cache = Cache.open(folder)
    ids = {}
    for batch in cache.photos(["uri"]):
        ids |= dict(zip(batch["uri"].to_pylist(), batch["_rowid"].to_pylist(), strict=True))
    made = [ids[f"copies/{photos + number:08d}.jpg"] for number in range(PLANTED)]
    return cache, {(min(pair), max(pair)) for pair in zip(wanted, made, strict=True)}


def measure(photos: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        cache, wanted = planted(Path(folder), photos)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        found = near(cache)
        sorted_ = time.perf_counter()
        listed = pairs(cache, found, k=NEIGHBOURS, at_least=LEAST)
        done = time.perf_counter()
    there = wanted & set(map(tuple, listed.tolist()))
    return {
        "photos": photos,
        "sorting_seconds": round(sorted_ - started, 2),
        "searching_seconds": round(done - sorted_, 2),
        "pairs": len(listed),
        "planted_found": len(there) / len(wanted),
        "peak_gb_before": round(before / 1e6, 2),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, nargs="+", default=[10_000, 100_000])
    for photos in parser.parse_args().photos:
        print(json.dumps({**measure(photos), **machine()}), flush=True)


if __name__ == "__main__":
    main()
