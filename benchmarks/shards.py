"""Photos in tars beside the same ones in a folder, and beside webdataset's own loop.

    python benchmarks/shards.py [--photos 1600] [--rounds 3]

Ten tars, plain and packed, and the folder, in turn: a first `embed`, from the source to the committed cache; reading
alone; and with webdataset installed its loop as tutorials have it. What listing and reading large tars costs,
`archives.py` measures. The table goes to stderr and one JSON line to stdout.
"""

import argparse
import importlib.util
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from archives import KINDS
from embed import Pooled, transforms
from machine import machine
from PIL import Image

from petrieve.extractor.embed import embed
from petrieve.extractor.find import find_parts
from petrieve.extractor.sources.sample import draw_sample


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
        for kind in ("tars", "tar.gz", "tar.zst"):
            sources[kind] = [str(file) for file in sorted(KINDS[kind](photos, Path(folder)).iterdir())]
        ways: list[tuple[str, Callable[[Sequence[str], int], float], list[str]]] = [
            (f"{way.__name__} {name}", way, named) for way in (embedded, read) for name, named in sources.items()
        ]
        if importlib.util.find_spec("webdataset"):
            ways.append(("webdataset tars", webdataset, sources["tars"]))
        told: dict[str, list[float]] = {name: [] for name, _, _ in ways}
        embedded(sources["folder"], count)  # warm
        for _ in range(rounds):
            for name, way, named in ways:
                told[name].append(round(way(named, count), 1))
    return {"photos": count, "per_second": told, "median": {name: statistics.median(of) for name, of in told.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=1600)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    told = rates(given.photos, given.rounds)
    for name, rate in told["median"].items():
        print(f"{name:20} {rate:9.1f} photos/s", file=sys.stderr)
    print(json.dumps({**machine(), "load": os.getloadavg(), **told}))


if __name__ == "__main__":
    main()
