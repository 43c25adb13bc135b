"""Disks that are full, read-only or gone: small file systems in memory, mounted by the tests themselves."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Done, bits, fill
from embedding import again, repaint
from planting import of_trunk

from petrieve.extractor.embed import embed
from petrieve.index import plane
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError

Run = Callable[..., Done]


def make_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)


@pytest.mark.parametrize(
    "leave", [0, 24_576, *(pytest.param(4096 * pages, marks=pytest.mark.torture) for pages in range(1, 61))]
)
def test_a_disk_that_fills_up_costs_the_batch_under_way(
    run: Run, drawn: Path, made_store: Path, disk: Path, leave: int
) -> None:
    ballast = fill(disk, leave=leave)
    words = ("embed", drawn, "--store", disk / "s", "--weights", "bundled")
    done = run(*words)
    if done.status:
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
        assert f"cannot write to the store {disk / 's'}" in done.err
        assert "No space left on device" in done.err
    else:
        assert leave > 120_000
    kept = bits(disk / "s") if (disk / "s" / "store.json").exists() else {}
    assert kept.items() <= bits(made_store).items()
    print(f"{leave} bytes of room: {'full, ' if done.status else ''}{len(kept)} photos kept")
    ballast.unlink()
    done = run(*words, "--json")
    assert (done.status, done.json["cached"]) == (0, len(kept))
    assert bits(disk / "s") == bits(made_store)


def test_on_a_full_disk_a_new_head_is_an_error_and_the_old_one_stays(
    run: Run, drawn: Path, store: Path, disk: Path
) -> None:
    full = Path(shutil.copytree(store, disk / "s"))
    fill(disk, leave=0)
    before = (of_trunk(full).head).read_bytes()
    done = run("fit-head", "--store", full)
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert f"{of_trunk(full).head}: No space left on device" in done.err
    assert (of_trunk(full).head).read_bytes() == before
    photo = sorted((drawn / "cat").iterdir())[0]
    assert run("predict", photo, "--store", full).status == 0


def test_a_read_only_store_is_read_and_says_so_when_written_to(run: Run, drawn: Path, store: Path, disk: Path) -> None:
    fixed = Path(shutil.copytree(store, disk / "s"))
    photo = sorted((drawn / "cat").iterdir())[0]
    assert run("build-map", "--store", fixed).status == 0
    make_read_only(disk)
    for words in (("info",), ("predict", photo), ("similar", photo), ("build-map",)):
        assert run(*words, "--store", fixed).status == 0, words
    assert plane.load(Cache.open(fixed)) is not None
    for words in (("embed", drawn), ("fit-head",)):
        done = run(*words, "--store", fixed)
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1), words
        assert str(fixed) in done.err
        assert "Read-only file system" in done.err


def test_a_store_that_is_moved_away_under_a_run_is_not_begun_anew(
    run: Run, drawn: Path, made_store: Path, tmp_path: Path
) -> None:
    here, away = tmp_path / "s", tmp_path / "away"
    with pytest.raises(PetrieveError, match="is gone; bring it back"):
        embed(drawn, store=here, weights="bundled", progress=lambda *_: here.rename(away) and None)
    assert not here.exists()
    away.rename(here)
    counts = again(run, here, drawn)
    assert 0 < counts["cached"] == 40 - counts["embedded"]
    assert bits(here) == bits(made_store)


def test_a_disk_that_goes_under_a_run_leaves_its_mount_point_empty(run: Run, drawn: Path, disk: Path) -> None:
    with pytest.raises(PetrieveError, match="is gone; bring it back"):
        embed(
            drawn,
            store=disk / "s",
            weights="bundled",
            progress=lambda *_: subprocess.run(["umount", "-l", disk]) and None,
        )
    assert list(disk.iterdir()) == []


def test_a_store_where_a_file_is_says_so(run: Run, drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "s").write_text("a file")
    done = run("embed", drawn, "--store", tmp_path / "s", "--weights", "bundled")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert f"cannot write to the store {tmp_path / 's'}" in done.err


def test_settling_a_store_that_is_gone_says_so(run: Run, photos: Path, tmp_path: Path) -> None:
    """Nothing new to embed, and rows to drop."""
    again(run, tmp_path / "s", photos)
    repaint(photos / "new.png", "teal")
    sorted(photos.rglob("*.jpg"))[0].unlink()
    with pytest.raises(PetrieveError, match="is gone"):
        embed(photos, store=tmp_path / "s", prune=True, progress=lambda *_: shutil.rmtree(tmp_path / "s"))
    assert not (tmp_path / "s").exists()
