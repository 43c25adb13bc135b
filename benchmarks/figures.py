"""How long the commands take, as whole processes, and how much memory `embed` needs.

    python benchmarks/figures.py [--photos FOLDER] [--device cpu|cuda] [--repeat 5]

Prints one JSON line. Without a folder it takes ../shared/photos/train where that is at hand, else 400 drawn photos.
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

from machine import machine

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "photos" / "train"


def timed(*words: object) -> tuple[float, float, str]:
    """Seconds, peak memory in GB and stdout of a command."""
    command = [sys.executable, str(ROOT / "cli.py"), *map(str, words)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    out = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    assert status == 0, f"{command} failed"
    return seconds, usage.ru_maxrss / 1e6, out


def median(repeat: int, *words: object) -> dict[str, float]:
    """Of so many runs after one that is not counted."""
    timed(*words)
    seconds = [timed(*words)[0] for _ in range(repeat)]
    return {
        "median": round(statistics.median(seconds), 2),
        "min": round(min(seconds), 2),
        "max": round(max(seconds), 2),
    }


def figures(photos: Path, device: str, repeat: int, folder: Path) -> dict[str, object]:
    store = ("--store", folder / "store")
    first, memory, out = timed("embed", photos, *store, "--weights", "bundled", "--device", device, "--json")
    summary = json.loads(out)
    cached = next(path for path in sorted(photos.rglob("*")) if path.is_file())
    timed("sample", folder / "new", "--photos", 1)
    new = next((folder / "new").rglob("*.jpg"))
    found = {
        "first embed": {"seconds": round(first, 1), "photos_per_second": summary["photos_per_second"]},
        "peak memory of embed, GB": round(memory, 2),
        "--help": median(repeat, "--help"),
        "second embed": median(repeat, "embed", photos, *store),
        "fit-head": median(repeat, "fit-head", *store),
        "fit-head --method linear": median(repeat, "fit-head", *store, "--method", "linear"),
        "similar, cached photo": median(repeat, "similar", cached, *store),
        "similar, new photo": median(repeat, "similar", new, *store, "--device", device),
    }
    assert summary["embedded"] + summary["unreadable"] == summary["found"]
    assert len(json.loads(timed("similar", cached, *store, "--json")[2])["neighbours"]) == 10
    return {"photos": summary["found"], "device": summary["device"], "precision": summary["precision"], **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        photos = given.photos or (REAL if REAL.exists() else Path(name, "drawn"))
        if photos == Path(name, "drawn"):
            timed("sample", photos, "--photos", 400)
        print(json.dumps({**machine(), **figures(photos, given.device, given.repeat, Path(name))}))


if __name__ == "__main__":
    main()
