"""Neighbours: exact, of the cache as it is now, and without the photo itself."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from conftest import Done
from PIL import Image
from planting import planted

from petrieve.index.build import build
from petrieve.index.search import search
from petrieve.store.cache import Cache
from petrieve.store.rows import unit_length

Run = Callable[..., Done]


def neighbours(run: Run, photo: Path, store: Path, *words: object) -> list[dict[str, object]]:
    done = run("similar", photo, "--store", store, "--json", *words)
    assert done.status == 0, done.err
    return done.json["neighbours"]


def test_neighbours_are_those_of_brute_force(tmp_path: Path) -> None:
    cache = planted(tmp_path, {("cat", None): 150, ("dog", None): 150})
    photos, vectors = zip(*cache.embeddings(), strict=True)
    uris = [uri for batch in photos for uri in batch["uri"].to_pylist()]
    unit = unit_length(np.concatenate(vectors))
    index = build(cache)
    for query in (0, 77, 299):
        cosines = unit @ unit[query]
        found = search(index, unit[query] * 3, k=10)
        own = [cosines[uris.index(one.photo.removeprefix("/made-up/"))] for one in found]  # two may be equally near
        assert len({one.photo for one in found}) == 10
        assert np.allclose(own, np.sort(cosines)[::-1][:10], atol=1e-6)
        assert np.allclose([one.similarity for one in found], np.sort(cosines)[::-1][:10], atol=1e-3)


def test_a_cached_photo_is_found_without_torch_and_left_out_of_its_neighbours(store: Path, drawn: Path) -> None:
    photo = sorted((drawn / "cat").iterdir())[0]
    script = (
        "from petrieve import cli; cli.app(['similar', *sys.argv[1:]], standalone_mode=False);"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    words = [str(photo), "--store", str(store), "--json", "--sheet", "sheet.jpg"]
    done = subprocess.run([sys.executable, "-c", f"import sys; {script}", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '"neighbours"' in done.stdout
    assert str(photo) not in done.stdout.split('"neighbours"')[1]


def test_a_twin_is_a_neighbour_of_a_cached_photo(run: Run, store: Path, photos: Path) -> None:
    photo = sorted((photos / "cat").glob("*.jpg"))[0]
    shutil.copy(photo, photos / "dog" / "twin.jpg")
    run("embed", photos, "--store", store)
    best = neighbours(run, photo, store)[0]
    assert (Path(str(best["photo"])).name, best["similarity"], best["label"]) in [
        ("twin.jpg", 1.0, "dog"), (photo.name, 1.0, "cat"),
    ]  # fmt: skip


def test_a_copy_from_elsewhere_is_the_cached_photo(run: Run, store: Path, drawn: Path, tmp_path: Path) -> None:
    photo = sorted((drawn / "cat").glob("*.jpg"))[0]
    shutil.copy(photo, tmp_path / "elsewhere.jpg")
    done = run("similar", tmp_path / "elsewhere.jpg", "--store", store)
    assert photo.name in done.err
    assert photo.name not in done.out


def test_a_new_photo_finds_its_like(run: Run, store: Path, drawn: Path, tmp_path: Path) -> None:
    photo = sorted((drawn / "cat").glob("*.jpg"))[3]
    with Image.open(photo) as opened:
        opened.save(tmp_path / "again.jpg", quality=80)
    best = neighbours(run, tmp_path / "again.jpg", store, "-k", 3)
    assert len(best) == 3
    assert Path(str(best[0]["photo"])).name == photo.name
    assert float(str(best[0]["similarity"])) > 0.98
    assert float(str(best[0]["similarity"])) >= float(str(best[1]["similarity"]))


def test_the_index_follows_the_cache(run: Run, store: Path, photos: Path, drawn: Path) -> None:
    photo = sorted((drawn / "cat").glob("*.jpg"))[0]
    assert len(neighbours(run, photo, store, "-k", 100)) == 39
    assert run("info", "--store", store, "--json").json["index"] == {"kind": "flat", "photos": 40, "fits": True}
    Image.new("RGB", (400, 300), "orange").save(photos / "new.png")
    run("embed", photos / "new.png", "--store", store)
    assert len(neighbours(run, photo, store, "-k", 100)) == 40
    (photos / "new.png").unlink()
    run("embed", photos / "new.png", "--store", store, "--prune")
    assert len(neighbours(run, photo, store, "-k", 100)) == 39


def test_an_unreadable_photo_a_folder_and_a_missing_one_are_errors(run: Run, store: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    for photo, remedy in (
        (tmp_path / "bad.jpg", "name another"),
        (tmp_path, "name one photo"),
        (tmp_path / "x", "check"),
    ):
        done = run("similar", photo, "--store", store)
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
        assert remedy in done.err


def test_a_store_with_one_photo_has_no_neighbours(run: Run, drawn: Path, tmp_path: Path) -> None:
    photo = sorted((drawn / "cat").iterdir())[0]
    run("embed", photo, "--store", tmp_path / "s", "--weights", "bundled")
    assert neighbours(run, photo, tmp_path / "s") == []


def test_a_sheet_shows_the_photo_and_its_neighbours(run: Run, store: Path, drawn: Path, tmp_path: Path) -> None:
    photo = sorted((drawn / "cat").iterdir())[0]
    assert run("similar", photo, "--store", store, "-k", 7, "--sheet", tmp_path / "s.jpg").status == 0
    with Image.open(tmp_path / "s.jpg") as sheet:
        assert sheet.format == "JPEG"
        assert sheet.width > 3 * sheet.height / 2 - 200
        tiles = [sheet.getpixel((12 + 232 * column + 110, 122)) for column in range(4)]
    assert len(set(tiles)) > 1
    done = run("similar", photo, "--store", store, "--sheet", tmp_path / "nowhere" / "s.jpg")
    assert (done.status, "in a folder that is there" in done.err) == (1, True)


def test_a_neighbour_whose_file_is_gone_leaves_an_empty_tile(run: Run, photos: Path, tmp_path: Path) -> None:
    run("embed", photos, "--store", tmp_path / "s", "--weights", "bundled")
    photo, *others = sorted((photos / "cat").iterdir())
    for other in others:
        other.unlink()
    assert run("similar", photo, "--store", tmp_path / "s", "--sheet", tmp_path / "s.jpg").status == 0


def test_an_open_index_answers_for_the_cache_it_was_opened_with(run: Run, store: Path, photos: Path) -> None:
    index = build(Cache.open(store))
    vector = next(batch for _, batch in index.cache.embeddings())[0]
    before = search(index, vector, k=40)
    Image.new("RGB", (400, 300), "orange").save(photos / "new.png")
    run("embed", photos, "--store", store)
    assert search(index, vector, k=40) == before
