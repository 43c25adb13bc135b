"""How far an exported ONNX file's probabilities are from ours, and how long a photo takes in onnxruntime.

    python benchmarks/onnx_export.py STORE FOLDER... [--every 4]

Both begin with the same decoded pixels, and compute in float32 on all cores, one photo at a time. One JSON line.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from machine import machine

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from petrieve.classifier import head
from petrieve.extractor.exchange import onnx
from petrieve.extractor.pixels.decode import decode
from petrieve.extractor.pixels.view import canonical_view
from petrieve.extractor.sources.folder import find
from petrieve.extractor.trunks.trunk import load_trunk
from petrieve.store.cache import Cache


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--every", type=int, default=4)
    given = parser.parse_args()
    import onnxruntime

    cache = Cache.open(given.store)
    fitted = head.load(cache)
    trunk = load_trunk(cache.weights, "cpu", "float32")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pets.onnx")
        started = time.perf_counter()
        made = onnx.export(file, cache, weight=fitted.weight, bias=fitted.bias, classes=fitted.classes)
        export_seconds = time.perf_counter() - started
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(file, options)
    photos = [photo for one in given.folders for photo in find(one)][:: given.every]
    differences, seconds = [], {"onnxruntime": [], "ours": []}
    for photo in photos:
        pixels = decode(Path(photo.path).read_bytes())
        started = time.perf_counter()
        ours = fitted.predict(trunk(canonical_view(pixels)[None]).numpy())[0]
        between = time.perf_counter()
        (theirs,) = session.run(["probabilities"], {"photo": pixels.permute(1, 2, 0)[None].contiguous().numpy()})
        seconds["ours"].append(between - started)
        seconds["onnxruntime"].append(time.perf_counter() - between)
        differences.append(float(np.abs(ours - theirs[0]).max()))
    figures = {
        "photos": len(photos),
        "largest_difference": max(differences),
        "median_difference": float(np.median(differences)),
        "milliseconds": {name: round(1000 * float(np.median(some)), 1) for name, some in seconds.items()},
        "export_seconds": round(export_seconds, 1),
        "size_bytes": made.size_bytes,
    }
    print(json.dumps({**machine(("onnx", "onnxruntime")), **figures}))


if __name__ == "__main__":
    main()
