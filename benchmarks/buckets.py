"""What a bucket costs beside a folder: listing, reading, and `embed`, over a made-up link: benchmarks/RESULTS.md.

    python benchmarks/buckets.py PHOTOS [--photos 128] [--keys 1000000] [--objects 8000] [--rounds 6]

`list`: keys a second of a bucket of `--keys`, beside a bare loop of the same requests. `read`: objects a second over
20 ms, without a trunk. `embed`: the first so many photos of a folder from a bucket over 20 ms and 100 MB/s, and from
the folder, in turn; the embeddings are compared bit by bit. One JSON line goes to stdout.
"""

import argparse
import http.client
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from machine import machine

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from servers import environment
from sources import seen

from petrieve.extractor.embed import embed
from petrieve.extractor.sources.ahead import one_ahead
from petrieve.extractor.sources.buckets.bucket import Bucket

DELAY, MEGABYTES = "0.02", "100"
ADDRESS = "s3://made-up/pets"


@contextmanager
def served(*words: str) -> Iterator[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "bucket_server.py"), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            endpoint = server.stdout.readline().strip()
            os.environ.update(environment(endpoint))
            yield endpoint
        finally:
            server.terminate()


def bare_loop(endpoint: str, keys: int) -> float:
    """Seconds that the pages take which are asked for one after the other, and not looked at."""
    link = http.client.HTTPConnection(endpoint.removeprefix("http://"))
    started = time.perf_counter()
    for start in range(0, keys, 1000):
        link.request("GET", f"/made-up?list-type=2&prefix=pets/&continuation-token={start}")
        assert len(link.getresponse().read()) > 1000
    return time.perf_counter() - started


def listing(keys: int, *words: str) -> dict[str, float]:
    with served("--keys", str(keys), *words) as endpoint:
        bare = bare_loop(endpoint, keys)
        started = time.perf_counter()
        found = sum(len(part.photos) for part in Bucket(ADDRESS).parts())
        seconds = time.perf_counter() - started
    assert found == keys
    return {"keys_per_second": round(keys / seconds), "bare_keys_per_second": round(keys / bare)}


def reading(objects: int) -> dict[str, float]:
    with served("--keys", str(objects), "--delay", DELAY, "--megabytes", "1000"):
        parts = list(Bucket(ADDRESS).parts())
        started = time.perf_counter()
        reads = one_ahead(part.read({photo.uri for photo in part.photos}) for part in parts)
        sizes = [len(one[1]) for one in chain.from_iterable(reads) if isinstance(one, tuple)]
        seconds = time.perf_counter() - started
    assert len(sizes) == objects
    return {"objects_per_second": round(objects / seconds)}


def embedding(photos: Path, count: int, rounds: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "pets"
        folder.mkdir()
        for file in sorted(photos.rglob("*.*"))[:count]:
            (folder / file.name).write_bytes(file.read_bytes())
        rates: dict[str, list[float]] = {"folder": [], "bucket": []}
        with served("--folder", str(folder), "--delay", DELAY, "--megabytes", MEGABYTES):
            embed(folder, store=Path(place) / "warm", weights="bundled")
            for number in range(rounds):
                of = {}
                both = [("folder", str(folder)), ("bucket", ADDRESS)]
                for name, source in both if number % 2 else reversed(both):
                    store = Path(place) / f"{name}{number}"
                    summary, _ = embed(source, store=store, weights="bundled")
                    assert summary.embedded == count
                    rates[name].append(summary.photos_per_second)
                    of[name] = {key: one[:2] for key, one in seen(store, source).items()}
                assert of["folder"] == of["bucket"]
        # Of neighbours in time, because another load comes and goes.
        shares = [bucket / folder for bucket, folder in zip(rates["bucket"], rates["folder"], strict=True)]
        return {"photos_per_second": rates, "share": round(statistics.median(shares), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, metavar="PHOTOS", help="a folder of photos")
    parser.add_argument("--photos", dest="count", type=int, default=128)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--objects", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=6)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    measured = {
        "list": listing(given.keys),
        "list_over_20_ms": listing(given.keys // 10, "--delay", DELAY, "--megabytes", MEGABYTES),
        "read": reading(given.objects),
        "embed": embedding(given.photos, given.count, given.rounds),
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
    }
    print(json.dumps({**measured, **machine(("obstore",))}))


if __name__ == "__main__":
    main()
