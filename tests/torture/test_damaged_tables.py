"""Five minutes of damaged Parquet files: each photo is read or has a reason, and no crash."""

import random
import time
from collections import Counter
from pathlib import Path

import pytest
from corpus import flipped
from sources import IMAGE, PET, written

from petrieve.extractor.sources.places import source_at
from petrieve.store.rows import Unreadable

pytestmark = pytest.mark.torture

SECONDS = 300
ROWS = 40
HOW = (
    {"compression": "none", "row_group_size": 7},
    {"compression": "snappy", "use_dictionary": False, "write_page_checksum": True},
    {"compression": "zstd", "row_group_size": 7, "data_page_version": "2.0"},
    {"compression": "gzip", "data_page_size": 300, "write_batch_size": 3},
)


def whole(folder: Path) -> list[bytes]:
    """Small Parquet files, as several writers make them."""
    photos = [{"bytes": b"\xff\xd8\xff" + bytes([one]) * (50 + one), "path": f"{one}.jpg"} for one in range(ROWS)]
    columns = {"image": photos, "label": [one % 2 for one in range(ROWS)], "words": ["a", "b"] * (ROWS // 2)}
    features = {"image": IMAGE, "label": PET}
    return [
        written(folder / "p.parquet", columns, said, **how).read_bytes() for how in HOW for said in (features, None)
    ]


@pytest.mark.filterwarnings("ignore")
def test_five_minutes_of_damaged_tables(tmp_path: Path) -> None:
    files, chance, end = whole(tmp_path), random.Random(0), time.monotonic() + SECONDS
    file, outcomes = tmp_path / "p.parquet", Counter[str]()
    while time.monotonic() < end:
        # What is lied about stands at the end.
        file.write_bytes(b"PAR1" + flipped(chance.choice(files)[::-1], chance)[::-1][4:])
        source = source_at(str(file))
        for part in list(source.parts()):
            found = list(part.read({photo.uri for photo in part.photos}))
            assert len(found) == len(part.photos)
            outcomes["bad"] += sum(isinstance(one, Unreadable) for one in found)
            outcomes["read"] += sum(not isinstance(one, Unreadable) for one in found)
        source.annotations([])
    print(outcomes)
    assert min(outcomes["bad"], outcomes["read"]) > 0
