"""The drawn sample and the Oxford photos."""

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Done
from PIL import Image

Run = Callable[..., Done]


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.*")
    }


def test_the_same_seed_draws_the_same_files_and_another_others(run: Run, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert run("sample", tmp_path / name, "--photos", 8, "--seed", seed).status == 0
    first, same, other = (digests(tmp_path / name) for name in "abc")
    assert first == same
    assert not set(first.values()) & set(other.values())


def test_the_sample_is_balanced_varied_and_without_repeats(drawn: Path) -> None:
    files = sorted(drawn.rglob("*.*"))
    assert Counter(path.parent.name for path in files) == {"cat": 20, "dog": 20}
    assert len({path.suffix for path in files}) >= 4
    assert len({Image.open(path).size for path in files}) >= 4
    assert len(set(digests(drawn).values())) == 40


def test_a_head_tells_drawn_cats_from_drawn_dogs(run: Run, made_store: Path) -> None:
    assert run("info", "--store", made_store, "--json").json["head"]["accuracy"] > 0.8


@pytest.mark.parametrize("words", [("--photos", 0), ("--from", "nowhere")])
def test_a_sample_that_cannot_be_had_says_what_to_do(run: Run, tmp_path: Path, words: tuple[object, ...]) -> None:
    done = run("sample", tmp_path / "s", *words)
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)


def test_oxford_photos_become_folders_of_breeds_in_splits(run: Run, tmp_path: Path, drawn: Path) -> None:
    """With the dataset's own files in place, torchvision downloads nothing."""
    base = tmp_path / "pets" / ".download" / "oxford-iiit-pet"
    (base / "images").mkdir(parents=True)
    (base / "annotations").mkdir()
    names = {"trainval": ["Abyssinian_1", "great_pyrenees_12"], "test": ["Abyssinian_2"]}
    picture = next(drawn.rglob("*.jpg")).read_bytes()
    for split, listed in names.items():
        (base / "annotations" / f"{split}.txt").write_text("".join(f"{name} 1 1 1\n" for name in listed))
        for name in listed:
            (base / "images" / f"{name}.jpg").write_bytes(picture)
    done = run("sample", tmp_path / "pets", "--from", "oxford-iiit-pet", "--json")
    assert done.json == {"folder": str(tmp_path / "pets"), "photos": 3}
    made = sorted(
        str(p.relative_to(tmp_path / "pets")) for p in (tmp_path / "pets").rglob("*.jpg") if ".download" not in str(p)
    )
    assert made == [
        "test/Abyssinian/Abyssinian_2.jpg",
        "train/Abyssinian/Abyssinian_1.jpg",
        "train/great_pyrenees/great_pyrenees_12.jpg",
    ]


def test_no_network_for_the_oxford_photos_is_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    done = run("sample", tmp_path / "pets", "--from", "oxford-iiit-pet")
    assert (done.status, done.out) == (1, "")
    assert "check the network" in done.err
