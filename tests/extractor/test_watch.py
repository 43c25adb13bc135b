"""`similar --watch`: one answer for each photo that appears in a folder, however it gets there."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Done, Process

from petrieve.extractor import watch as watching
from petrieve.extractor.trunks.choice import Compute
from petrieve.extractor.watch import watch
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError
from petrieve.store.rows import Unreadable

Run = Callable[..., Done]


def test_photos_that_appear_in_a_watched_folder_are_answered_once_whole(
    start: Callable[..., Process], store: Path, drawn: Path, tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    cat, dog = sorted((drawn / "cat").iterdir())[0], sorted((drawn / "dog").iterdir())[0]
    shutil.copy(cat, inbox / "before.jpg")
    process = start("similar", "--watch", inbox, "--store", store, "-k", 3)
    assert process.stderr is not None
    assert process.stdout is not None
    assert "watching" in process.stderr.readline()
    data = dog.read_bytes()
    with (inbox / "slow.jpg").open("wb") as file:
        for start_ in range(0, len(data), len(data) // 8):
            file.write(data[start_ : start_ + len(data) // 8])
            file.flush()
            time.sleep(0.1)
    answer = json.loads(process.stdout.readline())
    assert Path(answer["photo"]).name == "slow.jpg"
    assert len(answer["neighbours"]) == 3
    assert dog.name not in [Path(one["photo"]).name for one in answer["neighbours"]]
    (inbox / "bad.jpg").write_bytes(b"no photo")
    answer = json.loads(process.stdout.readline())
    assert (Path(answer["photo"]).name, answer["error"]) == ("bad.jpg", "not a photo")
    process.send_signal(signal.SIGINT)
    done = process.done()
    assert (done.status, done.out, "Traceback" in done.err) == (130, "", False), done.err


def test_watching_needs_a_folder_and_no_photo(run: Run, store: Path, drawn: Path, tmp_path: Path) -> None:
    photo = sorted((drawn / "cat").iterdir())[0]
    assert run("similar", photo, "--watch", tmp_path, "--store", store).status == 2
    assert run("similar", "--store", store).status == 2
    for where, said in ((tmp_path / "nowhere", "check the path"), (photo, "is not a folder")):
        done = run("similar", "--watch", where, "--store", store)
        assert (done.status, done.out, said in done.err) == (1, "", True)


def test_a_slip_in_the_question_is_told_before_the_first_photo_comes(run: Run, store: Path, tmp_path: Path) -> None:
    done = run("similar", "--watch", tmp_path, "--store", store, "--where", "lable = 'dog'")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert "lable, which is not a column" in done.err


def test_photos_are_answered_once_however_they_come(
    store: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half written for a while, under odd names, in folders, renamed and replaced; beside what comes and goes."""
    monkeypatch.setattr(watching, "PATIENCE", 3.0)
    inbox, away = tmp_path / "inbox", tmp_path / "away.jpg"
    (inbox / "below").mkdir(parents=True)
    one, *others = sorted(drawn.rglob("*.jpg"))[:5]
    results = watch(inbox, Cache.open(store), Compute(device="cpu"))

    def arrive() -> None:
        for name, photo in zip((b"new\nline.jpg", b"caf\xe9.jpg", b"below/a.jpg"), others, strict=False):
            shutil.copy(photo, os.path.join(os.fsencode(inbox), name))
        half = one.read_bytes()[:3000]
        for turn in range(120):
            if turn == 100:
                for name in ("slow.jpg", "broken.jpg", "gone.jpg"):
                    (inbox / name).write_bytes(half)
            shutil.copytree(inbox / "below", inbox / f"passing{turn}")
            shutil.rmtree(inbox / f"passing{turn}")
            time.sleep(0.01)
        (inbox / "gone.jpg").unlink()
        shutil.copy(one, inbox / "slow.jpg")
        shutil.copy(others[3], away)
        away.rename(inbox / "renamed.jpg")

    arriving = threading.Thread(target=arrive)
    arriving.start()
    found = [next(results) for _ in range(6)]
    arriving.join()
    named = [os.fsencode(os.path.relpath(result.photo.path, inbox)) for result in found]
    assert sorted(named[:5]) == [b"below/a.jpg", b"caf\xe9.jpg", b"new\nline.jpg", b"renamed.jpg", b"slow.jpg"]
    assert (named[5], [isinstance(result, Unreadable) for result in found]) == (b"broken.jpg", [False] * 5 + [True])
    shutil.copy(others[0], away)
    away.rename(inbox / "renamed.jpg")
    assert next(results).photo.path.endswith("renamed.jpg")
    shutil.rmtree(inbox)
    with pytest.raises(PetrieveError, match="no longer the folder"):
        next(results)


def test_a_disk_that_is_taken_away_ends_the_watch(store: Path, disk: Path) -> None:
    results = watch(disk, Cache.open(store), Compute())
    subprocess.run(["umount", "-l", disk], check=True)
    with pytest.raises(PetrieveError, match="no longer the folder"):
        next(results)
