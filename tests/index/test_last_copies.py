"""Names, links and what is gone: no advice of `duplicates` loses the last copy of a photo."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Done
from embedding import again

from petrieve.extractor.checks.files import files
from petrieve.store.photo import digest_of

Run = Callable[..., Done]


@pytest.fixture
def pets(drawn: Path, tmp_path: Path) -> Path:
    """Eight drawn photos in cat/."""
    for photo in sorted((drawn / "cat").iterdir())[:8]:
        (tmp_path / "pets" / "cat").mkdir(parents=True, exist_ok=True)
        shutil.copy2(photo, tmp_path / "pets" / "cat")
    return tmp_path / "pets"


@pytest.fixture
def mounted(pets: Path) -> Iterator[Path]:
    """The same folder, mounted at a second path; it takes a right that most users have not."""
    place = pets.parent / "remounted"
    place.mkdir()
    done = subprocess.run(["mount", "--bind", pets, place], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], capture_output=True)


def copies(run: Run, store: Path) -> list[tuple[str, set[str]]]:
    """Of each group of the same bytes the best, and the others, by their paths."""
    found: Any = run("duplicates", "--store", store, "--json").json
    groups = [one for one in found["groups"] if one["kind"] == "same bytes"]
    absolute = [[os.path.abspath(each["photo"]) for each in one["photos"]] for one in groups]
    assert [os.path.abspath(one["best"]) for one in groups] == [paths[0] for paths in absolute]
    return [(best, set(others)) for best, *others in absolute]


@pytest.mark.torture
def test_names_of_one_file_and_what_is_gone_or_changed_are_no_copies(
    run: Run, pets: Path, mounted: Path, tmp_path: Path
) -> None:
    first, second, third, fourth, fifth, sixth, seventh, _ = sorted((pets / "cat").iterdir())
    (pets / "best").mkdir()
    (pets / "best" / "a.jpg").symlink_to(f"../cat/{first.name}")
    os.link(second, pets / "best" / f"b{second.suffix}")
    (pets / "best" / "c.jpg").symlink_to(f"../cat/{third.name}")
    shutil.copy(third, pets / "copy.jpg")
    (tmp_path / "symlink").symlink_to("pets")
    shutil.copy(fourth, tmp_path / "elsewhere.jpg")
    (pets / "a.jpg").symlink_to("../elsewhere.jpg")
    for photo in (fifth, sixth, seventh):
        for letter in "yz":
            shutil.copy(photo, pets / f"{letter}-{photo.name}")
    again(run, tmp_path / "s", pets, tmp_path / "symlink", mounted)

    def both(photo: Path) -> set[str]:
        return {str(pets / f"{letter}-{photo.name}") for letter in "yz"}

    expected = [(str(third), {str(pets / "copy.jpg")}), (str(fourth), {str(pets / "a.jpg")})]
    assert copies(run, tmp_path / "s") == [*expected, *((str(one), both(one)) for one in (fifth, sixth, seventh))]

    fifth.unlink()  # what the store has first of these bytes
    (tmp_path / "elsewhere.jpg").unlink()
    shutil.copy(first, sixth)
    status = seventh.stat()
    seventh.write_bytes(bytes(status.st_size))  # size and time stay
    os.utime(seventh, ns=(status.st_atime_ns, status.st_mtime_ns))
    expected = [expected[0], *((min(both(one)), {max(both(one))}) for one in (fifth, sixth, seventh))]
    assert copies(run, tmp_path / "s") == expected
    done = run("duplicates", "--store", tmp_path / "s")
    assert "further names of the same files" in done.err
    assert "that are gone or have changed" in done.err


def test_a_photo_that_cannot_be_reached_is_no_copy_and_is_marked(run: Run, pets: Path, tmp_path: Path) -> None:
    first, second, *_ = sorted((pets / "cat").iterdir())
    shutil.copy(first, tmp_path / "disk.jpg")
    (pets / "a.jpg").symlink_to("../disk.jpg")
    again(run, tmp_path / "s", pets)
    (tmp_path / "disk.jpg").rename(tmp_path / "away.jpg")
    assert again(run, tmp_path / "s", pets)["unreadable"] == 1
    assert copies(run, tmp_path / "s") == []
    found = run("similar", second, "--store", tmp_path / "s", "-k", 20, "--json").json["neighbours"]
    assert [Path(one["photo"]).name for one in found if one["gone"]] == ["a.jpg"], "a link to nothing is nothing"


def test_files_without_numbers_of_their_own_are_told_by_their_paths(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some network file systems have them."""
    first, second, *_ = sorted((pets / "cat").iterdir())
    shutil.copy(first, second)
    (pets / "link.jpg").symlink_to(first)
    paths = [str(pets / "link.jpg"), str(first), str(second)]
    status = os.stat

    def numberless(path: str, **words: Any) -> os.stat_result:
        found = status(path, **words)
        return os.stat_result([found[0], 0, *found[2:]], {"st_mtime_ns": found.st_mtime_ns})

    digest = digest_of(first.read_bytes())
    then = {path: (status(path).st_size, status(path).st_mtime_ns // 1000, digest) for path in paths}
    monkeypatch.setattr(os, "stat", numberless)
    assert files(then) == [[str(first), str(pets / "link.jpg")], [str(second)]]
