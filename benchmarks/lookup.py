"""What a look-up costs as a whole command, beside another release: `similar` and `predict` of photos new and known.

    git worktree add ../before v0.1
    python benchmarks/lookup.py --release ../before --release . [--photos 25000] [--repeat 9] [--folder /tmp/lookup]

The store has so many made-up photos and 40 drawn ones, on which a head is fitted. The releases take turns; each
command runs once to warm up. One JSON line: medians, the least and the most, in seconds; and those of processor time.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import large
from machine import machine

from petrieve.store.cache import Cache

ROOT = Path(__file__).resolve().parents[1]


def timed(release: Path, folder: Path, *words: object) -> tuple[float, float]:
    """Seconds of a command, and those of the processor, of the release in this checkout: that is its `petrieve`."""
    named = folder / f"names-{hash(release):x}" / "petrieve"
    if not named.exists():
        named.parent.mkdir(parents=True)
        named.symlink_to(release.absolute())
    command = [str(release / ".venv/bin/python"), str(release / "cli.py"), *map(str, words)]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(named.parent)})
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return seconds, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def made(folder: Path, photos: int) -> Path:
    """A store of made-up photos and 40 drawn ones with a head, and beside it a new photo."""
    store = folder / f"{photos}"
    if not store.exists():
        timed(ROOT, folder, "sample", folder / "drawn", "--photos", 40)
        timed(ROOT, folder, "sample", folder / "new", "--photos", 2, "--seed", 1)
        timed(ROOT, folder, "embed", folder / "drawn", "--store", store, "--weights", "bundled")
        timed(ROOT, folder, "fit-head", "--store", store)
        for number, vectors in enumerate(large.batches(photos)):
            large.add(Cache.open(store), vectors, number * large.BATCH, "pets")
        timed(ROOT, folder, "embed", folder / "drawn", "--store", store)  # signs what was written
    return store


def figures(runs: list[tuple[float, float]]) -> dict[str, float]:
    seconds, processor = zip(*runs, strict=True)
    return {
        "median": round(statistics.median(seconds), 2),
        "min": round(min(seconds), 2),
        "max": round(max(seconds), 2),
        "processor": round(statistics.median(processor), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, action="append", required=True, help="a checkout with its .venv")
    parser.add_argument("--photos", type=int, default=25_000)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir(), "lookup"))
    asked = parser.parse_args()
    store = made(asked.folder, asked.photos)
    new, known = (next(iter(sorted((asked.folder / name).rglob("*.jpg")))) for name in ("new", "drawn"))
    commands: dict[str, tuple[object, ...]] = {
        "similar, new photo": ("similar", new, "--store", store),
        "predict, new photo": ("predict", new, "--store", store),
        "similar, cached photo": ("similar", known, "--store", store),
        "--help": ("--help",),
    }
    found: dict[str, dict[str, list[tuple[float, float]]]] = {
        name: {str(one): [] for one in asked.release} for name in commands
    }
    for run in range(asked.repeat + 1):
        for name, words in commands.items():
            for release in asked.release:
                seconds = timed(release, asked.folder, *words)
                if run:  # the first warms up
                    found[name][str(release)].append(seconds)
    shown = {name: {release: figures(one) for release, one in of.items()} for name, of in found.items()}
    print(json.dumps({"photos": asked.photos, **shown, **machine()}))


if __name__ == "__main__":
    main()
