"""What the driver of a run on a cluster does beside workers that make up their results: one run, for `cluster.py`.

    python benchmarks/made_up_workers.py --workers 8 --photos 200000 [--milliseconds 10] [--write]

The trunk sleeps for so many milliseconds a batch of 256. A worker makes the rows of the table of photos from what it is
given, and the embeddings' pieces: written (`--write`), or only named, as two cores write for few. All else is a run's
own: units are cut and sent, results are waited for and committed. One JSON line goes to stdout.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from machine import named, resident

from petrieve.extractor.engines.clock import Clock
from petrieve.extractor.engines.cluster import joined
from petrieve.extractor.engines.units import Piece, Unit
from petrieve.extractor.engines.worker import Done, Facts, Job, versions
from petrieve.extractor.sources.buckets.bucket import Objects
from petrieve.store.cache import Cache
from petrieve.store.folder import Made, Store
from petrieve.store.forgotten import Lost
from petrieve.store.known import nothing
from petrieve.store.photo import Photo
from petrieve.store.written import Written, together

BATCH, DIMENSION = 256, 1024
LOOKS = 20  # at memory


class MadeUp:
    """A worker whose trunk sleeps."""

    seconds = 0.01  # a batch
    write = False

    def __init__(self, job: Job, *_: object) -> None:
        self._job, self._gpu = job, threading.Lock()

    def facts(self) -> Facts:
        import ray

        return Facts(ray.get_runtime_context().get_node_id(), "here", "a made-up GPU", "float32", versions(), ())

    def load(self, _precision: str) -> None:
        """Write one embedding, of whose piece the others are copies in name."""
        self._piece = json.loads(self._written(os.urandom(16))[0])

    def embed(self, unit: Unit) -> Done:
        started = time.perf_counter()
        with self._gpu:
            time.sleep(len(unit) / BATCH * self.seconds)
        digests = os.urandom(16 * len(unit))
        pieces = self._written(digests) if self.write else self._named(len(unit))
        written = written_of(unit, pieces, digests, self._job)
        return Done(written, f"node-{os.getpid()}", "float32", time.perf_counter() - started, {"embed": 1.0})

    def _named(self, count: int) -> list[str]:
        file = {**self._piece["files"][0], "path": f"{uuid4().hex}.lance"}
        return [json.dumps({**self._piece, "files": [file], "physical_rows": count})]

    def _written(self, digests: bytes) -> list[str]:
        import lance
        import pyarrow as pa

        from petrieve.store.rows import CHECKSUM, vector_schema

        count, schema = len(digests) // 16, vector_schema(DIMENSION)
        numbers = pa.Array.from_buffers(pa.float16(), count * DIMENSION, [None, pa.py_buffer(bytes(2048 * count))])
        columns = [
            fixed(16, digests),
            pa.array([0] * count, pa.int32()),
            pa.FixedSizeListArray.from_arrays(numbers, DIMENSION),
            fixed(CHECKSUM, bytes(CHECKSUM * count)),
        ]
        path = str(Store.at(self._job.store).folder(self._job.made).vectors)
        made = lance.fragment.write_fragments(pa.table(columns, schema=schema), path, mode="append")
        return [json.dumps(piece.to_json()) for piece in made]


def fixed(size: int, data: bytes) -> Any:
    import pyarrow as pa

    return pa.Array.from_buffers(pa.binary(size), len(data) // size, [None, pa.py_buffer(data)])


def written_of(unit: Unit, pieces: list[str], digests: bytes, job: Job) -> Written:
    """The results of a unit, whose photos' rows have made-up digests and checksums."""
    import pyarrow as pa

    from petrieve.store.rows import CHECKSUM

    photos, count = unit.photos, len(unit)
    given = {name: [getattr(photo, name) for photo in photos] for name in ("root", "uri", "size", "version", "label")}
    columns = {
        **given,
        "modified": pa.array([photo.modified for photo in photos]).cast(pa.timestamp("us", "UTC")),
        "digest": fixed(16, digests),
        "checksum": fixed(CHECKSUM, os.urandom(CHECKSUM * count)),
        **dict.fromkeys(("width", "height"), [224] * count),
        **dict.fromkeys(("label_by_hand", "split_by_hand"), [False] * count),
    }
    arrays = [
        pa.array(columns[one.name], one.type) if one.name in columns else pa.nulls(count, one.type)
        for one in job.schema
    ]
    rows = pa.table(arrays, schema=job.schema)
    return Written(tuple(pieces), rows, (), Counter({(0, "embedded"): count}), count, sum(given["size"]))


def pieces_of(count: int) -> Iterator[Piece]:
    """Photos as a bucket lists them, in parts as it has them."""
    for start in range(0, count, BATCH):
        photos = [
            Photo(
                "s3://made-up/pets",
                f"shard-{number // 1000:06d}/image-{number:09d}.jpg",
                23_000,
                1_700_000_000_000_000 + number,
                "cat",
                version=f"{number:032x}",
            )
            for number in range(start, min(start + BATCH, count))
        ]
        yield Objects(tuple(photos)), photos


def clock_stages(clock: Clock, began: list[float]) -> None:
    """Have made-up workers, given work when the run has begun, and the clock told what the driver's stages take."""
    import ray
    import ray.actor

    from petrieve.extractor.engines import crew
    from petrieve.extractor.engines import ray as engine
    from petrieve.store import cache

    crew.Worker = MadeUp  # type: ignore[misc, assignment]
    cut, following = engine.cut, engine.Work.next
    engine.Work.next = lambda work, *words: following(work, *words) if began else None  # type: ignore[method-assign]
    engine.cut = lambda *words: clock.each("cut", cut(*words))
    ray.actor.ActorMethod._remote = clock.timed("give", ray.actor.ActorMethod._remote)
    crew.Crew._answer = clock.timed("take", crew.Crew._answer)  # type: ignore[method-assign]
    cache.append_pieces = clock.timed("embeddings", cache.append_pieces)
    Cache.commit_written = clock.timed("commit", Cache.commit_written)  # type: ignore[method-assign]
    ray.wait = clock.timed("wait", ray.wait)


def drive(folder: Path, workers: int, photos: int) -> dict[str, Any]:
    """Run so many photos through so many workers; what the driver did, from when all of these were ready."""
    from petrieve.extractor.engines import ray as engine

    clock, known = Clock(), nothing()
    cache = Cache.create(Store.at(folder), Made("densenet121", "madeup00", "bundled"), dimension=DIMENSION)
    job = Job(str(folder), (), {}, cache.made, cache.photo_schema, "cuda", keep_damaged=False)
    counts, looks = Counter[str](), list[dict[str, int]]()
    began: list[float] = []

    def tell(words: str) -> None:
        began[:] = [time.perf_counter(), time.process_time(), time.thread_time()]
        clock.seconds.clear()
        print(words, file=sys.stderr)

    with joined("ray"):
        clock_stages(clock, began)
        windows = engine.results(
            clock.each("list", pieces_of(photos)),
            known.among,
            photos,
            job=job,
            weights={},
            there=known.embeddings,
            lost=Lost(),
            precision="float32",
            workers=workers,
            merges=list,
            tell=tell,
        )
        for window in windows:
            if window.done:
                with clock.during("together"):
                    written = together([one.written for one in window.done])
                cache.commit_written(written, known)
                counts.update(photos=len(written.rows), units=len(window.done), commits=1)
            if counts["photos"] * LOOKS >= photos * len(looks):
                looks.append({"photos": counts["photos"], **memory()})
        ended = [time.perf_counter(), time.process_time(), time.thread_time()]
        looks.append({"photos": counts["photos"], **memory()})
    assert cache._photos.count_rows() == cache._vectors.count_rows() == photos, "all are committed, and once"
    wall, processor, thread = (end - start for start, end in zip(began, ended, strict=True))
    each = {name: round(seconds / photos * 1e6, 3) for name, seconds in clock.seconds.items()}
    each["cut"] -= each["list"]
    each["photos"] = round(each.pop("commit") - each["embeddings"], 3)
    return {
        "workers": workers,
        **counts,
        "seconds": round(wall, 2),
        "photos_per_second": round(photos / wall),
        "units_per_second": round(counts["units"] / wall, 2),
        "commits_per_second": round(counts["commits"] / wall, 2),
        "driver_microseconds_a_photo": {
            "processor": round(processor / photos * 1e6, 2),
            "thread": round(thread / photos * 1e6, 2),
            **each,
        },
        "memory": looks,
    }


def memory() -> dict[str, int]:
    """Megabytes that the driver has, its largest worker, and Ray's store of objects."""
    import ray
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    workers = [resident(pid) for pid in named("ray::", os.getppid())]
    held = get_memory_info_reply(get_state_from_address(ray.get_runtime_context().gcs_address)).store_stats
    return {
        "driver": resident(os.getpid()) >> 20,
        "worker": max(workers, default=0) >> 20,
        "objects": held.object_store_bytes_used >> 20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--photos", type=int, required=True)
    parser.add_argument("--milliseconds", type=float, default=10.0)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    MadeUp.seconds, MadeUp.write = given.milliseconds / 1000, given.write
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(drive(Path(folder, "store"), given.workers, given.photos)))


if __name__ == "__main__":
    main()
