"""How near every path comes to the reference: worst and median cosine over all photos of some folders.

    python benchmarks/fidelity.py FOLDER... [--device cpu|cuda]

The reference is tests/reference.py: Pillow, torchvision's transforms, the bundled trunk in float32. One JSON line.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from machine import machine
from torch.nn.functional import cosine_similarity

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from reference import reference_embeddings

from petrieve.extractor.pixels.decode import decode, upright_image
from petrieve.extractor.pixels.view import canonical_view
from petrieve.extractor.sources.folder import find
from petrieve.extractor.trunks.trunk import load_trunk

BATCH = 16


def pillow(data: bytes) -> torch.Tensor:
    """Decoded by Pillow alone."""
    return torch.from_numpy(np.array(upright_image(data))).permute(2, 0, 1)


def batches(paths: list[Path]) -> Iterator[list[Path]]:
    for start in range(0, len(paths), BATCH):
        yield paths[start : start + BATCH]


def compared(paths: list[Path], device: str) -> dict[str, dict[str, float]]:
    halves = ["bfloat16", "float16"] if device == "cuda" else ["bfloat16"]
    ways = {"pillow, float32": (pillow, "float32"), "default, float32": (decode, "float32")}
    ways |= {f"default, {half}": (decode, half) for half in halves}
    cosines: dict[str, list[float]] = {way: [] for way in (*ways, "float16 on disk")}
    reference = torch.cat([reference_embeddings(batch) for batch in batches(paths)])
    for way, (decoder, precision) in ways.items():
        load_trunk.cache_clear()
        trunk = load_trunk("bundled", device, precision)
        for number, batch in enumerate(batches(paths)):
            views = torch.stack([canonical_view(decoder(path.read_bytes())) for path in batch])
            wanted = reference[number * BATCH : number * BATCH + len(batch)]
            cosines[way] += cosine_similarity(trunk(views).double(), wanted.double()).tolist()
    cosines["float16 on disk"] = cosine_similarity(reference.half().double(), reference.double()).tolist()
    return {way: {"worst": round(min(c), 7), "median": round(float(np.median(c)), 7)} for way, c in cosines.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    paths = [Path(photo.path) for folder in given.folders for photo in find(folder)]
    print(json.dumps({**machine(), "photos": len(paths), "device": given.device, **compared(paths, given.device)}))


if __name__ == "__main__":
    main()
