"""Stores that other releases wrote: `tests/stores` keeps a small one of each format; `make.sh` there makes them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Done, table
from test_embed import again, repaint, rows

from extractor.cache import Cache
from extractor.store import FORMAT

Run = Callable[..., Done]
STORES = Path(__file__).parent / "stores"
FORMATS = [int(folder.name) for folder in STORES.iterdir() if folder.is_dir()]


def test_a_store_of_every_format_is_kept() -> None:
    assert sorted(FORMATS) == list(range(1, FORMAT + 1))


@pytest.mark.parametrize("number", FORMATS)
def test_a_store_of_this_format_is_read_searched_and_gone_on_with(run: Run, number: int, tmp_path: Path) -> None:
    photos = STORES / str(number) / "photos"
    store = Path(shutil.copytree(STORES / str(number) / "store", tmp_path / "store"))
    document = run("info", "--store", store, "--json").json
    assert (document["photos"], document["labels"]) == (6, {"cat": 3, "dog": 3})
    assert (document["head"]["fits"], document["index"]["fits"], len(document["unreadable"])) == (True, True, 1)
    assert {photo.columns["name"] for photo in rows(store).values()} == {"Milo", None}
    found = run("similar", photos / "dog" / "luna-1.jpg", "-k", 2, "--store", store, "--json").json
    assert {Path(one["photo"]).name for one in found["neighbours"]} == {"luna-2.jpg", "luna-3.png"}
    assert run("predict", photos / "dog", "--store", store).status == 0
    before = table(store)
    assert again(run, store, photos) == {"found": 7, "copied": 6, "unreadable": 1}, "the bytes are known, here too"
    repaint(tmp_path / "new.png", "teal")
    assert again(run, store, tmp_path / "new.png") == {"found": 1, "embedded": 1}
    assert before.items() <= table(store).items()
    assert len(Cache.open(store)) == 13


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
        assert f"has format {number}, this release reads {FORMAT}; {mend}" in done.err
    assert sorted(file.name for file in store.rglob("*")) == before
