"""What a second `embed` costs where nothing has changed: a folder, a zip and shards of very many photos.

    python benchmarks/unchanged.py --photos 1000000 --folder /tmp/unchanged

The photos are made up: files of a few bytes, a row each that says of it what its source does, and an embedding. A run
is timed in a process of its own, from its start to its end without the update of an index, the best of `--runs`; first
as a store from before has it, which must list what it holds.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import stores

MOMENT = 1_700_000_000
SHARD = 10_000  # photos
DATA = b"\xff\xd8\xff no photo"
RUN = """
import json, re, sys, time
started, cpu = time.perf_counter(), time.process_time()
from petrieve.extractor.embed import embed
summary, _ = embed(sys.argv[2:], store=sys.argv[1], weights="bundled")
seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10
counts = {"found": summary.found, "cached": summary.cached}
print(json.dumps({"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "peak_mb": peak, **counts}))
"""


def as_files(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(DATA)


def as_zip(file: Path, names: Sequence[str]) -> None:
    with zipfile.ZipFile(file, "w") as made:
        for name in names:
            made.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), DATA)


def as_shards(folder: Path, names: Sequence[str]) -> None:
    folder.mkdir()
    for start in range(0, len(names), SHARD):
        with tarfile.open(folder / f"{start // SHARD:05}.tar", "w") as made:
            for name in names[start : start + SHARD]:
                entry = tarfile.TarInfo(name)
                entry.size, entry.mtime = len(DATA), MOMENT
                made.addfile(entry, io.BytesIO(DATA))


def as_zips(folder: Path, names: Sequence[str]) -> None:
    folder.mkdir()
    for start in range(0, len(names), SHARD):
        as_zip(folder / f"{start // SHARD:05}.zip", names[start : start + SHARD])


KINDS = {"files": as_files, "one.zip": as_zip, "zips": as_zips, "tars": as_shards}


def store(path: Path, source: Path, vectors: Path, fingerprint: str, count: int) -> None:
    """A store that has embedded all photos of a source."""
    name = f"densenet121-{fingerprint[:8]}"
    if not vectors.exists():
        stores.table(vectors, embeddings(count))
    path.mkdir()
    shutil.copytree(vectors, path / name / "vectors.lance", copy_function=os.link)
    stores.table(path / "photos.lance", photos(source, count))
    trunk = {"kind": "densenet121", "fingerprint": fingerprint, "weights": "bundled", "views": 0, "recipe": ""}
    (path / "store.json").write_text(json.dumps({"format": 4, "trunks": [trunk]}))


def photos(source: Path, count: int) -> Iterator[pa.RecordBatch]:
    """A row for each photo of a source, which says what it does."""
    from petrieve.extractor.find import find_parts
    from petrieve.store.rows import photo_schema

    schema = photo_schema()
    listed = (photo for part in find_parts([str(source)]) for photo in part.photos)
    for start in range(0, count, stores.PIECE):
        some = list(islice(listed, stores.PIECE))
        columns = {name: [getattr(photo, name) for photo in some] for name in ("uri", "root", "size", "version")}
        columns["modified"] = pa.array([photo.modified for photo in some], pa.int64()).cast(pa.timestamp("us", "UTC"))
        columns["digest"] = [digest(start + place) for place in range(len(some))]
        columns["label"] = [photo.uri.split("/")[0] for photo in some]
        columns |= {"width": [1] * len(some), "height": [1] * len(some), "checksum": [bytes(8)] * len(some)}
        yield pa.RecordBatch.from_arrays(
            [pa.array(columns.get(field.name, [None] * len(some)), field.type) for field in schema], schema=schema
        )


def digest(number: int) -> bytes:
    return (number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "little") + number.to_bytes(8, "little")


def embeddings(count: int) -> Iterator[pa.RecordBatch]:
    from petrieve.store.rows import vector_schema

    for start in range(0, count, stores.PIECE):
        size = min(stores.PIECE, count - start)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(size * 1024, np.float16)), 1024)
        digests = pa.array([digest(start + place) for place in range(size)], pa.binary(16))
        sums = pa.array([bytes(8)] * size, pa.binary(8))
        yield pa.RecordBatch.from_arrays(
            [digests, pa.array([0] * size, pa.int32()), vectors, sums], schema=vector_schema(1024)
        )


def timed(store: Path, source: Path) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", RUN, store, source], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout)
    assert found["found"] == found["cached"], found
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, required=True, help="a new folder, or one that this script has made")
    parser.add_argument("--kind", action="append", choices=KINDS, help="only these")
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    from petrieve.extractor.trunks.trunk import load_trunk

    fingerprint = load_trunk("bundled").fingerprint
    folder, count = asked.folder.absolute(), asked.photos
    folder.mkdir(exist_ok=True)
    for kind in asked.kind or KINDS:
        source, place = folder / kind, folder / f"store-{kind}"
        if not source.exists():
            KINDS[kind](source, [f"{('cat', 'dog')[number % 2]}/{number:08}.jpg" for number in range(count)])
        if not place.exists():
            store(place, source, folder / "vectors.lance", fingerprint, count)
        runs = [timed(place, source) for _ in range(1 + asked.runs)]
        load = os.getloadavg()[0]
        print(
            json.dumps(
                {
                    "kind": kind,
                    "photos": count,
                    "first": runs[0],
                    "then": min(runs[1:], key=lambda one: one["seconds"]),
                    "load": load,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
