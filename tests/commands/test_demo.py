"""The first minutes: all of it on drawn pets, by one command."""

from collections.abc import Callable
from pathlib import Path

from conftest import Done


def test_the_demo_shows_what_it_runs_and_leaves_a_store_and_a_sheet(run: Callable[..., Done], tmp_path: Path) -> None:
    done = run("demo", tmp_path / "demo")
    assert done.status == 0, done.err
    shown = [line.split()[2] for line in done.out.splitlines() if line.startswith("$ ")]
    assert shown == ["sample", "embed", "fit-head", "sample", "predict", "similar"]
    assert (tmp_path / "demo" / "similar.jpg").stat().st_size > 10_000
    assert run("info", "--store", tmp_path / "demo" / "store", "--json").json["head"]["accuracy"] > 0.95
