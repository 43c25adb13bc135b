"""Runs that are stopped, run beside each other, and run again and again."""

import csv
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, Done, Process, bits, table
from embedding import NEW, again, listed, repaint, torture
from filelock import FileLock
from PIL import Image
from planting import of_trunk

from petrieve.extractor.embed import embed
from petrieve.gallery import progress
from petrieve.store import tables
from petrieve.store.cache import Cache
from petrieve.store.known import known

Run = Callable[..., Done]
Start = Callable[..., Process]


@pytest.mark.parametrize(
    ("asks", "status"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.torture), (signal.SIGTERM, 143)]
)
def test_a_run_that_is_asked_to_stop_commits_its_batch_and_sums_up(
    run: Run, start: Start, drawn: Path, made_store: Path, asks: signal.Signals, status: int
) -> None:
    stopped = start("embed", drawn, *NEW, "s")
    stopped.wait_for(Path("s/store.json").exists)
    stopped.send_signal(asks)
    done = stopped.done()
    embedded, left = done.json["embedded"], done.json["left"]
    assert (done.status, embedded + left) == (status, 40)
    assert f"stopped with {left} photos left; the next `embed` goes on from here" in done.err
    assert "Traceback" not in done.err
    assert 0 < len(table(Path("s"))) == embedded < 40
    assert run("embed", drawn, *NEW, "s").json["embedded"] == left
    assert bits(Path("s")) == bits(made_store)


@pytest.mark.parametrize("rounds", torture(1, 30))
def test_a_second_interrupt_ends_at_once_and_loses_nothing(
    run: Run, start: Start, drawn: Path, made_store: Path, rounds: int
) -> None:
    chance = random.Random(rounds)
    for _ in range(rounds):
        shutil.rmtree("s", ignore_errors=True)
        stopped = start("embed", drawn, *NEW, "s")
        stopped.wait_for(Path("s/store.json").exists)
        time.sleep(chance.uniform(0, 0.6))
        for _ in range(2):
            stopped.send_signal(signal.SIGINT)
            time.sleep(chance.uniform(0, 0.1))
        done = stopped.done()
        # 0: it was done before it heard. By the signal itself, 130 to a shell: it was ending already.
        assert done.status in (0, 130, -signal.SIGINT)
        assert "Traceback" not in done.err
        kept = table(Path("s"))
        done = run("embed", drawn, *NEW, "s")
        assert (done.json["embedded"], done.json["cached"]) == (40 - len(kept), len(kept))
        assert bits(Path("s")) == bits(made_store)


def test_from_python_an_interrupt_frees_the_store_and_keeps_what_it_has(run: Run, drawn: Path, tmp_path: Path) -> None:
    """As in a notebook, where the process goes on."""

    def interrupt(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(drawn, store=tmp_path / "s", weights="bundled", progress=interrupt)
    counts = again(run, tmp_path / "s", drawn)
    assert 0 < counts["cached"] == 40 - counts["embedded"]


def test_a_run_that_ended_between_the_two_tables_is_healed_by_the_next(run: Run, photos: Path, tmp_path: Path) -> None:
    """Embeddings as after the last commits, photos as before: those that the photos lack are there, and stay."""
    last = sorted(photos.rglob("*.png"))[:2]
    for path in last:
        path.rename(tmp_path / path.name)
    again(run, tmp_path / "s", photos)
    shutil.copytree(tmp_path / "s" / "photos.lance", tmp_path / "before")
    for path in last:
        (tmp_path / path.name).rename(path)
    again(run, tmp_path / "s", photos)
    wanted = bits(tmp_path / "s")
    shutil.rmtree(tmp_path / "s" / "photos.lance")
    (tmp_path / "before").rename(tmp_path / "s" / "photos.lance")
    assert len(bits(tmp_path / "s")) == 38
    assert again(run, tmp_path / "s", photos) == {"found": 40, "cached": 38, "copied": 2}
    assert bits(tmp_path / "s") == wanted


def test_a_photo_that_becomes_unreadable_and_one_that_is_mended_are_one_commit_each(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    mended, broken = sorted(photos.rglob("*.png"))[:2]
    good = mended.read_bytes()
    mended.write_bytes(b"nothing")
    again(run, tmp_path / "s", photos)
    assert (str(mended) in listed(tmp_path / "s"), str(mended) in bits(tmp_path / "s")) == (True, False)
    mended.write_bytes(good)
    broken.write_bytes(b"nothing more")
    again(run, tmp_path / "s", photos)
    assert (str(mended) in listed(tmp_path / "s"), str(mended) in bits(tmp_path / "s")) == (False, True)
    assert (str(broken) in listed(tmp_path / "s"), str(broken) in bits(tmp_path / "s")) == (True, False)


@pytest.mark.parametrize("left", ["", "data", "_transactions", "_versions"])
def test_a_first_run_killed_while_it_makes_the_store_is_gone_on_with(
    run: Run, photos: Path, tmp_path: Path, left: str
) -> None:
    (tmp_path / "s" / "photos.lance" / left).mkdir(parents=True)
    assert again(run, tmp_path / "s", photos) == {"found": 40, "embedded": 40}


@pytest.mark.parametrize("kills", torture(5, 200))
def test_a_file_whose_writer_is_killed_is_the_old_or_the_new_one(kills: int, tmp_path: Path) -> None:
    """Cards, heads, indexes and CSVs are all written by this one function."""
    chance = random.Random(kills)
    code = (
        "import pathlib, store.files as s\n"
        "for n in range(10**6): s.write_file(pathlib.Path('f'), bytes([n % 256]) * (n % 7 * 1_000_000 + 1))"
    )
    for _ in range(kills):
        writer = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)})
        while not Path("f").exists() and writer.poll() is None:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.3))
        writer.kill()
        assert writer.wait() == -signal.SIGKILL
        data = Path("f").read_bytes()
        assert len(data) % 1_000_000 == 1
        assert len(set(data)) == 1
        Path("f").unlink()


@pytest.mark.parametrize("kills", torture(2, 40))
def test_fit_head_and_similar_killed_leave_what_was_there(
    kills: int, run: Run, start: Start, store: Path, drawn: Path
) -> None:
    chance = random.Random(kills)
    photo = sorted((drawn / "cat").iterdir())[0]
    answers = [run(command, photo, "--store", store, "--json") for command in ("similar", "predict")]
    for number in range(kills):
        killed = start(*(("fit-head",) if number % 2 else ("similar", photo)), "--store", store)
        time.sleep(chance.uniform(0, 2.2))
        killed.kill_group()
        assert [run(command, photo, "--store", store, "--json") for command in ("similar", "predict")] == answers


def test_what_killed_writers_left_is_swept_up_an_hour_later(run: Run, store: Path, drawn: Path) -> None:
    old, new = (of_trunk(store).path / f".head.safetensors.{letter * 32}" for letter in "ab")
    for file in (old, new):
        file.write_bytes(b"half a hea")
    os.utime(old, (1, 1))
    again(run, store, drawn)
    assert (old.exists(), new.exists()) == (False, True)


def test_a_refused_run_names_the_process_that_holds_the_store_and_the_dead_hold_none(
    run: Run, start: Start, drawn: Path, tmp_path: Path
) -> None:
    holder = start("embed", drawn, *NEW, tmp_path / "s")
    holder.wait_for((tmp_path / "s" / "store.json").exists)
    holder.send_signal(signal.SIGSTOP)  # alive, and in no hurry
    done = run("embed", drawn, *NEW, tmp_path / "s")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert f"another run (process {holder.pid} on " in done.err
    assert "wait for it, or name another `--store`" in done.err
    holder.kill_group()
    assert again(run, tmp_path / "s", drawn)["found"] == 40


def test_a_dead_process_is_never_named_as_the_holder(run: Run, start: Start, drawn: Path, tmp_path: Path) -> None:
    """Killed while it wrote: its name stands in the lock until the next holder has written its own."""
    dead = start("embed", drawn, *NEW, tmp_path / "s")
    dead.wait_for((tmp_path / "s" / "store.json").exists)
    dead.kill_group()
    assert (tmp_path / "s" / ".lock").read_text().startswith(f"{dead.pid} ")
    with FileLock(tmp_path / "s" / ".lock"):
        done = run("embed", drawn, "--store", tmp_path / "s")
    assert (done.status, "error: another run is writing" in done.err) == (1, True)


@pytest.mark.parametrize("rounds", torture(2, 50))
def test_two_runs_at_once_lose_nothing_and_readers_see_whole_states(
    rounds: int, run: Run, start: Start, drawn: Path, made_store: Path, tmp_path: Path
) -> None:
    """Into a store that is not there yet; on the same folder and on different ones, in turn."""
    chance = random.Random(rounds)
    refused = answers = 0
    for number in range(rounds):
        store = tmp_path / f"s{number}"
        first, second = (drawn, drawn) if number % 2 == 0 else (drawn / "cat", drawn / "dog")
        writers = {start("embed", first, *NEW, store): first}
        time.sleep(chance.uniform(0, 1))
        writers[start("embed", second, *NEW, store)] = second
        while writers:
            answers += read(run, store, drawn, chance)
            for writer in [one for one in writers if one.poll() is not None]:
                folder, done = writers.pop(writer), writer.done()
                if done.status:  # it waits, as its line says, and comes again
                    assert (done.out, "is writing to the store" in done.err) == ("", True), done.err
                    refused += 1
                    for other in writers:
                        other.wait()
                    writers[start("embed", folder, *NEW, store)] = folder
        assert bits(store) == bits(made_store)
        assert sorted(row for row, *_ in table(store).values()) == list(range(40)), "no photo was embedded twice"
        shutil.rmtree(store)
    print(f"{rounds} rounds: {refused} runs refused, {answers} answers read meanwhile")


def read(run: Run, store: Path, photos: Path, chance: random.Random) -> bool:
    """Whether a reader had an answer, from a whole state; else it said in a line what is not there yet."""
    photo = sorted((photos / "cat").iterdir())[0]
    words = chance.choice([("info",), ("fit-head",), ("predict", photo), ("similar", photo)])
    done = run(*words, "--store", store, "--json")
    if done.status:
        assert re.fullmatch(r"error: (there (are|is) no|no photo in|only one class).*\n", done.err), done.err
    elif words == ("info",):
        assert done.json["photos"] in (0, 8, 16, 20, 24, 28, 32, 36, 40), "batches of 8, or what is left of a folder"
    return done.status == 0


@pytest.mark.parametrize("runs", torture(8, 200))
def test_many_small_runs_leave_a_store_like_that_of_one(
    runs: int, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each finds a new photo, a new bad one and a mended one; more than an hour lies between them."""
    monkeypatch.setattr(tables, "KEPT_SECONDS", 0)
    folder, store = tmp_path / "growing", tmp_path / "s"
    folder.mkdir()
    repaint(folder / "first.png", "white")
    sizes, times = [], []
    for number in range(runs):
        Image.new("RGB", (40, 40), (number, 7, 99)).save(folder / f"{number}.png")
        (folder / f"bad{number}.png").write_bytes(b"nothing")
        if number:
            Image.new("RGB", (40, 40), (99, number, 7)).save(folder / f"bad{number - 1}.png")
        embed(folder, store=store, weights="bundled")
        files = [file.stat().st_size for file in store.rglob("*") if file.is_file()]
        sizes.append((len(files), sum(files)))
        started = time.perf_counter()
        known(Cache.open(store))
        times.append(time.perf_counter() - started)
    assert len(table(store)) == 2 * runs
    assert len(listed(store)) == 1
    embed(folder, store=tmp_path / "one", weights="bundled")
    assert bits(store) == bits(tmp_path / "one")
    assert max(count for count, _ in sizes) < 250
    assert sizes[-1][1] < 2 * runs * 2048 * 2 + 300_000
    print(f"files {sizes[0][0]} at first, {max(sizes)[0]} at most, {sizes[-1][0]} at last;", end=" ")
    print(f"bytes {sizes[-1][1]} at last, embeddings alone {2 * runs * 2048};", end=" ")
    print(f"opened in {1e3 * min(times[:5]):.1f} ms at first, {1e3 * min(times[-5:]):.1f} ms at last")


def test_a_reader_keeps_what_it_sees_though_its_version_is_old(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that has rested for longer than versions are kept is opened, and then written to."""
    monkeypatch.setattr(tables, "KEPT_SECONDS", 3)
    again(run, tmp_path / "s", photos)
    time.sleep(3.1)
    reader = Cache.open(tmp_path / "s")
    for photo in photos.rglob("*.*"):
        Image.new("RGB", (50, 50), "teal").save(photo)
    again(run, tmp_path / "s", photos)
    assert sum(len(vectors) for _, vectors in reader.embeddings()) == 40
    monkeypatch.setattr(tables, "KEPT_SECONDS", 0)
    again(run, tmp_path / "s", photos)
    for one in (of_trunk(tmp_path / "s").vectors, tmp_path / "s" / "photos.lance"):
        assert len(tables.opened(one).versions()) == 1, "and in the end it is let go"


def test_unreadable_photos_are_tried_again_when_asked_or_changed(run: Run, photos: Path, tmp_path: Path) -> None:
    photo = sorted(photos.rglob("*.png"))[0]
    good, status = photo.read_bytes(), photo.stat()
    photo.write_bytes(bytes(len(good)))
    again(run, tmp_path / "s", photos)
    photo.write_bytes(good)
    os.utime(photo, ns=(status.st_atime_ns, status.st_mtime_ns))
    bad = Cache.open(tmp_path / "s").unreadable()[str(photo)].photo.modified
    os.utime(photo, ns=(bad * 1000, bad * 1000))  # mended, and from outside just as it was
    assert again(run, tmp_path / "s", photos) == {"found": 40, "cached": 39, "unreadable": 1}
    assert again(run, tmp_path / "s", photos, "--retry") == {"found": 40, "embedded": 1, "cached": 39}
    assert listed(tmp_path / "s") == {}
    assert again(run, tmp_path / "s", photos, "--retry") == {"found": 40, "cached": 40}


def test_the_unreadable_are_listed_all_and_as_csv(run: Run, photos: Path, tmp_path: Path) -> None:
    names = [photos / "cat" / f'bad {number}, "so".jpg' for number in range(45)]
    for name in names:
        name.write_bytes(b"nothing")
        os.utime(name, (0, 0))
    again(run, tmp_path / "s", photos)
    done = run("info", "--unreadable", "--store", tmp_path / "s", "--csv", "bad.csv")
    assert (done.status, len(done.out.splitlines())) == (0, 46)
    assert "photos" not in done.out.splitlines()[0]
    with open("bad.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {tmp_path / row["photo"] for row in rows} == set(names)
    assert {(row["size"], row["modified"]) for row in rows} == {("7", "1970-01-01T00:00:00+00:00")}
    assert {row["reason"] for row in rows} == set(listed(tmp_path / "s").values())
    document = run("info", "--unreadable", "--store", tmp_path / "s", "--json").json
    assert document == run("info", "--store", tmp_path / "s", "--json").json
    done = run("info", "--store", tmp_path / "s", "--csv", tmp_path / "nowhere" / "bad.csv")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)


def test_where_there_is_no_terminal_a_line_now_and_then_says_how_far_a_run_is(
    run: Run, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run("embed", few, "--store", tmp_path / "short", "--weights", "bundled")
    assert (done.status, done.err) == (0, "")  # it was through within half a minute
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    lines = run("embed", few, "--store", tmp_path / "s", "--weights", "bundled").err.splitlines()
    assert lines.pop(0) == "6 photos found so far"
    assert all(re.fullmatch(r"\d+ of 6 photos, \d+\.\d photos/s, \d+\.\d MB/s", line) for line in lines), lines
    assert lines[-1].startswith("6 of 6")
    assert run("embed", few, "--store", tmp_path / "j", "--weights", "bundled", "--json").err == ""
