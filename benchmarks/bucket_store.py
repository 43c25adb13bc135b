"""What a store in a bucket costs over a link of 20 ms, beside the same on this disk: benchmarks/RESULTS.md.

.venv/bin/python benchmarks/bucket_store.py [--photos 200] [--known 25000]

The bucket is moto's, in a process of its own; a proxy counts requests and makes each wait.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in (".", "tests")]

import large
import numpy as np
import servers
from machine import machine

from petrieve.classifier.labelled import read
from petrieve.extractor.embed import embed
from petrieve.extractor.sources.sample import draw_sample
from petrieve.index.build import build
from petrieve.index.search import search
from petrieve.store.cache import Cache

DELAY = 0.02  # seconds


def measured(proxy: servers.Proxy, act: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Requests and seconds of an act, and what came of it."""
    proxy.asked.clear()
    started = time.perf_counter()
    made = act()
    seconds = round(time.perf_counter() - started, 3)
    return {"requests": len(proxy.asked), "seconds": seconds}, made


def runs(proxy: servers.Proxy, photos: Path, stores: dict[str, str]) -> dict[str, Any]:
    """First and second runs over the same photos."""
    found: dict[str, Any] = {}
    for name, store in stores.items():
        for run in ("embed", "embed again"):
            figures, (summary, _) = measured(proxy, lambda store=store: embed(photos, store=store, weights="bundled"))
            found[f"{run}, {name}"] = figures | {"photos_per_second": summary.photos_per_second}
    first, second = (dict(whole(Cache.open(store))) for store in stores.values())
    assert first == second, "the same bits"
    return found


def whole(cache: Cache) -> list[tuple[bytes, bytes]]:
    """Digests and embeddings, bit by bit."""
    return [
        (digest, vector.tobytes())
        for batch, vectors in cache.embeddings(["uri"])
        for digest, vector in zip(batch["digest"].to_pylist(), vectors, strict=True)
    ]


def look_ups(proxy: servers.Proxy, stores: dict[str, str]) -> dict[str, Any]:
    """A look-up as a command makes it, and reading what a head is fitted on, each for the first time and again."""

    def similar(store: str) -> list[str]:
        index = build(Cache.open(store))
        return [one.photo for one in search(index, np.ones(index.cache.dimension, np.float32))]

    found: dict[str, Any] = {}
    for name, store in stores.items():
        made = []
        for turn in ("first", "second"):
            figures, answer = measured(proxy, lambda store=store: similar(store))
            found[f"similar, {name}, {turn}"] = figures
            made.append(answer)
        found[f"read the labelled, {name}"], _ = measured(proxy, lambda store=store: read(Cache.open(store)))
        assert made[0] == made[1]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--known", type=int, default=25_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, servers.moto_server() as moto, servers.proxied(moto) as proxy:
        here = Path(folder)
        os.environ |= servers.environment(proxy.endpoint) | {"XDG_CACHE_HOME": str(here / "near")}
        bucket = servers.made_bucket(moto, "pets")
        draw_sample(here / "photos", photos=given.photos)
        large.store(here / "large", given.known)
        servers.put_folder(bucket, here / "large", "large/")
        proxy.delay = DELAY
        found = runs(proxy, here / "photos", {"disk": str(here / "s"), "bucket": "s3://pets/s"})
        found |= look_ups(proxy, {"disk": str(here / "large"), "bucket": "s3://pets/large"})
    print(json.dumps({"photos": given.photos, "known": given.known, "delay": DELAY, **found, **machine()}, indent=1))


if __name__ == "__main__":
    main()
