"""What always holds: one test, or more, for each promise of DESIGN.md, which would fail if it were broken."""

import hashlib
import json
import os
import random
import shutil
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import PHOTOS, ROOT, Done, Process, bits, need, table
from embedding import vectors
from PIL import Image
from planting import Endless, kept, nothing_there, of_trunk, seen, whole

from petrieve.api import predicting
from petrieve.extractor.engines import local as stream
from petrieve.extractor.query import query
from petrieve.extractor.sources.folder import find
from petrieve.extractor.trunks.trunk import load_trunk
from petrieve.store.cache import Cache

Run = Callable[..., Done]
Start = Callable[..., Process]


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_1_an_embedding_depends_on_the_photo_alone(run: Run, drawn: Path, tmp_path: Path, precision: str) -> None:
    """Not on its neighbours in the batch, their number or the order of the run: bit by bit."""
    photos = sorted(drawn.rglob("*.*"))[:16]
    given = ("--weights", "bundled", "--precision", precision)
    assert run("embed", *photos, "--store", tmp_path / "at once", *given).status == 0
    for photo in reversed(photos):
        assert run("embed", photo, "--store", tmp_path / "one by one", *given).status == 0
    before, found = vectors(tmp_path / "at once"), vectors(tmp_path / "one by one")
    assert len(found) == len(photos)
    assert all(np.array_equal(before[path], vector) for path, vector in found.items())


def test_2_every_vector_stands_beside_its_photo(photos: Path, tmp_path: Path, run: Run) -> None:
    """Photos that decode at different speeds, fail and repeat among each other."""
    for number, path in enumerate(sorted(photos.rglob("*.*"))):
        if number % 5 == 0:
            path.write_bytes(path.read_bytes()[: 100 * number])
        if number % 5 == 1:
            shutil.copy(path, path.with_name(f"a{path.name}"))
        if number % 5 == 2:
            with Image.open(path) as small:
                small.convert("RGB").resize((2500, 2000)).save(path.with_suffix(".large.png"))
    run("embed", photos, "--store", tmp_path / "s", "--weights", "bundled")
    found = whole(Cache.open(tmp_path / "s"))
    assert len(found) > 40
    trunk = load_trunk("bundled")
    for path, row in found.items():
        assert row.digest == hashlib.blake2b(Path(path).read_bytes(), digest_size=16).digest()
        view = seen(row.photo)
        assert isinstance(view, stream.View)
        assert view.pixels is not None
        assert np.allclose(trunk(view.pixels).numpy()[0], row.embedding, atol=2e-3)


@pytest.mark.parametrize("kills", [4, pytest.param(100, marks=pytest.mark.torture)])
def test_3_what_was_committed_stays_after_a_kill(
    kills: int, start: Start, drawn: Path, made_store: Path, tmp_path: Path
) -> None:
    """Killed again and again, the run ends with the store of a run that was left alone, bit by bit."""
    chance = random.Random(kills)
    photos, wanted = (drawn, made_store) if kills < 100 else (need(PHOTOS) / "train", tmp_path / "wanted")
    words = ("embed", photos, "--weights", "bundled", "--json", "--store")
    if not wanted.exists():
        assert start(*words, wanted).done().status == 0
    before: dict[str, tuple[int, bytes, bytes]] = {}
    hit = 0
    for number in range(kills):
        run = start(*words, "s")
        if number == kills // 2:  # one at least in the midst of the work, however slow the machine
            run.wait_for(lambda: len(list(Path("s").glob("*/vectors.lance/_versions/*.manifest"))) > 1)
        else:
            time.sleep(chance.uniform(0, 3.8))
        hit += run.poll() is None
        run.kill_group()
        now = table(Path("s")) if Path("s/store.json").exists() else {}
        assert before.items() <= now.items(), "what was committed is there, in the same row"
        before = now
    done = start(*words, "s").done()
    new = done.json["embedded"] + done.json["copied"]  # embeddings that a kill left without photos are found there
    assert (done.status, new) == (0, len(bits(wanted)) - len(before))
    assert bits(Path("s")) == bits(wanted)
    assert sorted(row for row, *_ in table(Path("s")).values()) == list(range(len(before) + new))
    print(f"{hit} of {kills} kills met the run at work; {len(before)} of {len(bits(wanted))} photos committed then")


def test_3_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    from petrieve.store.files import write_file

    write_file(tmp_path / "f", b"old")
    with pytest.raises(TypeError):
        write_file(tmp_path / "f", "no bytes")  # type: ignore[arg-type]
    assert (tmp_path / "f").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_4_one_bad_photo_costs_one_photo(run: Run, photos: Path, tmp_path: Path) -> None:
    (photos / "cat" / "000.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    done = run("embed", photos, "--store", tmp_path / "s", "--weights", "bundled", "--json")
    assert (done.status, done.json["embedded"], done.json["unreadable"]) == (0, 40, 1)


def test_5_the_output_names_device_precision_and_weights(run: Run, drawn: Path, tmp_path: Path) -> None:
    some = sorted(drawn.rglob("*.*"))[:2]
    words = ("--device", "cpu", "--precision", "float32", "--weights", "bundled", "--store", tmp_path / "s")
    assert "bundled weights on cpu in float32" in run("embed", *some, *words).out


def test_6_a_head_that_does_not_fit_is_refused(run: Run, store: Path, drawn: Path) -> None:
    card = json.loads((store / "store.json").read_text())
    del card["digest"]  # as an earlier release wrote it
    before = of_trunk(store).path
    card["trunks"][0]["fingerprint"] = "another"
    (store / "store.json").write_text(json.dumps(card))
    before.rename(of_trunk(store).path)
    done = run("predict", drawn, "--store", store)
    assert (done.status, "run `cli.py fit-head`" in done.err) == (1, True)


def test_7_no_code_of_ours_reads_pickles() -> None:
    for path in [
        ROOT / "cli.py",
        *(p for room in ("store", "extractor", "classifier", "index", "gallery") for p in (ROOT / room).rglob("*.py")),
    ]:
        source = path.read_text()
        assert "import pickle" not in source
        assert "weights_only=False" not in source
        assert source.count("torch.load(") == source.count("weights_only=True")


def test_8_no_more_photos_are_in_memory_than_a_few_batches(drawn: Path) -> None:
    """An endless source is read only as far ahead as the trunk needs."""
    (photo,) = find(sorted(drawn.rglob("*.jpg"))[0])
    source = Endless(photo)
    trunk = load_trunk("bundled")
    ready = stream.results(source, trunk=lambda: trunk, there=nothing_there, batch=4, workers=2, once=False)
    done = 0
    for _ in range(5):
        done += len(next(ready))
        assert done % 4 == 0
        assert source.taken - done <= 4 * 2 * stream.AHEAD
    ready.close()


def test_a_query_is_the_embedding_that_the_cache_would_hold(drawn: Path, made_store: Path, tmp_path: Path) -> None:
    cache = Cache.open(made_store)
    photo = sorted(drawn.rglob("*.png"))[0]
    (cached,) = query(photo, cache)
    trunk = load_trunk("bundled")
    view = seen(next(find(photo)))
    assert isinstance(view, stream.View)
    assert view.pixels is not None
    assert np.allclose(cached.embedding, trunk(view.pixels).numpy()[0], atol=2e-3)


def test_10_no_advice_loses_the_last_copy_of_a_photo(run: Run, drawn: Path, tmp_path: Path) -> None:
    """Copies, links of all kinds, and what is gone or changed since: who deletes all but the best keeps each photo."""
    chance = random.Random(10)
    pets = Path(shutil.copytree(drawn / "cat", tmp_path / "pets"))
    for number, photo in enumerate(sorted(pets.iterdir())):
        for copy in range(chance.randrange(3)):
            shutil.copy2(photo, pets / f"{'az'[copy]}{number}.jpg")
        if chance.random() < 0.5:
            (pets / f"b{number}.jpg").symlink_to(photo)
        if chance.random() < 0.5:
            os.link(photo, pets / f"c{number}.jpg")
    (pets / "again").symlink_to(".")
    (tmp_path / "other").symlink_to("pets")
    assert run("embed", pets, tmp_path / "other", "--store", tmp_path / "s", "--weights", "bundled").status == 0
    for photo in sorted(pets.glob("*.*")):
        if chance.random() < 0.2:
            photo.unlink()

    def contents() -> set[bytes]:
        return {photo.read_bytes() for photo in pets.glob("*.*") if photo.exists()}

    before = contents()
    found = run("duplicates", "--store", tmp_path / "s", "--json").json["groups"]
    same = [group for group in found if group["kind"] == "same bytes"]
    assert len(same) > 3
    for group in same:
        assert Path(group["best"]).exists()
        for one in group["photos"]:
            if one["photo"] != group["best"]:
                Path(one["photo"]).unlink()
    assert contents() == before


def test_8_predict_holds_the_embeddings_of_a_part_and_no_more(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 100,000 photos it held three times what their embeddings take."""
    count = 500
    (tmp_path / "p").mkdir()
    vectors = np.random.default_rng(0).normal(size=(count, 1024))
    store = kept(tmp_path / "p", vectors, [{"label": "cat" if n % 2 else "dog"} for n in range(count)]).store.path
    run("fit-head", "--store", store, "--l2", 100)

    def peak(part: int) -> tuple[int, str]:
        monkeypatch.setattr(predicting, "PART", part)
        tracemalloc.start()
        done = run("predict", tmp_path / "p", "--store", store, "--json")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (done.status, len(done.json)) == (0, count), done.err
        return most, done.out

    peak(count)  # what is imported is imported
    (parts, one), (whole_, other) = peak(100), peak(count)
    assert one == other
    assert whole_ - parts > 2 * (count - 100) * 4096
