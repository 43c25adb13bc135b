"""What the list of a run's photos takes in memory: made-up photos of a folder, listed and held against an empty store.

python benchmarks/listed.py --photos 10000000
"""

import argparse
import json
import os
import re
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from petrieve.extractor.find import Found
from petrieve.extractor.manifest import Listed, Manifest
from petrieve.extractor.plan import plan
from petrieve.extractor.sources.folder import Files
from petrieve.store.known import nothing
from petrieve.store.photo import Photo

PART = 256  # photos


def resident_mb(what: str) -> int:
    found = re.search(rf"{what}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) >> 10


def part(first: int) -> Files:
    every = range(first, first + PART)
    return Files(tuple(Photo("/pets", f"{one // 1000:07}/{one:010}.jpg", one % 99_991, one * 977) for one in every))


def listed(count: int) -> dict[str, float]:
    before, started = resident_mb("VmRSS"), time.process_time()
    with closing(Manifest()) as manifest:
        for first in range(0, count, PART):
            manifest.add(part(first))
        manifest.write()
        after, seconds = resident_mb("VmRSS"), time.process_time() - started
        found, number = [Found("/pets", Listed(manifest, 0, len(manifest)), Counter())], len(manifest)
        made = plan(manifest, found, ["/pets"], nothing(), views=0, retry=False, keep_damaged=False)
        assert made.todo == number >= count
        return {
            "photos": number,
            "bytes_a_photo_listed": round((after - before) * 2**20 / number, 1),
            "bytes_a_photo_planned": round((resident_mb("VmRSS") - before) * 2**20 / number, 1),
            "peak_mb": resident_mb("VmHWM"),
            "mb_before": before,
            "cpu_microseconds_a_photo_listed": round(seconds * 1e6 / number, 2),
            "cpu_microseconds_a_photo_planned": round((time.process_time() - started - seconds) * 1e6 / number, 2),
            "load": os.getloadavg()[0],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=10_000_000)
    count = parser.parse_args().photos
    listed(PART)  # what is imported and allocated once is none of theirs
    print(json.dumps(listed(count)))


if __name__ == "__main__":
    main()
