"""What `embed` costs where nothing, or little, has changed: a folder, a zip and shards of very many photos.

    git worktree add ../before HEAD~1
    python benchmarks/unchanged.py --photos 1000000 --folder /tmp/unchanged --beside ../before

The photos are made up: files of a few bytes, 1,000 in a folder, a row each that says of it what its source does, and an
embedding. A run is timed in a process of its own, from its start to its end without the update of an index, in turn
with one of another release; the first, as a store from before has it and which must list what it holds, does not count.
Of files there are also `part`, one folder of 1,000 of them, and `new`, 100 drawn photos that come into a copy of the
store; `alone`, the same into a store of their own, is what these cost.
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
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import stores

MOMENT = 1_700_000_000
SHARD = 10_000  # photos
NEW = 100  # photos
DATA = b"\xff\xd8\xff no photo"
RUN = """
import json, re, sys, time
started, cpu = time.perf_counter(), time.process_time()
from petrieve.extractor.embed import embed
summary, _ = embed(sys.argv[2:], store=sys.argv[1], weights="bundled")
seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10
counts = {"found": summary.found, "cached": summary.cached, "embedded": summary.embedded}
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


def timed(release: Path, store: Path, source: Path) -> dict[str, float]:
    with TemporaryDirectory() as above:
        (Path(above) / "petrieve").symlink_to(release)
        run = [sys.executable, "-c", RUN, store, source]
        done = subprocess.run(run, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": above})
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout)
    assert found["found"] == found["cached"] + found["embedded"], found
    return found


def anew(release: Path, whole: Path | None, store: Path, source: Path) -> dict[str, float]:
    """What new photos cost in a copy of a store, or in a store of their own."""
    shutil.rmtree(store, ignore_errors=True)
    if whole:
        shutil.copytree(whole, store, copy_function=os.link)
    made = timed(release, store, source)
    assert made["embedded"] == NEW, made
    return made


def in_turn(name: str, releases: Sequence[Path], runs: int, run: Callable[[Path], dict[str, float]]) -> None:
    """Print the medians of so many runs of each release, the first of which does not count."""
    for release in releases:
        run(release)
    made: dict[Path, list[dict[str, float]]] = {release: [] for release in releases}
    for _ in range(runs):
        for release, some in made.items():
            some.append(run(release))
    for place, some in enumerate(made.values()):
        figures = {key: median(one[key] for one in some) for key in ("seconds", "cpu_seconds", "peak_mb")}
        each = [one["seconds"] for one in some]
        which = "beside" if place else "this"
        print(
            json.dumps({"what": name, "release": which, **figures, "each": each, "load": os.getloadavg()[0]}),
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, required=True, help="a new folder, or one that this script has made")
    parser.add_argument("--kind", action="append", choices=KINDS, help="only these")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--beside", type=Path, help="the checkout of another release")
    asked = parser.parse_args()
    from petrieve.extractor.sources.sample import draw_sample
    from petrieve.extractor.trunks.trunk import load_trunk

    fingerprint = load_trunk("bundled").fingerprint
    folder, count = asked.folder.absolute(), asked.photos
    releases = [Path(__file__).absolute().parents[1], *([asked.beside.absolute()] if asked.beside else [])]
    folder.mkdir(exist_ok=True)
    for kind in asked.kind or KINDS:
        source, place, new = folder / kind, folder / f"store-{kind}", folder / "new"
        if not source.exists():
            names = (
                f"{('cat', 'dog')[number // 1000 % 2]}/{number // 1000:05}/{number:08}.jpg" for number in range(count)
            )
            KINDS[kind](source, list(names))
        if not place.exists():
            store(place, source, folder / "vectors.lance", fingerprint, count)
        in_turn(kind, releases, asked.runs, partial(timed, store=place, source=source))
        if kind == "files":
            if not new.exists():
                draw_sample(new, photos=NEW)
            in_turn("part", releases, asked.runs, partial(timed, store=place, source=source / "cat" / "00000"))
            for name, whole in (("new", place), ("alone", None)):
                in_turn(name, releases, asked.runs, partial(anew, whole=whole, store=folder / "copy", source=new))


if __name__ == "__main__":
    main()
