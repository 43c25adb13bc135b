"""Photos in a table beside the same in a folder: from the source to the committed cache, by reading alone, and listed.

    python benchmarks/tables.py [--photos 1600] [--runs 3] [--peer PYTHON]

Drawn photos as a folder, as a Parquet file in row groups of 100 as Hugging Face's `datasets` writes them, and as tables
of Lance: bytes in a column, and blobs. Each is embedded into a new store by a command of its own, in turn, and the
stores are compared. `read` is what comes of reading without decoding, in a process of its own, with the memory that it
took. `million` lists a Parquet file with a million rows and ten columns. PEER is a Python that has `datasets`, torch
and torchvision: its loop is the one of tutorials. One JSON line.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lance.blob import blob_array, blob_field
from machine import machine

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from petrieve.extractor.sources.sample import draw_sample
from petrieve.store.cache import Cache

READ = """
import json, re, sys, time
import lance, numpy, pyarrow.compute, pyarrow.parquet
from petrieve.extractor.sources.places import source_at

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

before, started = peak(), time.perf_counter()
source = source_at(sys.argv[1])
parts = list(source.parts())
annotations = source.annotations([])
listed, after = time.perf_counter() - started, peak() - before
count = size = 0
for part in parts if len(sys.argv) < 3 else ():
    for photo, data in part.read({photo.uri for photo in part.photos}):
        count, size = count + 1, size + len(data)
seconds = time.perf_counter() - started - listed
found = sum(len(part.photos) for part in parts)
print(json.dumps({"photos": found, "list_seconds": round(listed, 2), "list_mb": round(after),
    "photos_per_second": round(count / seconds), "mb_per_second": round(size / 1e6 / seconds),
    "mb": round(peak() - before)}))
"""
PEER = """
import json, sys, time
import datasets, torch, torchvision
from torchvision.transforms import v2

view = v2.Compose([v2.Resize(255), v2.CenterCrop(224), v2.ToImage(), v2.ToDtype(torch.float32, scale=True),
    v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
network = torchvision.models.densenet121(weights=None).eval()
rows = datasets.load_dataset("parquet", data_files=sys.argv[1], split="train")
rows.set_transform(lambda some: {"pixels": [view(one.convert("RGB")) for one in some["image"]]})
started, count = time.perf_counter(), 0
with torch.no_grad():
    for some in torch.utils.data.DataLoader(rows, batch_size=32, num_workers=2):
        torch.nn.functional.relu(network.features(some["pixels"])).mean((2, 3))
        count += len(some["pixels"])
rate = round(count / (time.perf_counter() - started), 2)
print(json.dumps({"version": datasets.__version__, "photos_per_second": rate}))
"""


def made(folder: Path, photos: int) -> dict[str, Path]:
    """The same photos in every way, by its name."""
    draw_sample(folder / "photos", photos=photos)
    files = sorted((folder / "photos").rglob("*.*"))
    data, names = [file.read_bytes() for file in files], [str(file.relative_to(folder / "photos")) for file in files]
    table = pa.table({"image": [{"bytes": one, "path": name} for one, name in zip(data, names, strict=True)]})
    said = {"info": {"features": {"image": {"_type": "Image"}}}}
    table = table.replace_schema_metadata({"huggingface": json.dumps(said)})
    pq.write_table(table, folder / "photos.parquet", row_group_size=100)
    lance.write_dataset(table, str(folder / "photos.lance"))
    fields = pa.schema([pa.field("file_name", pa.string()), blob_field("image")])
    lance.write_dataset(pa.table([names, blob_array(data)], schema=fields), str(folder / "blobs.lance"))
    return {
        "folder": folder / "photos",
        **{one: folder / one for one in ("photos.parquet", "photos.lance", "blobs.lance")},
    }


def million(file: Path, rows: int = 1_000_000) -> Path:
    """A Parquet file with so many small values for photos, and nine other columns."""
    chance = np.random.default_rng(0)
    head = b"\xff\xd8\xff"
    columns = {
        "image": [{"bytes": head + one.to_bytes(4, "big"), "path": f"{one % 100}/{one:07}.jpg"} for one in range(rows)],
        "label": chance.integers(0, 37, rows),
        "id": np.arange(rows),
        "age": chance.integers(0, 20, rows),
        "weight": np.round(chance.random(rows) * 10, 2),
        "tame": chance.random(rows) < 0.5,
        "breed": [f"breed {one % 37}" for one in range(rows)],
        "caption": [f"a photo of a pet, number {one}" for one in range(rows)],
        "born": pa.array(chance.integers(0, 20_000, rows).astype("int32"), pa.date32()),
        "seen": pa.array(chance.integers(0, 1 << 50, rows), pa.timestamp("us")),
    }
    pq.write_table(pa.table(columns), file, row_group_size=1000)
    return file


def ran(python: str, code: str, *words: object) -> dict[str, object]:
    """What a process prints as JSON."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} if code == READ else dict(os.environ)
    done = subprocess.run([python, "-c", code, *map(str, words)], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def embedded(source: Path, store: Path) -> tuple[float, float, float]:
    """Photos a second of a first run, seconds of its processors, and the seconds of a second run."""
    command = [sys.executable, ROOT / "cli.py", "embed", source, "--store", store, "--weights", "bundled", "--json"]
    before = busy()
    first = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    took, started = busy() - before, time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return first["photos_per_second"], took, time.perf_counter() - started


def busy() -> float:
    """Seconds that processors have worked for processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def kept(store: Path) -> list[tuple[bytes, bytes, str | None]]:
    """Digest, embedding and label of each photo."""
    return sorted(
        (row["digest"], vector.tobytes(), row["label"])
        for photos, vectors in Cache.open(store).embeddings()
        for row, vector in zip(photos.to_pylist(), vectors, strict=True)
    )


def figures(sources: dict[str, Path], folder: Path, runs: int) -> dict[str, dict[str, object]]:
    """Of each source what its runs gave, in turn; all stores hold the same."""
    runs_of: dict[str, list[tuple[float, float, float]]] = {name: [] for name in sources}
    for run in range(runs):
        for name, source in sources.items():
            runs_of[name].append(embedded(source, folder / f"store-{name}-{run}"))
    stores = [kept(folder / f"store-{name}-0") for name in sources]
    assert all(store == stores[0] for store in stores)
    found = {}
    for name, some in runs_of.items():
        rates, took, again = zip(*some, strict=True)
        found[name] = {
            "photos_per_second": round(median(rates), 2),
            "spread": [min(rates), max(rates)],
            "cpu_seconds": round(median(took), 2),
            "again_seconds": round(median(again), 2),
            "read": ran(sys.executable, READ, sources[name]),
        }
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=1600)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peer")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        sources = made(Path(place), asked.photos)
        line = {
            **machine(("pyarrow",)),
            "photos": asked.photos,
            "load": os.getloadavg()[0],
            "sources": figures(sources, Path(place), asked.runs),
            "million": ran(sys.executable, READ, million(Path(place) / "million.parquet"), "listed"),
        }
        if asked.peer:
            line["datasets"] = ran(asked.peer, PEER, sources["photos.parquet"])
        print(json.dumps(line))
