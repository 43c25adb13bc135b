"""A broken zip or entry costs a line, bounded memory and little time."""

import os
import random
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import corpus
import pytest
from embedding import Run, again, listed, torture
from zipping import BLUE, ENCRYPTED, GREEN, LINK, RED, STREAMED, Item, body, end, line, of, zip_at, zipped

from petrieve.store.rows import Unreadable


def bomb() -> bytes:
    """Three entries, each with the next one's header and bytes inside its own."""
    data = bytes(1000)
    last = body(Item(b"3.png", data))
    second = body(Item(b"2.png", last, size=len(last)))
    first = body(Item(b"1.png", second))
    places = (0, first.index(second), first.index(last))
    items = (Item(b"1.png", second), Item(b"2.png", last), Item(b"3.png", data))
    lines = b"".join(line(item, place) for item, place in zip(items, places, strict=True))
    return first + lines + end(3, len(lines), len(first))


# A bad entry beside a whole photo, and the reason that is listed for it.
BAD = {
    "another CRC": (Item(b"1.png", RED, crc=7), "the CRC differs"),
    "another CRC, deflated": (Item(b"1.png", RED, method=8, crc=7), "the CRC differs"),
    "more than is said": (Item(b"1.png", RED, method=8, size=10), "unpacks to more than the 10 bytes"),
    "less than is said": (Item(b"1.png", RED, method=8, size=900), f"unpacks to {len(RED)} bytes instead of 900"),
    "two sizes": (Item(b"1.png", RED, size=10), "says that it takes"),
    "a bomb": (Item(b"1.png", bytes(1000), method=8, size=1 << 27), "unpacks to 128 MB, over 200 times"),
    "nowhere": (Item(b"1.png", RED, at=1 << 30), "beyond its end"),
    "not there": (Item(b"1.png", RED, at=3), "reaches into"),
    "another name": (Item(b"1.png", RED, own_name=b"2.png"), "another name"),
    "above": (Item(b"../1.png", RED), "leads out of the archive"),
    "far above": (Item(b"a/../../../etc/1.png", RED), "leads out of the archive"),
    "encrypted": (Item(b"1.png", RED, flags=ENCRYPTED), "is encrypted"),
    "deflate64": (Item(b"1.png", RED, method=9), "packed as deflate64"),
    "Zstandard": (Item(b"1.png", RED, method=93), "packed as Zstandard"),
    "a link": (Item(b"1.png", b"/etc/passwd", mode=LINK), "is a link"),
    "a device": (Item(b"1.png", b"", mode=0o020666), "is not a regular file"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_entry_is_a_line_and_the_next_is_a_photo(case: str, tmp_path: Path) -> None:
    item, said = BAD[case]
    tracemalloc.start()
    found = of(zipped([item, Item(b"good.png", BLUE)]), tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()
    assert found.pop("good.png") == BLUE
    ((name, reason),) = found.items()
    assert isinstance(reason, str)
    assert said in reason
    assert ".." not in name
    assert os.listdir(tmp_path) == ["a.zip"]


def test_entries_that_overlap_are_not_unpacked_twice(tmp_path: Path) -> None:
    found = of(bomb(), tmp_path)
    assert [one for one in found.values() if isinstance(one, bytes)] == [bytes(1000)]
    assert all("reaches into" in str(found[name]) for name in ("1.png", "2.png"))


@pytest.mark.parametrize("flags", [0, STREAMED])
@pytest.mark.parametrize("method", [0, 8])
def test_of_a_zip_that_is_cut_off_what_is_whole_is_read(flags: int, method: int, tmp_path: Path) -> None:
    items = [Item(f"{number}.png".encode(), RED, method, flags) for number in range(4)]
    whole = zipped(items)
    three = len(b"".join(map(body, items[:3])))
    found = of(whole[: three + 60], tmp_path)
    told = (flags, method) != (STREAMED, 0)  # where a stored one ends stands behind it
    assert [name for name, one in found.items() if one == RED] == (["0.png", "1.png", "2.png"] if told else [])
    assert "cut off" in str(found[""]) or "ends in" in str(found[""])


def test_a_zip_without_its_directory_gives_the_stamps_that_it_had(tmp_path: Path) -> None:
    items = [Item(b"1.png", RED, 8, STREAMED), Item(b"2.png", BLUE, 8), Item(b"3.png", GREEN, 0, zip64=True)]
    stamps = []
    for number, directory in enumerate((True, False)):
        (tmp_path / f"{number}.zip").write_bytes(zipped(items, directory=directory))
        parts = zip_at(tmp_path / f"{number}.zip").parts()
        stamps.append({photo.uri: photo.stamp for part in parts for photo in part.photos if photo.uri})
    assert stamps[0] == stamps[1]


def test_a_zip_that_changes_after_it_is_listed_is_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    file.write_bytes(zipped([Item(b"1.png", RED)]))
    (part,) = zip_at(file).parts()
    file.write_bytes(b"PK\3\4 half of another")
    (read,) = part.read({"1.png"})
    assert isinstance(read, Unreadable)
    assert read.may_pass
    assert "changed while it was read" in read.reason


NO_ZIPS = {
    "empty": (b"", "empty"),
    "a page": (b"<!DOCTYPE html><p>Log in", "HTML"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    "RAR": (b"Rar!\x1a\7\1\0", "RAR"),
    "zeros": (bytes(5000), "zeros"),
    "several": (zipped([Item(b"1.png", RED)])[:-22] + end(1, 51, 0, disk=3), "one of several files"),
}


@pytest.mark.parametrize("case", NO_ZIPS)
def test_what_is_no_zip_is_said_in_a_line(case: str, run: Run, tmp_path: Path) -> None:
    data, said = NO_ZIPS[case]
    (tmp_path / "pets.zip").write_bytes(data)
    done = run("embed", tmp_path / "pets.zip", "--store", tmp_path / "s", "--weights", "bundled")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert f"{tmp_path / 'pets.zip'}" in done.err
    assert said in done.err


WAYS = (corpus.cut, corpus.flipped, corpus.flipped, corpus.flipped, corpus.blotted, corpus.spliced, corpus.shuffled)


@pytest.mark.filterwarnings("ignore:.*twice")
@pytest.mark.parametrize("seconds", torture(4, 3600))
def test_a_damaged_zip_is_read_or_refused_line_by_line(seconds: int, tmp_path: Path) -> None:
    """No content is another than one that was packed, no name leads out, and nothing takes long or much."""
    chance, outcomes = random.Random(seconds), Counter[str]()
    pool = [b"", RED, BLUE, GREEN, bytes(3000), random.Random(1).randbytes(700)]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        items = [
            Item(
                chance.choice([b"a/1.png", b"b.jpg", b"c", "é.gif".encode("cp437"), b"../d.png"]),
                chance.choice(pool),
                chance.choice([0, 8]),
                chance.choice([0, STREAMED]),
            )
            for _ in range(chance.randint(1, 5))
        ]
        data = zipped(items, before=chance.choice([b"", b"MZ"]), zip64=chance.random() < 0.3, comment=b"PK")
        for _ in range(chance.randint(1, 3)):
            data = chance.choice(WAYS)(data, chance) if len(data) > 1 else data
        started = time.monotonic()
        for name, got in of(data, tmp_path).items():
            assert ".." not in name.split("/")
            assert isinstance(got, str) or got in pool
            outcomes["read" if isinstance(got, bytes) else got] += 1
        assert time.monotonic() - started < 5
    print(outcomes.total(), outcomes.most_common(12))
    assert outcomes["read"] > 10
    assert len(outcomes) > 5


def test_what_a_zip_held_before_it_was_cut_off_is_not_gone(run: Run, tmp_path: Path) -> None:
    file, store = tmp_path / "pets.zip", tmp_path / "s"
    whole = zipped([Item(f"{number}.png".encode(), one, 8) for number, one in enumerate((RED, BLUE, GREEN, RED))])
    file.write_bytes(whole)
    assert again(run, store, file) == {"found": 4, "embedded": 3, "copied": 1}
    file.write_bytes(whole[: whole.rindex(b"PK\3\4") + 50])  # in the last one
    assert again(run, store, file) == {"found": 5, "cached": 3, "unreadable": 2}
    reasons = listed(store)
    assert "reaches" in reasons.pop(f"{file}/3.png")
    assert "cut off" in reasons.pop(f"{file}/")
    file.write_bytes(whole)
    assert again(run, store, file) == {"found": 4, "cached": 3, "copied": 1}
    assert listed(store) == {}
