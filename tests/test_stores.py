"""Stores that other releases wrote: `tests/stores` keeps a small one of each format; `make.sh` there makes them."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import lance
import pytest
from conftest import Done, table
from test_embed import again, repaint, rows

from store.cache import Cache
from store.folder import FORMAT, WITH_VIEWS

Run = Callable[..., Done]
STORES = Path(__file__).parent / "stores"
FORMATS = [int(folder.name) for folder in STORES.iterdir() if folder.is_dir()]


def test_a_store_of_every_format_is_kept() -> None:
    assert sorted(FORMATS) == list(range(1, WITH_VIEWS + 1))


def vectors_of(store: Path) -> dict[str, bytes]:
    """The embeddings' bytes by path, whatever the format."""
    read = lance.dataset(str(store / "embeddings.lance")).to_table(["root", "uri", "embedding"])
    vectors = read["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, 1024)
    names = zip(read["root"].to_pylist(), read["uri"].to_pylist(), strict=True)
    return {os.path.join(*name): vector.tobytes() for name, vector in zip(names, vectors, strict=True)}


def kept(number: int, folder: Path) -> tuple[Path, Path]:
    """The photos and a copy of the store of this format."""
    return STORES / str(number) / "photos", Path(shutil.copytree(STORES / str(number) / "store", folder / "store"))


def test_a_store_of_format_1_is_brought_up_to_date_by_embed_alone(run: Run, tmp_path: Path) -> None:
    photos, store = kept(1, tmp_path)
    photo = photos / "dog" / "luna-1.jpg"
    before = vectors_of(store)
    for words in (("fit-head",), ("predict", photo), ("similar", photo), ("info",), ("verify",)):
        done = run(*words, "--store", store)
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1), words
        assert "brings the store up to date, and embeds nothing anew" in done.err
    assert again(run, store, photos) == {"found": 7, "copied": 6, "unreadable": 1}, "the bytes are known, here too"
    assert run("verify", "--store", store, "--sample", 0, "--json").json["findings"] == [
        {
            "what": f"the head {store / 'head.safetensors'} is damaged, or of an earlier release",
            "remedy": "run `cli.py fit-head`",
        }
    ]
    assert before.items() <= vectors_of(store).items()
    assert not (store / "index.faiss").exists()


@pytest.mark.parametrize("number", FORMATS)
def test_a_store_of_this_format_is_read_searched_and_gone_on_with(run: Run, number: int, tmp_path: Path) -> None:
    photos, store = kept(number, tmp_path)
    if number < FORMAT:
        again(run, store, photos / "cat" / "momo-1.jpg")
    refused = run("predict", photos / "dog", "--store", store)  # heads say more today than those that are kept here
    assert (refused.status, "run `cli.py fit-head`" in refused.err) == (1, True)
    assert run("fit-head", "--store", store).status == 0
    document = run("info", "--store", store, "--json").json
    assert (document["photos"], document["labels"]) == (6 + (number < FORMAT), {"cat": 3, "dog": 3})
    assert (document["head"]["fits"], len(document["unreadable"])) == (True, 1)
    assert {photo.columns["name"] for photo in rows(store).values()} == {"Milo", None}
    found = run("similar", photos / "dog" / "luna-1.jpg", "-k", 2, "--store", store, "--json").json
    assert {Path(one["photo"]).name for one in found["neighbours"]} == {"luna-2.jpg", "luna-3.png"}
    assert run("predict", photos / "dog", "--store", store).status == 0
    before = table(store)
    repaint(tmp_path / "new.png", "teal")
    assert again(run, store, tmp_path / "new.png") == {"found": 1, "embedded": 1}
    assert before.items() <= table(store).items()
    assert len(Cache.open(store)) == document["photos"] + 1


@pytest.mark.parametrize(("number", "mend"), [(WITH_VIEWS + 1, "update Petrieve"), (0, "embed the photos anew")])
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
        assert f"has format {number}, this release reads {FORMAT} and {WITH_VIEWS}; {mend}" in done.err
    assert sorted(file.name for file in store.rglob("*")) == before
