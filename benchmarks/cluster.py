"""What a run on a cluster costs beside one on this machine, and where its driver ends: benchmarks/RESULTS.md.

    python benchmarks/cluster.py PHOTOS [--photos 1600] [--rounds 3] [--device cpu|cuda]

`simulation`: 1 to 32 made-up workers whose trunk sleeps (10 ms a batch of 256), and 8 to 64 at the rate of a GPU
(100 ms), over pieces that are only named; one and two workers that write them; and a million photos, with the memory
that the driver, its workers and Ray's store of objects take meanwhile. `overhead`: `embed` of so many photos of a
folder with `--on local` and with `--on ray`, each in a process of its own, in pairs; the start is timed by itself.
`units`: on Ray with one unit at a time for a worker, and with units of other lengths. No other cluster may run here.
One JSON line goes to stdout.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from machine import machine, named, resident

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

QUIET = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
SECONDS = 8  # that a simulation goes on for, at the trunks' rate or at the driver's
DRIVER = 150_000  # photos a second that two cores drive beside made-up workers
# Units of other lengths: the constants of the engine that are another then.
UNITS = {
    "one at a time": {"AT_ONCE": 1},
    "2 s": {"UNIT_SECONDS": 2.0},
    "40 s": {"UNIT_SECONDS": 40.0},
    "16 first": {"MIN_UNIT": 16},
}


def last_line(words: Sequence[object], **environment: str) -> dict[str, Any]:
    """What a process prints at its end."""
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env={**QUIET, **environment}, timeout=1800)
    assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


@contextmanager
def gpus(count: int) -> Iterator[str]:
    """The address of a cluster on this machine with so many made-up GPUs."""
    from ray.cluster_utils import Cluster

    head = {"num_gpus": count, "object_store_memory": 1 << 30, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield made.address
    finally:
        made.shutdown()


def simulated(workers: int, milliseconds: float, *more: str, photos: int | None = None) -> dict[str, Any]:
    offered = workers * 256 / milliseconds * 1000
    count = photos or round(min(offered, DRIVER) * SECONDS)
    script = ROOT / "benchmarks" / "made_up_workers.py"
    with gpus(workers) as address:
        words = ["--workers", workers, "--photos", count, "--milliseconds", milliseconds, *more]
        found = last_line([script, *words], RAY_ADDRESS=address)
    found["efficiency"] = round(found["photos_per_second"] / offered, 3)
    if not photos:
        del found["memory"]
    print(json.dumps(found), file=sys.stderr)
    return found


def simulation() -> dict[str, Any]:
    return {
        "10 ms a batch": [simulated(workers, 10) for workers in (1, 2, 4, 8, 16, 32)],
        "100 ms a batch": [simulated(workers, 100) for workers in (8, 16, 32, 64)],
        "written, 100 ms a batch": [simulated(workers, 100, "--write") for workers in (1, 2)],
        "a million": simulated(8, 10, photos=1_000_000),
    }


def embedded(folder: Path, on: str, device: str, constants: dict[str, float]) -> dict[str, Any]:
    """One run, in this process: its start, its rate without that, and the memory that it takes."""
    from petrieve.extractor.embed import embed
    from petrieve.extractor.engines import crew
    from petrieve.extractor.engines import ray as engine

    for name, value in constants.items():
        for module in (crew, engine):
            if hasattr(module, name):
                setattr(module, name, value)
    ready: list[float] = []
    peaks = {"driver": 0, "worker": 0}

    def look() -> None:
        while True:
            workers = max(map(resident, named("ray::", os.getpid())), default=0)
            for name, size in (("driver", resident(os.getpid())), ("worker", workers)):
                peaks[name] = max(peaks[name], size >> 20)
            time.sleep(0.5)

    with tempfile.TemporaryDirectory() as place:
        if on == "local":  # the trunk is loaded, as it is on a worker that is ready
            embed(next(folder.iterdir()), store=Path(place, "warm"), weights="bundled", device=device)
        threading.Thread(target=look, daemon=True).start()
        began = time.perf_counter()
        summary, cache = embed(
            folder,
            store=Path(place, "store"),
            weights="bundled",
            device=device,
            on=on,
            note=lambda _: ready.append(time.perf_counter()),
        )
        ended = time.perf_counter()
        start = ready[0] if ready else began
        assert len(cache) == summary.found
    rate = (summary.embedded + summary.copied) / (ended - start)
    return {"photos_per_second": round(rate, 2), "start_seconds": round(start - began, 2), "peak_megabytes": peaks}


def one(folder: Path, on: str, device: str, constants: dict[str, float]) -> dict[str, Any]:
    words = [__file__, folder, "--on", on, "--device", device, "--constants", json.dumps(constants)]
    found = last_line(words)
    print(on, constants, json.dumps(found), file=sys.stderr)
    return found


def overhead(folder: Path, device: str, rounds: int) -> dict[str, Any]:
    told: dict[str, list[dict[str, Any]]] = {"local": [], "ray": []}
    for number in range(rounds):
        for on in ("local", "ray") if number % 2 else ("ray", "local"):
            told[on].append(one(folder, on, device, {}))
    # Of neighbours in time, because another load comes and goes.
    pairs = zip(told["ray"], told["local"], strict=True)
    shares = [ray["photos_per_second"] / local["photos_per_second"] for ray, local in pairs]
    return {**told, "share": round(statistics.median(shares), 3)}


def units(folder: Path, device: str, rounds: int) -> dict[str, Any]:
    ways = {"as it is": {}, **UNITS}
    told: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, constants in ways.items():
            told[name].append(one(folder, "ray", device, constants))
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="PHOTOS", help="a folder of photos, all in it")
    parser.add_argument("--photos", type=int, default=1600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--skip", nargs="*", default=[], choices=["simulation", "overhead", "units"])
    parser.add_argument("--on", help=argparse.SUPPRESS)
    parser.add_argument("--constants", type=json.loads, default={}, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.on:
        print(json.dumps(embedded(given.folder, given.on, given.device, given.constants)))
        return
    measured: dict[str, Any] = {"load": [round(os.getloadavg()[0], 1)]}
    if "simulation" not in given.skip:
        measured["simulation"] = simulation()
    with tempfile.TemporaryDirectory() as place:
        for file in sorted(given.folder.iterdir())[: given.photos]:
            Path(place, file.name).symlink_to(file.resolve())
        for name, way in (("overhead", overhead), ("units", units)):
            if name not in given.skip:
                measured[name] = way(Path(place), given.device, given.rounds)
    measured["load"].append(round(os.getloadavg()[0], 1))
    print(json.dumps({**machine(("ray",)), "photos": given.photos, **measured}))


if __name__ == "__main__":
    main()
