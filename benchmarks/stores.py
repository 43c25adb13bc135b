"""What people do with a store of a million photos: this release beside another, each with a store of its format.

    git worktree add ../before v0.1
    python benchmarks/stores.py --photos 1000000 --release ../before --release . --folder /tmp/stores

The photos are made up: empty files with a row and an embedding each, of which every twentieth has a label, and one that
can be read. Every figure is a whole command as a user types it, in a process of its own, the best of `--runs`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import lance
import large
import numpy as np
import pyarrow as pa

MOMENT = 1_700_000_000_000_000  # microseconds: when the files were last changed
PIECE = 4096
IN_A_FOLDER = 1000
# Says what the release's trunk is, and how it knows a photo.
ASK = """
import hashlib, json, pathlib, sys
try:
    from petrieve.extractor.trunks.trunk import load_trunk
except ImportError:
    from petrieve.extractor.trunk import load_trunk
print(json.dumps(load_trunk("bundled").fingerprint))
"""


def photos(folder: Path, count: int, real: Path) -> None:
    """Files for `count` photos: empty ones, but for the first."""
    for number in range(count):
        if number % IN_A_FOLDER == 0:
            (folder / f"{number // IN_A_FOLDER:05}").mkdir(parents=True)
        file = folder / uri(number)
        os.close(os.open(file, os.O_CREAT))
        os.utime(file, ns=(MOMENT * 1000, MOMENT * 1000))
    shutil.copy(real, folder / uri(0))


def uri(number: int) -> str:
    return f"{number // IN_A_FOLDER:05}/{number:08}.jpg"


def rows(folder: Path, start: int, count: int) -> dict[str, pa.Array]:
    """What a store of any format says of some photos."""
    from hashlib import blake2b

    numbers = range(start, start + count)
    data = np.random.default_rng(start).bytes(16 * count)
    digests = [data[16 * place : 16 * place + 16] for place in range(count)]
    sizes, moments = [0] * count, [MOMENT] * count
    if not start:
        first = folder / uri(0)
        digests[0] = blake2b(first.read_bytes(), digest_size=16).digest()
        sizes[0], moments[0] = first.stat().st_size, first.stat().st_mtime_ns // 1000
    return {
        "uri": pa.array([uri(number) for number in numbers]),
        "root": pa.array([str(folder)] * count),
        "digest": pa.array(digests, pa.binary(16)),
        "size": pa.array(sizes, pa.int64()),
        "modified": pa.array(moments, pa.timestamp("us", "UTC")),
        "label": pa.array(
            [("cat", "dog")[number % 3 % 2] if number % 20 == 0 else None for number in numbers], pa.string()
        ),
        "split": pa.array([None] * count, pa.string()),
        "width": pa.array([1] * count, pa.int32()),
        "height": pa.array([1] * count, pa.int32()),
        "view": pa.array([0] * count, pa.int32()),
        "version": pa.array([None] * count, pa.string()),
        "reason": pa.array([None] * count, pa.string()),
        "gone": pa.array([None] * count, pa.timestamp("us", "UTC")),
        "checksum": pa.array([bytes(8)] * count, pa.binary(8)),
    }


ONE_TABLE = ("uri root digest size modified view label split width height embedding checksum").split()
PHOTOS = ("uri root size modified version digest width height label split reason gone checksum").split()
VECTORS = ("digest view embedding checksum").split()
NULLABLE = {"label", "split", "version", "reason", "gone"}


def tables(store: Path, folder: Path, count: int, fingerprint: str, form: int) -> None:
    """A store of format 2 or 4."""
    write = write_one if form == 2 else write_two
    write(store, folder, count, fingerprint)


def write_one(store: Path, folder: Path, count: int, fingerprint: str) -> None:
    table(store / "embeddings.lance", batches(folder, count, ONE_TABLE))
    unreadable = pa.schema([field(name) for name in ("uri", "root", "size", "modified", "reason")])
    table(store / "unreadable.lance", iter([pa.RecordBatch.from_pylist([], schema=unreadable)]))
    card = {"format": 2, "fingerprint": fingerprint, "weights": "bundled"}
    (store / "store.json").write_text(json.dumps(card))


def write_two(store: Path, folder: Path, count: int, fingerprint: str) -> None:
    name = f"densenet121-{fingerprint[:8]}"
    table(store / name / "vectors.lance", batches(folder, count, VECTORS))
    table(store / "photos.lance", batches(folder, count, PHOTOS))
    trunk = {"kind": "densenet121", "fingerprint": fingerprint, "weights": "bundled", "views": 0, "recipe": ""}
    (store / "store.json").write_text(json.dumps({"format": 4, "trunks": [trunk]}))


def field(name: str) -> pa.Field:
    types = {column: array.type for column, array in rows(Path("/"), 1, 1).items()}
    types["embedding"] = pa.list_(pa.float16(), large.DIMENSION)
    return pa.field(name, types[name], nullable=name in NULLABLE or (name in ("digest", "width", "height")))


def batches(folder: Path, count: int, names: list[str]) -> Iterator[pa.RecordBatch]:
    fields = pa.schema([field(name) for name in names])
    if "view" in names:  # all that tables of embeddings hold must be there
        fields = pa.schema([one.with_nullable(one.name in NULLABLE) for one in fields])
    for start in range(0, count, large.BATCH):
        size = min(large.BATCH, count - start)
        columns = rows(folder, start, size)
        if "embedding" in names:
            vectors = large.batch(start // large.BATCH)[:size]
            columns["embedding"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), large.DIMENSION)
        yield pa.RecordBatch.from_arrays([columns[name] for name in names], schema=fields)


def table(path: Path, of: Iterator[pa.RecordBatch]) -> None:
    first = next(of)

    def every() -> Iterator[pa.RecordBatch]:
        yield first
        yield from of

    reader = pa.RecordBatchReader.from_batches(first.schema, every())
    lance.write_dataset(reader, str(path), max_rows_per_file=PIECE, enable_stable_row_ids=True)


def labels(file: Path, numbers: range, word: str) -> Path:
    file.write_text("photo,label\n" + "".join(f"{uri(20 * number)},{word}\n" for number in numbers))
    return file


def timed(release: Path, *words: object) -> float:
    """Seconds of a command of this release."""
    command = [str(release / ".venv/bin/python"), str(release / "cli.py"), *map(str, words)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, cwd=release)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--release", type=Path, action="append", required=True, help="a checkout with its .venv")
    parser.add_argument("--folder", type=Path, required=True, help="a new folder, or one that this script has made")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--index", default="PCA64,IVF1024,SQ8", help="the kind of both indexes")
    asked = parser.parse_args()
    folder = asked.folder.absolute()
    if not (folder / "photos").exists():
        oldest = asked.release[0].absolute()
        timed(oldest, "sample", folder / "drawn", "--photos", 4)
        known, new, *_ = sorted(file for file in (folder / "drawn").rglob("*.*"))
        shutil.copy(new, folder / "new.png")
        photos(folder / "photos", asked.photos, known)
    for release in asked.release:
        print(json.dumps({"release": str(release), **figures(release.absolute(), folder, asked)}), flush=True)


def figures(release: Path, folder: Path, asked: argparse.Namespace) -> dict[str, object]:
    """Seconds of each command, the best of some runs."""
    form = 2 if (release / "extractor" / "store.py").exists() else 4
    python = [str(release / ".venv/bin/python"), "-c", ASK]
    fingerprint = json.loads(subprocess.run(python, capture_output=True, text=True, cwd=release, check=True).stdout)
    store = folder / f"store{form}"
    if not store.exists():
        tables(store, folder / "photos", asked.photos, fingerprint, form)
    at = ("--store", store)
    known, new = folder / "photos" / uri(0), folder / "new.png"
    one, thousand = (folder / f"{count}.csv" for count in (1, 1000))
    found: dict[str, list[float]] = {}

    def measure(name: str, *words: object) -> None:
        for run in range(asked.runs):
            if name.endswith("changed"):
                labels(one, range(1), f"{form}{run}") if "one" in name else labels(
                    thousand, range(1000), f"{form}{run}"
                )
            found.setdefault(name, []).append(timed(release, *words, *at))

    measure("opening: info", "info")
    measure("similar, cached, no index", "similar", known)
    measure("build-index", "build-index", "--kind", asked.index)
    measure("similar, cached", "similar", known)
    measure("similar, new", "similar", new)
    measure("fit-head", "fit-head")
    measure("embed, unchanged", "embed", folder / "photos")
    measure("one label changed", "embed", folder / "photos", "--labels", one)
    measure("1,000 labels changed", "embed", folder / "photos", "--labels", thousand)
    size = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    return {"format": form, **{name: round(min(times), 2) for name, times in found.items()}, "bytes": size}


if __name__ == "__main__":
    main()
