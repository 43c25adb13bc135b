"""What a look-up costs as a whole command, beside another release: `similar` and `predict` of photos new and known.

    git worktree add ../before v0.1
    python benchmarks/lookup.py --release ../before --release . [--photos 25000] [--repeat 9] [--folder /tmp/lookup]

The store has that many made-up photos and 40 drawn ones, on which a head is fitted. The releases take turns; each
command runs once to warm up. One JSON line: medians, the least and the most, in seconds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import large
from machine import machine

from petrieve.store.cache import Cache

ROOT = Path(__file__).resolve().parents[1]


def timed(release: Path, *words: object) -> float:
    """Seconds of a command of the release in this checkout."""
    command = [str(release / ".venv/bin/python"), str(release / "cli.py"), *map(str, words)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return seconds


def made(folder: Path, photos: int) -> Path:
    """A store of made-up photos and 40 drawn ones with a head, and beside it a new photo."""
    store = folder / f"{photos}"
    if not store.exists():
        timed(ROOT, "sample", folder / "drawn", "--photos", 40)
        timed(ROOT, "sample", folder / "new", "--photos", 2, "--seed", 1)
        timed(ROOT, "embed", folder / "drawn", "--store", store, "--weights", "bundled")
        timed(ROOT, "fit-head", "--store", store)
        for number, vectors in enumerate(large.batches(photos)):
            large.add(Cache.open(store), vectors, number * large.BATCH, "pets")
        timed(ROOT, "embed", folder / "drawn", "--store", store)  # signs what was written
    return store


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
    found: dict[str, dict[str, list[float]]] = {name: {str(one): [] for one in asked.release} for name in commands}
    for run in range(asked.repeat + 1):
        for name, words in commands.items():
            for release in asked.release:
                os.environ["PYTHONPATH"] = ""
                seconds = timed(release.absolute(), *words)
                if run:
                    found[name][str(release)].append(seconds)
    shown = {
        name: {
            release: {"median": round(statistics.median(one), 2), "min": round(min(one), 2), "max": round(max(one), 2)}
            for release, one in of.items()
        }
        for name, of in found.items()
    }
    print(json.dumps({"photos": asked.photos, **shown, **machine()}))


if __name__ == "__main__":
    sys.exit(main())
