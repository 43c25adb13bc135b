"""Stores that other releases wrote: `tests/stores` keeps a small one of each format; `make.sh` there makes them."""

import json
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from conftest import Done, Process, table
from embedding import again, repaint
from planting import of_trunk, said_in, whole

from petrieve.extractor.pixels.augment import RECIPE
from petrieve.store import upgrade
from petrieve.store.cache import Cache
from petrieve.store.folder import FORMAT, OLD_FORMATS

Run = Callable[..., Done]
Start = Callable[..., Process]
STORES = Path(__file__).resolve().parents[1] / "stores"
FORMATS = [int(folder.name) for folder in STORES.iterdir() if folder.is_dir()]
UPDATED = "brings the store up to date, and embeds nothing anew"


def test_a_store_of_every_format_is_kept() -> None:
    assert sorted(FORMATS) == [*OLD_FORMATS, FORMAT]


def vectors_of(store: Path) -> dict[tuple[str, int], bytes]:
    """The embeddings' bytes by path and view in an old store."""
    read = lance.dataset(str(store / "embeddings.lance")).to_table(["root", "uri", "view", "embedding"])
    vectors = read["embedding"].combine_chunks().flatten().to_numpy().reshape(len(read), -1)
    names = zip(read["root"].to_pylist(), read["uri"].to_pylist(), read["view"].to_pylist(), strict=True)
    return {(os.path.join(*place), view): v.tobytes() for (*place, view), v in zip(names, vectors, strict=True)}


def now_in(store: Path) -> dict[tuple[str, int], bytes]:
    """The same of a store of today's format."""
    found = whole(Cache.open(store))
    return {
        (path, view): vector.astype(np.float16).tobytes()
        for path, one in found.items()
        for view, vector in enumerate(one.views)
    }


def kept(number: int, folder: Path) -> tuple[Path, Path]:
    """The photos and a copy of the store of this format; its augmented views are said to be of today's recipe."""
    store = Path(shutil.copytree(STORES / str(number) / "store", folder / "store"))
    card = json.loads((store / "store.json").read_text())
    if card.get("recipe"):
        (store / "store.json").write_text(json.dumps({**card, "recipe": RECIPE, "digest": None}))
    return STORES / str(number) / "photos", store


def one_photo(photos: Path) -> Path:
    return photos / "cat" / "momo-1.jpg"


@pytest.mark.parametrize("number", OLD_FORMATS)
def test_an_old_store_is_brought_up_to_date_by_embed_alone(run: Run, number: int, tmp_path: Path) -> None:
    photos, store = kept(number, tmp_path)
    before = vectors_of(store)
    said = lance.dataset(str(store / "embeddings.lance")).to_table(filter="view = 0").to_pylist()
    for words in (
        ("fit-head",),
        ("predict", one_photo(photos)),
        ("similar", one_photo(photos)),
        ("info",),
        ("verify",),
    ):
        done = run(*words, "--store", store)
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1), words
        assert UPDATED in done.err
    assert vectors_of(store) == before, "nothing but embed changes it"
    done = run("embed", photos, "--store", store, "--json")
    assert (done.json["embedded"], done.json["views"], done.json["unreadable"]) == (0, 0, 1), "the bytes are known"
    assert before.items() <= now_in(store).items()
    told = {os.path.join(row["root"], row["uri"]): (row["label"], row["split"], row.get("name")) for row in said}
    now = {path: (row["label"], row["split"], row.get("name")) for path, row in said_in(Cache.open(store)).items()}
    assert told.items() <= now.items()
    left = {path.name for path in store.iterdir()}
    assert left == {"store.json", "photos.lance", of_trunk(store).path.name, ".lock"}
    assert json.loads((store / "store.json").read_text())["format"] == FORMAT
    heads = [{"remedy": "run `cli.py fit-head`"}]  # heads say more today than those that are kept here
    found = run("verify", "--store", store, "--sample", 0, "--json").json["findings"]
    assert [{"remedy": one["remedy"]} for one in found] == heads


@pytest.mark.parametrize("number", FORMATS)
def test_a_store_of_this_format_is_read_searched_and_gone_on_with(run: Run, number: int, tmp_path: Path) -> None:
    photos, store = kept(number, tmp_path)
    again(run, store, photos)
    if number < FORMAT:  # heads say more today than those that are kept here
        refused = run("predict", photos / "dog", "--store", store)
        assert (refused.status, "run `cli.py fit-head`" in refused.err) == (1, True)
    assert run("fit-head", "--store", store).status == 0
    document = run("info", "--store", store, "--json").json
    assert document["head"]["fits"]
    found = run("similar", photos / "dog" / "luna-1.jpg", "-k", 2, "--store", store, "--json").json
    assert {Path(one["photo"]).name for one in found["neighbours"]} <= {"luna-2.jpg", "luna-3.png", "luna-1.jpg"}
    assert run("predict", photos / "dog", "--store", store).status == 0
    before = table(store)
    repaint(tmp_path / "new.png", "teal")
    done = run("embed", tmp_path / "new.png", "--store", store)
    if number == FORMAT:
        assert (done.status, len(table(store))) == (0, len(before) + 1)
        return
    assert (done.status, "was made with" in done.err, "--trunk" in done.err) == (1, True, True), "another bundled trunk"
    assert before == table(store)
    beside = run("embed", photos, tmp_path / "new.png", "--store", store, "--trunk", "densenet121", "--json")
    assert (beside.status, beside.json["unreadable"]) == (0, 1)
    assert before == table(store), "what the one before has made stays"


@pytest.mark.parametrize("number", OLD_FORMATS)
def test_killed_while_it_is_brought_up_to_date_a_store_is_the_old_one_or_the_new_one(
    run: Run, start: Start, number: int, tmp_path: Path
) -> None:
    photos, store = kept(number, tmp_path)
    before, chance = vectors_of(store), random.Random(number)
    for _ in range(6):
        killed = start("embed", photos, "--store", store)
        killed.wait_for((store / ".lock").exists)
        time.sleep(chance.uniform(0, 1.2))
        killed.kill_group()
        if json.loads((store / "store.json").read_text())["format"] == FORMAT:
            assert before.items() <= now_in(store).items()
        else:
            assert vectors_of(store) == before
    assert run("embed", photos, "--store", store, "--json").json["embedded"] == 0
    assert before.items() <= now_in(store).items()
    assert not (store / "embeddings.lance").exists()


@pytest.mark.parametrize("number", OLD_FORMATS)
@pytest.mark.parametrize("step", range(7))
def test_stopped_at_any_step_of_it_a_store_is_brought_up_to_date_by_the_next_run(
    run: Run, number: int, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every place at which something is written or removed, one after the other."""
    photos, store = kept(number, tmp_path)
    before = vectors_of(store)
    done = 0

    def counted(name: str, module: object) -> None:
        real = getattr(module, name)

        def call(*args: object, **options: object) -> object:
            nonlocal done
            done += 1
            if done > step:
                raise KeyboardInterrupt
            return real(*args, **options)

        monkeypatch.setattr(module, name, call)

    with monkeypatch.context():
        counted("write_card", upgrade)
        counted("rmtree", shutil)
        counted("write_dataset", lance)
        try:
            run("embed", photos, "--store", store)
        except KeyboardInterrupt:
            assert done == step + 1
    monkeypatch.undo()
    assert run("embed", photos, "--store", store, "--json").json["embedded"] == 0
    assert before.items() <= now_in(store).items()
    assert not (store / "embeddings.lance").exists()


def test_a_column_of_an_old_store_whose_name_is_the_stores_own_now_is_kept_under_another(
    run: Run, tmp_path: Path
) -> None:
    photos, store = kept(1, tmp_path)
    place = store / "embeddings.lance"
    rows = lance.dataset(str(place)).to_table()
    told = [f"from {uri}" for uri in rows["uri"].to_pylist()]
    shutil.rmtree(place)
    for name in ("reason", "reason_2", "gone"):
        rows = rows.append_column(name, pa.array(told))
    lance.write_dataset(rows, str(place), enable_stable_row_ids=True)
    done = run("embed", photos, "--store", store)
    assert (done.status, done.err.count("is called"), "'reason' is called 'reason_3'" in done.err) == (0, 2, True)
    places = zip(rows["root"].to_pylist(), rows["uri"].to_pylist(), strict=True)
    now = said_in(Cache.open(store))
    for path, one in zip((os.path.join(*place) for place in places), told, strict=True):
        assert now[path]["reason_3"] == now[path]["reason_2"] == now[path]["gone_2"] == one
    assert {one["reason"] for one in run("info", "--store", store, "--json").json["unreadable"]} == {"not a photo"}, (
        "what was none of ours is no reason"
    )


def test_a_damaged_row_of_an_old_store_is_not_made_a_sound_one(run: Run, tmp_path: Path) -> None:
    photos, store = kept(2, tmp_path)
    place = store / "embeddings.lance"
    rows = lance.dataset(str(place)).to_table()
    damaged = pa.array([b"-" * 8, *rows["checksum"].to_pylist()[1:]], rows["checksum"].type)
    shutil.rmtree(place)
    column = rows.schema.get_field_index("checksum")
    lance.write_dataset(rows.set_column(column, "checksum", damaged), str(place), enable_stable_row_ids=True)
    card = json.loads((store / "store.json").read_text())
    (store / "store.json").write_text(json.dumps({**card, "manifests": {}, "digest": None}))
    one, label = os.path.join(rows["root"][0].as_py(), rows["uri"][0].as_py()), rows["label"][0].as_py()
    other = photos / rows["uri"][1].as_py()
    done = run("embed", other, "--store", store)
    assert (done.status, done.err) == (0, "")
    listed = Cache.open(store).unreadable()
    assert "its row in the store was damaged" in listed[one].reason
    assert listed[one].photo.label == label, "what was said of it stays"
    assert listed[one].may_pass, "the next run that meets it embeds it anew"


@pytest.mark.parametrize(("number", "mend"), [(FORMAT + 1, "update Petrieve"), (0, "embed the photos anew")])
def test_a_store_of_an_unknown_format_is_refused_by_every_command(
    run: Run, store: Path, drawn: Path, number: int, mend: str
) -> None:
    card = json.loads((store / "store.json").read_text())
    (store / "store.json").write_text(json.dumps({**card, "format": number}))
    before = sorted(file.name for file in store.rglob("*"))
    photo = sorted((drawn / "cat").iterdir())[0]
    for words in (("embed", drawn), ("fit-head",), ("predict", photo), ("similar", photo), ("info",)):
        done = run(*words, "--store", store)
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1), words
        assert f"has format {number}, this release reads 1 to {FORMAT}; {mend}" in done.err
    assert sorted(file.name for file in store.rglob("*")) == before


@pytest.mark.parametrize("name", ["new\nline", "a\tb", os.fsdecode(b"\xff"), "with\x1b/in it"])
def test_a_folder_in_which_tables_cannot_be_opened_is_named_and_not_begun(run: Run, drawn: Path, name: str) -> None:
    done = run("embed", drawn, "--store", Path(name).absolute(), "--weights", "bundled")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert "name a `--store` whose path has no such character" in done.err
    assert not os.path.lexists(name)


def test_no_advice_costs_labels(run: Run, store: Path, drawn: Path) -> None:
    """Whoever removed a store that could not be read lost what was typed by hand, and none of it was damaged."""
    assert "or name the store with `--store`" in run("info").err
    (store / "store.json").write_text("{")
    assert "bring it back from a copy, or run `cli.py embed` with a new `--store`" in run("info", "--store", store).err
    (store / "store.json").unlink()
    done = run("embed", drawn, "--store", store)
    assert (done.status, "remove the store" in done.err) == (1, False)
    assert "bring that file back, or run `cli.py embed` with a new `--store`" in done.err
