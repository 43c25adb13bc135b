"""What `cli.py doctor` measures and says."""

from collections.abc import Callable
from pathlib import Path

from conftest import Done

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
