"""Tables of many rows: what their pieces cost, how many there are as a table grows, and what merging them takes.

    python benchmarks/pieces.py [--rows 1000000] [--pieces 16384] [--folder /tmp]

`pieces`: tables of as many narrow rows in ever more pieces: the newest manifest, and milliseconds of a commit of one
piece, of opening, of counting, of taking 100 random rows (opened anew each time), and of telling what no version names.
`grown`: a table with embeddings of 1,024 numbers grows to ROWS rows in pieces of 4,096, as workers write them; it is
merged on the way, by this release and by the rule before (4,096 rows, whenever there are more than 64 pieces). Seconds
in commits and in merges, how often a row was merged, the most memory (MB) that it took, and what the table costs then.
It takes 4 kB a row on the disk. `load` stands beside each figure. One JSON line.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from machine import machine

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from petrieve.store import pieces
from petrieve.store.rows import vector_schema
from petrieve.store.tables import leftovers, newest, opened, write_table

CHANCE = np.random.default_rng(0)
TIMES = 5
WINDOW = 32  # pieces that are committed at once


def rows(count: int, dimension: int) -> pa.Table:
    """Made-up embeddings; of their checksums nothing is read here."""
    numbers = CHANCE.integers(0, 0x7BFF, count * dimension, np.uint16).view(np.float16)
    columns = [
        pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), count, [None, pa.py_buffer(CHANCE.bytes(size * count))])
        for size in (16, 8)
    ]
    views = pa.array(np.zeros(count, np.int32))
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(numbers), dimension)
    return pa.table([columns[0], views, vectors, columns[1]], schema=vector_schema(dimension))


def made(path: Path, dimension: int) -> lance.LanceDataset:
    write_table(path, vector_schema(dimension).empty_table(), mode="create", enable_stable_row_ids=True)
    return opened(path)


def append(table: lance.LanceDataset, new: pa.Table, each: int) -> tuple[lance.LanceDataset, float]:
    """The table with these rows in pieces of `each`, and the seconds of the commit alone."""
    written = lance.fragment.write_fragments(new, table, mode="append", max_rows_per_file=each)
    started = time.perf_counter()
    table = lance.LanceDataset.commit(table, lance.LanceOperation.Append(written), read_version=table.version)
    return table, time.perf_counter() - started


def milliseconds(work: Callable[[], object]) -> float:
    """The median of five."""
    took = []
    for _ in range(TIMES):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return round(1000 * median(took), 1)


def costs(path: Path) -> dict[str, Any]:
    """What a table costs as it is now."""
    count = opened(path).count_rows()
    wanted = np.sort(CHANCE.choice(count, 100, replace=False)).tolist()
    one = rows(16, opened(path).schema.field("embedding").type.list_size)
    said = {
        "pieces": len(opened(path).get_fragments()),
        "rows": count,
        "manifest_bytes": Path(str(newest(path))).stat().st_size,
        "open_ms": milliseconds(lambda: opened(path)),
        "count_ms": milliseconds(lambda: opened(path).count_rows()),
        "take_100_ms": milliseconds(lambda: opened(path)._take_rows(wanted, ["digest", "embedding"])),
        "leftovers_ms": milliseconds(lambda: leftovers(path)),
    }
    commits = [append(opened(path), one, 16)[1] for _ in range(TIMES)]
    return {**said, "commit_ms": round(1000 * median(commits), 1), "load": round(os.getloadavg()[0], 1)}


def many_pieces(folder: Path, most: int) -> Iterator[dict[str, Any]]:
    """Tables of ever more pieces."""
    table, there = made(folder / "narrow.lance", 8), 0
    for number in [64 * 4**step for step in range(10) if 64 * 4**step <= most]:
        table = opened(folder / "narrow.lance")
        there = len(table.get_fragments())
        append(table, rows((number - there) * 64, 8), 64)
        yield costs(folder / "narrow.lance")


def as_before(table: lance.LanceDataset) -> None:
    if len(table.get_fragments()) > 64:
        table.optimize.compact_files(target_rows_per_fragment=4096, batch_size=256)


def as_now(table: lance.LanceDataset) -> None:
    """All that there is to merge, as a run does it in turn with its commits."""
    while tasks := pieces.merges(table, most_rows=pieces.MOST_ROWS):
        pieces.commit_merges(table, [pieces._merged(table, task) for task in tasks])


def memory(what: str) -> float:
    said = re.search(what + r":\s+(\d+)", Path("/proc/self/status").read_text())
    assert said
    return int(said[1]) / 1024


def grown(path: Path, count: int, how: str) -> dict[str, Any]:
    """What it costs to grow a table, in a process of its own."""
    table, new, each = made(path, 1024), rows(WINDOW * 4096, 1024), 4096
    before, commits, merging, merged, most = memory("VmRSS"), 0.0, 0.0, 0, 0
    started = time.perf_counter()
    for _ in range(count // len(new)):
        table, took = append(table, new, each)
        commits += took
        ids, began = {one.fragment_id for one in table.get_fragments()}, time.perf_counter()
        (as_before if how == "before" else as_now)(table)
        merging += time.perf_counter() - began
        now = table.get_fragments()
        merged += sum(one.metadata.physical_rows for one in now if one.fragment_id not in ids)
        most = max(most, len(now))
        table.cleanup_old_versions(retain_versions=1)
    return {
        "how": how,
        "most_pieces": most,
        "seconds": round(time.perf_counter() - started, 1),
        "commit_seconds": round(commits, 2),
        "merge_seconds": round(merging, 1),
        "merged_rows_per_row": round(merged / table.count_rows(), 2),
        "peak_mb": round(memory("VmHWM") - before),
        **costs(path),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--pieces", type=int, default=16_384)
    parser.add_argument("--folder", default=tempfile.gettempdir())
    parser.add_argument("--grow", help=argparse.SUPPRESS)  # for the processes of its own
    asked = parser.parse_args()
    if asked.grow:
        print(json.dumps(grown(Path(asked.folder) / "wide.lance", asked.rows, asked.grow)))
        raise SystemExit
    place = Path(tempfile.mkdtemp(dir=asked.folder))
    try:
        found = list(many_pieces(place, asked.pieces))
        shutil.rmtree(place)
        both = []
        for how in ("before", "now"):
            place.mkdir()
            command = [sys.executable, __file__, "--grow", how, "--rows", str(asked.rows), "--folder", str(place)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            both.append(json.loads(done.stdout))
            shutil.rmtree(place)
        print(json.dumps({**machine(), "pieces": found, "grown": both}))
    finally:
        shutil.rmtree(place, ignore_errors=True)
