"""Photos that are gone, and photos that are there more than once."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import Done, table
from embedding import again, repaint
from planting import of_trunk, whole

from petrieve.extractor.trunks.trunk import Trunk
from petrieve.store.cache import Cache

Run = Callable[..., Done]


def neighbours(run: Run, store: Path, photo: Path) -> dict[str, str | None]:
    """Since when each neighbour is gone, by name."""
    found = run("similar", photo, "-k", 50, "--store", store, "--json").json["neighbours"]
    return {Path(one["photo"]).name: one["gone"] for one in found}


def test_what_was_not_found_where_it_was_is_marked_and_offered_with_its_mark(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    again(run, tmp_path / "s", photos)
    asked, gone = sorted((photos / "cat").iterdir())[:2]
    today = datetime.now(UTC).date().isoformat()
    data = gone.read_bytes()
    gone.unlink()
    assert neighbours(run, tmp_path / "s", asked)[gone.name] == today, "also before a run has noticed"
    assert again(run, tmp_path / "s", photos) == {"found": 39, "cached": 39, "missing": 1}
    assert again(run, tmp_path / "s", photos) == {"found": 39, "cached": 39, "missing": 1}
    found = neighbours(run, tmp_path / "s", asked)
    assert {name for name, since in found.items() if since} == {gone.name}
    assert f"{gone.name} (gone since {today})" in run("similar", asked, "-k", 50, "--store", tmp_path / "s").out
    assert run("info", "--store", tmp_path / "s", "--json").json["gone"] == 1
    assert "(1 of them gone)" in run("info", "--store", tmp_path / "s").out
    found = run("similar", asked, "-k", 50, "--where", "gone IS NULL", "--store", tmp_path / "s", "--json").json
    assert gone.name not in {Path(one["photo"]).name for one in found["neighbours"]}
    assert run("verify", "--store", tmp_path / "s", "--sample", 50).status == 0
    gone.write_bytes(data)
    assert again(run, tmp_path / "s", photos)["found"] == 40
    assert not any(neighbours(run, tmp_path / "s", asked).values()), "it is there again"


@pytest.mark.torture
def test_what_is_gone_is_a_copy_of_nothing(run: Run, photos: Path, tmp_path: Path) -> None:
    first = sorted((photos / "cat").iterdir())[0]
    moved = photos / "cat" / f"moved{first.suffix}"
    shutil.copy(first, moved)
    again(run, tmp_path / "s", photos)
    assert len(run("duplicates", "--store", tmp_path / "s", "--json").json["groups"]) == 1
    first.unlink()
    again(run, tmp_path / "s", photos)
    assert run("duplicates", "--store", tmp_path / "s", "--json").json["groups"] == []


def test_only_prune_forgets_what_is_gone_and_the_embeddings_that_no_photo_has(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    again(run, tmp_path / "s", photos)
    gone, changed, kept = sorted(photos.rglob("*.*"))[:3]
    shutil.copy(kept, photos / "twin.png")
    gone.unlink()
    repaint(changed, "teal")
    again(run, tmp_path / "s", photos)
    assert Cache.open(tmp_path / "s").counts()["views"] == 41, "of what is gone, and of what was there before"
    assert len(table(tmp_path / "s")) == 41
    kept.unlink()
    assert again(run, tmp_path / "s", photos, "--prune")["missing"] == 2
    assert Cache.open(tmp_path / "s").counts()["views"] == 39
    assert set(table(tmp_path / "s")) == {str(path) for path in photos.rglob("*.*")}, "its twin has its content"
    assert run("verify", "--store", tmp_path / "s", "--sample", 50).status == 0


def test_the_same_bytes_twice_in_one_run_are_embedded_once(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *others = sorted(photos.rglob("*.*"))
    for other in others:
        other.unlink()
    for number in range(60):
        shutil.copy((first, second)[number % 2], photos / f"{number:02}.copy.jpg")
    for number in range(3):
        (photos / f"bad {number}.jpg").write_bytes(b"\xff\xd8\xff no more")
    seen = 0
    through = Trunk.__call__

    def counted(trunk: Trunk, views: object) -> object:
        nonlocal seen
        seen += 1
        return through(trunk, views)  # type: ignore[arg-type]

    monkeypatch.setattr(Trunk, "__call__", counted)
    counts = again(run, tmp_path / "s", photos, "--views", 1)
    assert counts == {"found": 65, "embedded": 2, "copied": 60, "unreadable": 3}
    assert seen <= 2, "batches"
    assert len(Cache.open(tmp_path / "s").unreadable()) == 3
    found = whole(Cache.open(tmp_path / "s"))
    assert len(found) == 62
    assert len({one.views.tobytes() for one in found.values()}) == 2
    assert all((one.width, one.height) > (0, 0) for one in found.values())


def test_photos_that_trade_places_keep_their_own_embeddings(run: Run, photos: Path, tmp_path: Path) -> None:
    again(run, tmp_path / "s", photos)
    one, other = sorted(photos.rglob("*.png"))[:2]
    before = table(tmp_path / "s")
    one.rename(tmp_path / "aside")
    other.rename(one)
    (tmp_path / "aside").rename(other)
    assert again(run, tmp_path / "s", photos)["copied"] == 2
    after = table(tmp_path / "s")
    assert after[str(one)][1:] == before[str(other)][1:]
    assert after[str(other)][1:] == before[str(one)][1:]
    assert of_trunk(tmp_path / "s").vectors.exists()
