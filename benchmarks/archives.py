"""Photos where they lie, each kind of source beside the folder in one run; and archives too large to be looked through.

    python benchmarks/archives.py ../shared/photos/train [--photos 400] [--rounds 3] [--entries 1000000] [--kinds zip]

Every `embed` is a whole command in a process of its own, and each round takes all kinds one after the other. What is
large is made with holes, and is listed and read in processes of their own, whose peak of memory counts. One JSON line
goes to stdout.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from machine import machine

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from petrieve.extractor.sources.folder import find
from petrieve.extractor.sources.places import source_at
from petrieve.store.rows import Unreadable

JPEG = b"\xff\xd8\xff\xe0"
LARGE, LARGE_ONES = 1 << 30, 50  # bytes of an entry that is a hole, and how many there are
SMALL_ONES = 100  # behind each of them
SHARDS = 10


def folder_of(photos: Path, place: Path) -> Path:
    return Path(shutil.copytree(photos, place / "folder"))


def zip_of(photos: Path, place: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(place / f"photos-{method}.zip", "w", method) as made:
        for path in sorted(path for path in photos.rglob("*") if path.is_file()):
            made.write(path, path.relative_to(photos))
    return Path(str(made.filename))


def stored_zip_of(photos: Path, place: Path) -> Path:
    return zip_of(photos, place, zipfile.ZIP_STORED)


def tars_of(photos: Path, place: Path, ending: str, packer: Sequence[str] = ()) -> Path:
    """A folder of ten tars, each with some of every class."""
    shards = place / ending[1:]
    shards.mkdir()
    files = sorted(path for path in photos.rglob("*") if path.is_file())
    for number in range(SHARDS):
        file = shards / f"{number:05}.tar"
        with tarfile.open(file, "w") as made:
            for path in files[number::SHARDS]:
                made.add(path, path.relative_to(photos))
        if packer:
            subprocess.run([*packer, file], check=True)
    return shards


# What is made of a folder of photos, by the name of the source's kind.
KINDS: dict[str, Callable[[Path, Path], Path]] = {"folder": folder_of, "zip": zip_of, "stored zip": stored_zip_of}
KINDS |= {
    "tars": lambda photos, place: tars_of(photos, place, ".tar"),
    "tar.gz": lambda photos, place: tars_of(photos, place, ".tar.gz", ("gzip", "-n")),
    "tar.zst": lambda photos, place: tars_of(photos, place, ".tar.zst", ("zstd", "-q", "--rm")),
}


@contextmanager
def zip_made(file: Path) -> Iterator[Callable[[str, bytes | None, int, int], None]]:
    """Adds stored entries (name, bytes or None for a hole, size, CRC) to a new zip, as quick as can be."""
    lines, count = bytearray(), 0
    with file.open("wb", 1 << 20) as out:

        def add(name: str, data: bytes | None, size: int, crc: int) -> None:
            nonlocal count
            place, raw = out.tell(), name.encode()
            fields = struct.pack("<5H3L2H", 45, 0, 0, 0x6000, 0x5B7A, crc, size, size, len(raw), 0)
            out.write(b"PK\3\4" + fields + raw)
            out.write(data) if data is not None else out.seek(size, os.SEEK_CUR)
            fields = fields[:-2] + struct.pack("<H", 12)
            lines.extend(
                b"PK\1\2" + bytes([45, 3]) + fields + struct.pack("<3H2L", 0, 0, 0, 0o100644 << 16, 0xFFFFFFFF)
            )
            lines.extend(raw + struct.pack("<2HQ", 1, 8, place))
            count += 1

        yield add
        start = out.tell()
        out.write(lines)
        out.write(b"PK\6\6" + struct.pack("<Q2H2L4Q", 44, 45, 45, 0, 0, count, count, len(lines), start))
        out.write(b"PK\6\7" + struct.pack("<LQL", 0, start + len(lines), 1))
        out.write(b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))


def many_in_zip(place: Path, entries: int) -> Path:
    """So many entries, one of five a text that lies beside photos."""
    file, crc = place / "many.zip", zlib.crc32(JPEG)
    with zip_made(file) as add:
        for number in range(entries):
            ending = "txt" if number % 5 == 4 else "jpg"
            add(f"train/{('cat', 'dog')[number % 2]}/{number:08}.{ending}", JPEG, len(JPEG), crc)
    return file


def large_zip(place: Path) -> Path:
    """50 GB: entries that are holes, as large as any photo may be, and behind each some small ones."""
    file, crc = place / "large.zip", 0
    for _ in range(LARGE >> 20):
        crc = zlib.crc32(bytes(1 << 20), crc)
    with zip_made(file) as add:
        for number in range(LARGE_ONES):
            add(f"{number}.tif", None, LARGE, crc)
            for small in range(SMALL_ONES):
                add(f"{number}/{small}.jpg", JPEG, len(JPEG), zlib.crc32(JPEG))
    return file


def tar_with(file: Path, entries: Iterable[tuple[str, int]]) -> Path:
    """A tar of these entries (name, size), whose data begin as a JPEG and are holes."""
    with file.open("wb", 1 << 20) as out:
        for number, (name, size) in enumerate(entries):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = size, 1_700_000_000 + number
            out.write(info.tobuf(tarfile.GNU_FORMAT) + JPEG)
            out.seek(-(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE - len(JPEG), os.SEEK_CUR)
        out.write(bytes(2 * tarfile.BLOCKSIZE))
    return file


def many_in_tar(place: Path, entries: int) -> Path:
    names = (
        f"{('cat', 'dog')[number % 2]}/{number:08}.{'cls' if number % 5 == 4 else 'jpg'}" for number in range(entries)
    )
    return tar_with(place / "many.tar", ((name, 1 if name.endswith("cls") else 40_000) for name in names))


def large_tar(place: Path) -> Path:
    """20 GB, and small photos behind each GB."""
    names = (
        f"{number}{small}" for number in range(20) for small in (".tif", *(f"/{n}.jpg" for n in range(SMALL_ONES)))
    )
    return tar_with(place / "large.tar", ((name, LARGE if name.endswith(".tif") else len(JPEG)) for name in names))


MANY: dict[str, Callable[[Path, int], Path]] = {"zip": many_in_zip, "tar": many_in_tar}
HOLES: dict[str, Callable[[Path], Path]] = {"zip": large_zip, "tar": large_tar}


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def listed(file: str) -> dict[str, float]:
    """Seconds and megabytes of listing a source, which are those of its process."""
    before, started, used = peak_mb(), time.perf_counter(), time.process_time()
    photos = sum(len(part.photos) for part in list(source_at(file).parts()))
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    return {"photos": photos, "seconds": round(seconds, 2), "cpu": round(cpu, 2), "mb": peak_mb() - before}


def small_ones_read(file: str) -> dict[str, float]:
    """The same of reading all small photos of a source with holes, and two large ones."""
    before, started, read = peak_mb(), time.perf_counter(), 0
    for part in source_at(file).parts():
        wanted = {photo.uri for photo in part.photos if photo.size < LARGE or photo.uri in ("0.tif", "1.tif")}
        for got in part.read(wanted):
            assert not isinstance(got, Unreadable), got
            read += 1
    return {"photos": read, "seconds": round(time.perf_counter() - started, 2), "mb": peak_mb() - before}


PROBES = {"list": listed, "read": small_ones_read}


def probed(probe: str, file: Path) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, str(file), "--probe", probe], stdout=subprocess.PIPE, check=True)
    return dict(json.loads(done.stdout))


def embed(source: Path, store: Path) -> dict[str, float]:
    """Photos per second of a first `embed`, and the seconds of a second, starting Python included."""
    command = [sys.executable, str(ROOT / "cli.py"), "embed", str(source), "--store", str(store), "--json"]
    first = json.loads(subprocess.run([*command, "--weights", "bundled"], stdout=subprocess.PIPE, check=True).stdout)
    started = time.perf_counter()
    second = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    seconds = time.perf_counter() - started
    assert (second["embedded"], second["cached"]) == (0, first["found"] - first["unreadable"])
    shutil.rmtree(store)
    return {"photos_per_second": first["photos_per_second"], "again_seconds": seconds}


def rates(photos: Path, count: int, rounds: int, kinds: list[str], place: Path) -> dict[str, dict[str, object]]:
    """Of each kind the medians over rounds, and the worst and best."""
    chosen = place / "chosen"
    for photo in list(find(photos))[:: max(1, len(list(find(photos))) // count)][:count]:
        (chosen / photo.uri).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo.path, chosen / photo.uri)
    sources = {kind: KINDS[kind](chosen, place) for kind in kinds}
    runs = [{kind: embed(source, place / "store") for kind, source in sources.items()} for _ in range(rounds)]
    found: dict[str, dict[str, object]] = {}
    for kind in kinds:
        for name in ("photos_per_second", "again_seconds"):
            each = [run[kind][name] for run in runs]
            found.setdefault(kind, {})[name] = [round(of, 2) for of in (statistics.median(each), min(each), max(each))]
        share = [run[kind]["photos_per_second"] / run["folder"]["photos_per_second"] for run in runs]
        found[kind]["of_the_folder"] = round(statistics.median(share), 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("--photos", dest="count", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS)[1:])
    parser.add_argument("--probe", choices=PROBES)
    asked = parser.parse_args()
    if asked.probe:
        print(json.dumps(PROBES[asked.probe](str(asked.photos))))
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        many = {kind: probed("list", make(place, asked.entries)) for kind, make in MANY.items()}
        holes = {kind: {probe: probed(probe, file) for probe in PROBES} for kind, file in made_holes(place)}
        embedded = rates(asked.photos, asked.count, asked.rounds, ["folder", *asked.kinds], place)
    print(json.dumps({**machine(), "load": os.getloadavg(), "embed": embedded, "many": many, "holes": holes}))


def made_holes(place: Path) -> Iterator[tuple[str, Path]]:
    for kind, make in HOLES.items():
        yield kind, make(place)


if __name__ == "__main__":
    main()
