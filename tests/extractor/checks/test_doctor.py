"""What `doctor` measures and prints."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Done

import petrieve
from petrieve.extractor.trunks.weights import BUNDLED

Run = Callable[..., Done]
STAGES = ["read", "decode", "resize", "trunk", "commit"]


def test_every_stage_has_a_rate_and_the_slowest_is_named(run: Run, drawn: Path) -> None:
    found = run("doctor", drawn, "--weights", "bundled", "--device", "cpu", "--json").json
    assert list(found["stages"]) == STAGES
    assert found["slowest"] == min(found["stages"], key=found["stages"].get)
    assert 0 < found["expected"] <= min(found["stages"].values())
    assert (found["device"], found["weights"], found["unreadable"]) == ("cpu", "bundled", 0)
    assert not Path(".petrieve").exists(), "nothing is kept"


def test_people_get_a_table_and_what_would_help(run: Run, drawn: Path, store: Path) -> None:
    done = run("doctor", drawn, "--store", store)  # with the weights of the store
    assert done.status == 0
    assert all(stage in done.out for stage in STAGES)
    assert "bundled weights" in done.out
    assert "what would help:" in done.out


def test_photos_that_cannot_be_read_are_counted_and_nothing_else_is_an_error(
    run: Run, drawn: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"nothing")
    good = sorted((drawn / "cat").iterdir())[0]
    assert run("doctor", bad, good, "--weights", "bundled", "--json").json["unreadable"] == 1
    done = run("doctor", bad, "--weights", "bundled")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert "none of 1 photos can be read" in done.err


def doctor(
    store: object, *, status: int, before: tuple[str, ...] = (), **environment: str
) -> dict[str, dict[str, Any]]:
    """What an own process finds, by what it is, in its first words."""
    command = [*before, sys.executable, str(ROOT / "cli.py"), "doctor", "--store", str(store), "--json"]
    here = {**os.environ, **environment}
    done = subprocess.run(command, env=here, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return {one["what"]: one for one in json.loads(done.stdout)["troubles"]}


def test_a_sound_installation_is_status_0_and_says_what_is_installed(run: Run, store: Path) -> None:
    done = run("doctor", "--store", store)
    assert done.status == 0
    folder, version, *_ = done.out.splitlines()
    assert folder == f"petrieve is imported from {Path(petrieve.__file__).parent}"
    assert version.startswith(f"petrieve {petrieve.__version__}, Python ")
    assert "nothing is wrong with this installation" in done.out
    assert "photos/s" not in done.out


def test_weights_that_are_not_there_are_named(
    run: Run, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    (new,) = [one for one in petrieve.open("new").doctor().troubles if "ImageNet" in one.what]
    assert (new.wrong, "--weights imagenet" in new.remedy, str(tmp_path / "empty") in new.remedy) == (False, True, True)
    weights = Path(shutil.copy(BUNDLED, tmp_path / "own.safetensors"))
    assert run("embed", *sorted((drawn / "cat").iterdir())[:2], "--store", "own", "--weights", weights).status == 0
    assert not any(one.wrong for one in petrieve.open("own").doctor().troubles)
    weights.unlink()
    done = run("doctor", "--store", "own")
    assert (done.status, f"are not at {weights}" in done.out) == (1, True)


def test_a_full_disk_is_named_with_how_much_is_left(disk: Path) -> None:
    found = doctor(disk / "store", status=1, TMPDIR="/var/tmp")
    (full,) = [one for what, one in found.items() if f"on the disk of {disk}" in what]
    assert "make room" in full["remedy"]


@pytest.mark.skipif(not shutil.which("strace"), reason="strace makes a disk slow")
def test_a_slow_disk_is_noted(tmp_path: Path) -> None:
    slow = (
        "strace",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-e",
        "trace=fsync",
        "-e",
        "inject=fsync:delay_enter=150000",
        "-o",
        "/dev/null",
    )
    found = doctor(tmp_path / "store", status=0, before=slow)
    assert any("ms to keep 4 kB" in what for what in found)


def test_a_second_kind_of_openmp_is_wrong(tmp_path: Path) -> None:
    import torch

    (gnu,) = Path(torch.__file__).parent.glob("lib/libgomp*")
    other = shutil.copy(gnu, tmp_path / "libiomp5.so")  # by its name Intel's
    found = doctor(tmp_path / "store", status=1, LD_PRELOAD=str(other))
    assert any("two kinds of OpenMP" in what and "libiomp5.so" in what for what in found)
