"""Annotations by hand outlive an empty mount point, `--prune` and a move."""

import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from conftest import Done, bits
from embedding import again, repaint
from planting import said_in

from petrieve.store.cache import Cache

Run = Callable[..., Done]
NOTHING = {"pet_id": None, "found_on": None}
SAID = {"label": "tiger", "split": None, "pet_id": 7, "found_on": date(2026, 10, 1)}


@pytest.fixture
def pets(few: Path, run: Run, tmp_path: Path) -> Path:
    """Six photos in a store, one of them with what a CSV says of it."""
    (few.parent / "l.csv").write_text(f"photo,label,pet_id,found_on\n{named(few)},tiger,7,2026-10-01\n")
    again(run, tmp_path / "s", few, "--labels", few.parent / "l.csv")
    return few


def named(pets: Path) -> Path:
    """The photo that the CSV names."""
    return min(path for path in pets.rglob("*.*") if path.suffix == ".jpg")


def said(store: Path) -> dict[str, dict[str, Any]]:
    return said_in(Cache.open(store))


def test_an_empty_mount_point_is_not_pruned_and_all_is_there_when_it_is_back(
    run: Run, pets: Path, tmp_path: Path
) -> None:
    before, words = bits(tmp_path / "s"), said(tmp_path / "s")
    pets.rename(tmp_path / "away")
    pets.mkdir()
    done = run("embed", pets, "--store", tmp_path / "s", "--prune")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert "lacks 6 of 6 photos" in done.err
    assert "`--forget 6`" in done.err
    assert run("embed", pets, "--store", tmp_path / "s", "--prune", "--forget", 5).status == 1
    assert again(run, tmp_path / "s", pets) == {"missing": 6}
    assert run("embed", pets, "--store", tmp_path / "s", "--prune").status == 1, "also what was marked as gone before"
    pets.rmdir()
    (tmp_path / "away").rename(pets)
    assert again(run, tmp_path / "s", pets, "--prune") == {"found": 6, "cached": 6}
    assert (bits(tmp_path / "s"), said(tmp_path / "s")) == (before, words)


def test_another_disk_and_an_empty_folder_below_are_not_pruned(run: Run, pets: Path, tmp_path: Path) -> None:
    (pets / "disk").mkdir()
    repaint(pets / "disk" / "x.png", "teal")
    again(run, tmp_path / "s", pets)
    (pets / "disk" / "x.png").unlink()
    done = run("embed", pets, "--store", tmp_path / "s", "--prune")
    assert (done.status, "disk is empty" in done.err, "`--forget 1`" in done.err) == (1, True, True)
    (pets / "disk").rmdir()
    assert again(run, tmp_path / "s", pets, "--prune")["missing"] == 1, "a folder that was removed is meant"
    pets.rename(tmp_path / "away")
    pets.mkdir()
    for number in range(9):
        repaint(pets / f"{number}.png", f"#0000{number}0")
    assert "lacks 6 of 6" in run("embed", pets, "--store", tmp_path / "s", "--prune").err
    assert run("embed", pets, "--store", tmp_path / "s", "--forget", 6).status == 1


@pytest.mark.parametrize("place", ["where it was", "elsewhere"])
def test_what_a_csv_said_comes_back_with_the_path_or_the_content(
    run: Run, pets: Path, tmp_path: Path, place: str
) -> None:
    photo = named(pets)
    pets.rename(tmp_path / "away")
    pets.mkdir()
    assert again(run, tmp_path / "s", pets, "--prune", "--forget", 6) == {"missing": 6}
    assert said(tmp_path / "s") == {}
    found = tmp_path / "away" / photo.relative_to(pets)
    if place == "elsewhere":
        shutil.rmtree(pets)
        (tmp_path / "away").rename(tmp_path / "new")
        other = (tmp_path / "new" / photo.relative_to(pets)).parent.rename(tmp_path / "new" / "unsorted")
        again(run, tmp_path / "s", tmp_path / "new")
        photo = other / found.name
    else:
        shutil.rmtree(pets)
        (tmp_path / "away").rename(pets)
        repaint(photo, "brown")  # the same path, changed pixels
        again(run, tmp_path / "s", pets)
    words = said(tmp_path / "s")
    assert words.pop(str(photo)) == SAID
    assert {path: one["label"] for path, one in words.items()} == {path: Path(path).parent.name for path in words}
    assert all(NOTHING.items() <= one.items() for one in words.values())


@pytest.mark.parametrize("first", ["it is found elsewhere", "it is missed"])
def test_what_a_csv_said_goes_with_a_photo_into_a_source_that_is_listed_alone(
    run: Run, pets: Path, tmp_path: Path, first: str
) -> None:
    photo, moved = named(pets), tmp_path / "new" / "x.jpg"
    moved.parent.mkdir()
    shutil.move(photo, moved)
    for source in (moved.parent, pets)[:: 1 if first == "it is found elsewhere" else -1]:
        again(run, tmp_path / "s", source)
    assert said(tmp_path / "s")[str(moved)] == SAID


@pytest.mark.parametrize("prune", [[], ["--prune"]])
def test_what_a_csv_said_goes_with_a_photo_that_moves(run: Run, pets: Path, tmp_path: Path, prune: list[str]) -> None:
    photo = named(pets)
    (pets / "new").mkdir()
    moved = photo.rename(pets / "new" / "moved.jpg")
    again(run, tmp_path / "s", pets, *prune)
    assert said(tmp_path / "s")[str(moved)] == SAID
    moved = moved.rename(pets / "new" / "again.jpg")
    again(run, tmp_path / "s", pets, *prune)
    assert said(tmp_path / "s")[str(moved)] == SAID
    assert run("verify", "--store", tmp_path / "s").status == 0


def test_what_a_csv_said_stays_with_a_copy_that_was_there_and_may_be_said_otherwise(
    run: Run, pets: Path, tmp_path: Path
) -> None:
    photo, copy = named(pets), pets / "copy.jpg"
    shutil.copy(photo, copy)
    again(run, tmp_path / "s", pets)
    assert said(tmp_path / "s")[str(copy)] == {"label": None, "split": None, **NOTHING}
    photo.unlink()
    again(run, tmp_path / "s", pets, "--prune")
    assert said(tmp_path / "s")[str(copy)] == SAID
    other = max(path for path in pets.rglob("*.*") if path != copy)
    (tmp_path / "l.csv").write_text(f"photo,label,pet_id\ncopy.jpg,,\n{other},dog,9\n")
    for words in (["--labels", tmp_path / "l.csv"], [], ["--prune"]):
        again(run, tmp_path / "s", pets, *words)
        assert said(tmp_path / "s")[str(copy)] == {**SAID, "label": None, "pet_id": None}, (
            "what was taken back stays so"
        )
    shutil.copy(copy, photo)
    (tmp_path / "l.csv").write_text(f"photo,label,found_on\n{photo},lion,\n")
    again(run, tmp_path / "s", pets, "--labels", tmp_path / "l.csv")
    assert said(tmp_path / "s")[str(photo)]["label"] == "lion", "what is said now counts"


def test_what_was_said_anew_of_a_photo_that_came_back_counts(run: Run, pets: Path, tmp_path: Path) -> None:
    photo, store = named(pets), tmp_path / "s"
    (tmp_path / "a.csv").write_text(f"photo,pet_id\n{(other := max(pets.rglob('*.png')))},8\n")
    again(run, store, pets, "--labels", tmp_path / "a.csv")

    def forget_and_bring_back() -> None:
        for one in (photo, other):
            one.rename(tmp_path / one.name)
        again(run, store, pets, "--prune")
        for one in (photo, other):
            (tmp_path / one.name).rename(one)
        again(run, store, pets)

    forget_and_bring_back()
    (tmp_path / "b.csv").write_text(f"photo,label,pet_id\n{photo},lion,9\n")
    (tmp_path / "c.csv").write_text(f"photo,pet_id\n{other},\n{photo},9\n")
    for csv in ("b.csv", "c.csv"):
        again(run, store, pets, "--labels", tmp_path / csv)
    shutil.copy(photo, pets / "copy.jpg")
    again(run, store, pets)
    assert said(store)[str(pets / "copy.jpg")]["label"] is None, "a copy of a photo that is there"
    forget_and_bring_back()
    assert (said(store)[str(photo)]["label"], said(store)[str(photo)]["pet_id"]) == ("lion", 9)
    assert said(store)[str(other)]["pet_id"] is None, "what was taken back stays so"


def test_a_run_that_is_killed_while_it_first_keeps_what_was_said_is_gone_on_with(
    run: Run, pets: Path, tmp_path: Path
) -> None:
    photo, kept = named(pets), tmp_path / "s" / "forgotten.lance" / "data"
    kept.mkdir(parents=True)
    (kept / "x.lance").touch()
    photo.rename(tmp_path / "away")
    assert again(run, tmp_path / "s", pets, "--prune")["missing"] == 1
    assert run("verify", "--store", tmp_path / "s").status == 0
    (tmp_path / "away").rename(photo)
    again(run, tmp_path / "s", pets)
    assert said(tmp_path / "s")[str(photo)] == SAID


def test_a_damaged_row_of_what_was_forgotten_is_found_and_gives_nothing_back(
    run: Run, pets: Path, tmp_path: Path
) -> None:
    import lance

    photo = named(pets)
    photo.rename(tmp_path / "away.jpg")
    again(run, tmp_path / "s", pets, "--prune")
    kept = lance.dataset(str(tmp_path / "s" / "forgotten.lance"))
    kept.update({"pet_id": "8"})
    done = run("verify", "--store", tmp_path / "s")
    assert (done.status, "when it was forgotten is damaged" in done.out + done.err) == (1, True)
    (tmp_path / "away.jpg").rename(photo)
    again(run, tmp_path / "s", pets)
    assert said(tmp_path / "s")[str(photo)]["pet_id"] is None
