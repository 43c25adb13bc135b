"""Photos in tars beside the same ones in a folder, and what listing and reading large tars costs.

    python benchmarks/shards.py rates [--photos 1600] [--rounds 3]   ten tars, plain and packed, and the folder, in turn
    python benchmarks/shards.py listing [--photos 1000000]           of one tar, whose photos are holes
    python benchmarks/shards.py holes                                2,000 photos of 10 MB in one tar, read to its end

`rates` is a first `embed`, from the source to the committed cache, and beside it reading alone; with webdataset
installed, also its loop as tutorials have it. The table goes to stderr and one JSON line to stdout.
"""

import argparse
import importlib.util
import io
import json
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from embed import Pooled, transforms
from machine import machine
from PIL import Image

from extractor.embed import embed
from extractor.plan import find_parts
from extractor.sources.sample import draw_sample

SHARDS = 10
PACKERS = {".tar": None, ".tar.gz": ["gzip", "-n"], ".tar.zst": ["zstd", "-q", "--rm"]}


def shards(photos: Path, into: Path, ending: str) -> list[str]:
    """Ten tars of the photos in a folder, each with a part of every class."""
    files = sorted(photos.rglob("*.*"))
    made = []
    for number in range(SHARDS):
        file = into / f"{number:05}.tar"
        with tarfile.open(file, "w") as tar:
            for path in files[number::SHARDS]:
                tar.add(path, path.relative_to(photos))
        if packer := PACKERS[ending]:
            subprocess.run([*packer, file], check=True)
        made.append(str(into / f"{number:05}{ending}"))
    return made


def embedded(sources: Sequence[str], count: int) -> float:
    """Photos per second from the sources to the committed cache."""
    with tempfile.TemporaryDirectory() as store:
        summary, _ = embed(sources, store=store, weights="bundled")
        assert summary.embedded + summary.copied == count
        return count / summary.seconds


def read(sources: Sequence[str], count: int) -> float:
    """Photos per second that are listed and read, and no more."""
    started = time.perf_counter()
    found = [one for part in find_parts(sources) for one in part.read({photo.uri for photo in part.photos})]
    assert sum(isinstance(one, tuple) for one in found) == count
    return count / (time.perf_counter() - started)


def webdataset(sources: Sequence[str], count: int) -> float:
    """Photos per second of webdataset's own loop, into memory."""
    import torch
    import webdataset as wds

    started = time.perf_counter()
    model, see = Pooled().eval(), transforms()

    def picture(sample: dict[str, Any]) -> torch.Tensor:
        (data,) = (value for key, value in sample.items() if key[:2] != "__")  # its own decoder knows no GIF and TIFF
        return see(Image.open(io.BytesIO(data)))

    photos = wds.WebDataset(list(sources), shardshuffle=False).map(picture)
    with torch.inference_mode():
        found = torch.cat([model(pixels) for pixels in wds.WebLoader(photos, batch_size=64, num_workers=2)])
    assert len(found) == count
    return count / (time.perf_counter() - started)


def rates(count: int, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "photos")
        draw_sample(photos, photos=count)
        sources = {"folder": [str(photos)]}
        for ending in PACKERS:
            Path(folder, ending[1:]).mkdir()
            sources[ending[1:]] = shards(photos, Path(folder, ending[1:]), ending)
        ways: list[tuple[str, Callable[[Sequence[str], int], float], list[str]]] = [
            (f"{way.__name__} {name}", way, named) for way in (embedded, read) for name, named in sources.items()
        ]
        if importlib.util.find_spec("webdataset"):
            ways.append(("webdataset tar", webdataset, sources["tar"]))
        told: dict[str, list[float]] = {name: [] for name, _, _ in ways}
        embedded(sources["folder"], count)  # warm
        for _ in range(rounds):
            for name, way, named in ways:
                told[name].append(round(way(named, count), 1))
    return {"photos": count, "per_second": told, "median": {name: statistics.median(of) for name, of in told.items()}}


def hollow(file: Path, count: int, size: int) -> None:
    """A tar of photos that are holes."""
    with open(file, "wb") as made:
        for number in range(count):
            info = tarfile.TarInfo(f"{'cat' if number % 2 else 'dog'}/{number:07}.jpg")
            info.size, info.mtime = size, 1_700_000_000 + number
            made.write(info.tobuf(tarfile.GNU_FORMAT))
            made.seek(-(-size // 512) * 512, io.SEEK_CUR)
        made.write(bytes(1024))


def walked(count: int, size: int, *, whole: bool) -> dict[str, Any]:
    """Seconds and memory of listing, and of reading, a tar of so many photos."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.tar")
        hollow(file, count, size)
        started = time.perf_counter()
        parts = find_parts([str(file)])
        told: dict[str, Any] = {"photos": sum(len(part.photos) for part in parts), "bytes": file.stat().st_size}
        told |= {"listed_seconds": round(time.perf_counter() - started, 2), "listed_mb": peak()}
        if whole:
            started = time.perf_counter()
            for part in parts:
                for one in part.read({photo.uri for photo in part.photos}):
                    assert isinstance(one, tuple)
            told |= {"read_seconds": round(time.perf_counter() - started, 2), "read_mb": peak()}
        assert told["photos"] == count
        return told


def peak() -> int:
    """MB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rates", "listing", "holes"])
    parser.add_argument("--photos", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if given.what == "rates":
        told = rates(given.photos or 1600, given.rounds)
        for name, rate in told["median"].items():
            print(f"{name:20} {rate:9.1f} photos/s", file=sys.stderr)
    elif given.what == "listing":
        told = walked(given.photos or 1_000_000, 50_000, whole=False)
    else:
        told = walked(given.photos or 2000, 10_000_000, whole=True)
    print(json.dumps({"what": given.what, **machine(), **told}))


if __name__ == "__main__":
    main()
