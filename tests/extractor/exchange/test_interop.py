"""Embeddings out and in again, as others read them; nothing of an untrusted file is run or believed."""

import json
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import ROOT, Done, table
from damaging import halve
from embedding import again, repaint
from planting import DIMENSION, empty_store, kept, of_trunk, said_in, whole
from pyarrow import parquet

from petrieve.extractor.exchange import embeddings, imports, rows
from petrieve.store.cache import Cache
from petrieve.store.photo import path_of

Run = Callable[..., Done]
FILE = "data/photos-0000.parquet"


@pytest.fixture
def exported(run: Run, store: Path, tmp_path: Path) -> Path:
    done = run("export", tmp_path / "out", "--store", store, "--json")
    assert (done.status, done.json) == (0, {"written": str(tmp_path / "out"), "photos": 40}), done.err
    return tmp_path / "out"


@pytest.fixture
def laid_out(run: Run, store: Path, tmp_path: Path) -> Path:
    """The layout of clip-retrieval."""
    done = run("export", tmp_path / "out.clip-retrieval", "--store", store)
    assert (done.status, done.out) == (0, f"{tmp_path}/out.clip-retrieval: 40 photos\n"), done.err
    return tmp_path / "out.clip-retrieval"


def test_a_folder_holds_one_kind_of_table_and_says_what_is_in_it(exported: Path, store: Path) -> None:
    files = sorted(str(file.relative_to(exported)) for file in exported.rglob("*") if file.is_file())
    assert files == ["README.md", FILE, "petrieve.json"]
    assert "# 40 photos and their embeddings" in (exported / "README.md").read_text()
    found = parquet.read_table(exported / FILE)
    said = json.loads(found.schema.metadata[b"petrieve"])
    assert (said["fingerprint"], said["unit_length"]) == (Cache.open(store).fingerprint, False)
    assert found.schema.field("embedding").metadata[b"unit_length"] == b"false"
    assert not {pa.timestamp("us", "UTC"), pa.date32()} & set(found.schema.types)  # torch's format takes neither
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", found["modified"][0].as_py())


def test_the_layout_of_clip_retrieval_is_a_form_of_its_own(run: Run, laid_out: Path, store: Path) -> None:
    embeddings = np.load(laid_out / "img_emb" / "img_emb_0000.npy", allow_pickle=False)
    metadata = parquet.read_table(laid_out / "metadata" / "metadata_0000.parquet")
    assert (embeddings.shape, embeddings.dtype) == ((40, DIMENSION), np.float16)
    assert np.allclose(np.linalg.norm(embeddings.astype(np.float32), axis=1), 1, atol=1e-3)
    there = table(store)
    for path, vector in zip(metadata["image_path"].to_pylist(), embeddings, strict=True):
        own = np.frombuffer(there[path][2], np.float32)
        unit = vector.astype(np.float32)
        assert unit @ own / np.linalg.norm(own) / np.linalg.norm(unit) > 0.99999
    done = run("import", laid_out, "--store", "new")
    assert (done.status, "of unit length" in done.err, Path("new").exists()) == (1, True, False)


def test_embedding_reader_reads_it(laid_out: Path) -> None:
    reader = pytest.importorskip("embedding_reader").EmbeddingReader(
        embeddings_folder=str(laid_out / "img_emb"), metadata_folder=str(laid_out / "metadata"),
        meta_columns=["image_path", "label"], file_format="parquet_npy",
    )  # fmt: skip
    assert (reader.count, reader.dimension) == (40, DIMENSION)
    ((embeddings, metadata),) = list(reader(batch_size=100, show_progress=False))
    assert np.array_equal(embeddings, np.load(laid_out / "img_emb" / "img_emb_0000.npy"))
    paths = parquet.read_table(laid_out / "metadata" / "metadata_0000.parquet")["image_path"].to_pylist()
    assert metadata["image_path"].tolist() == paths


def test_one_file_holds_the_embeddings_as_they_are(run: Run, exported: Path, store: Path, tmp_path: Path) -> None:
    assert run("export", tmp_path / "pets.parquet", "--store", store).status == 0
    found = parquet.read_table(tmp_path / "pets.parquet")
    assert found.equals(parquet.read_table(exported / FILE), check_metadata=True)
    there = table(store)
    for row in found.to_pylist():
        own = there[path_of(row["root"], row["photo"])]
        assert row["digest"] == own[1].hex()
        assert np.array_equal(np.array(row["embedding"], np.float32), np.frombuffer(own[2], np.float32))


def test_one_file_comes_back_and_takes_no_other_tables_place(run: Run, store: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.parquet"
    parquet.write_table(pa.table({"photo": ["a.jpg"]}), mine)
    before = mine.read_bytes()
    assert "no export; name another file" in run("export", mine, "--store", store).err
    assert "nothing says which network" in run("import", mine, "--store", store).err
    assert mine.read_bytes() == before
    for _ in range(2):  # one of its own it replaces
        assert run("export", tmp_path / "pets.parquet", "--store", store).status == 0
    assert run("import", tmp_path / "pets.parquet", "--store", tmp_path / "new").status == 0
    assert rows_of(tmp_path / "new") == rows_of(store)
    halve(tmp_path / "pets.parquet")
    assert "cannot be read" in run("import", tmp_path / "pets.parquet", "--store", tmp_path / "newer").err


def test_what_an_earlier_release_exported_comes_back(run: Run, tmp_path: Path) -> None:
    """`embeddings.parquet` with names in `uri` and moments of Parquet's, and a card that says no format."""
    earlier = ROOT / "tests" / "exports" / "1"
    assert run("import", earlier, "--store", tmp_path / "s").status == 0
    cache = Cache.open(tmp_path / "s")
    moment = datetime(2026, 10, 1, 10, tzinfo=UTC)
    (named,) = [row for row in said_in(cache).values() if row["name"]]
    told = {"name": "Milo", "found_on": moment.date(), "seen": moment.replace(tzinfo=None), "at": moment}
    assert named == {"label": "cat", "split": None, **told}
    found = parquet.read_table(earlier / "embeddings.parquet").to_pylist()
    there = {row["uri"]: np.array(row["embedding"], np.float32) for row in found}
    held = {one.photo.uri: one.embedding for one in whole(cache).values()}
    assert held.keys() == there.keys()
    assert all(np.array_equal(held[uri], there[uri]) for uri in held)


def rows_of(store: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every row of both tables, bit by bit: the photos by path, the embeddings of view 0 by content."""
    cache = Cache.open(store)
    photos = [row for batch in cache.every_photo() for row in batch.drop_columns(["_rowid"]).to_pylist()]
    vectors = [
        {"digest": row["digest"], "checksum": row["checksum"], "embedding": vector.tobytes()}
        for batch, some in cache.every_vector()
        for row, vector in zip(batch.to_pylist(), some, strict=True)
        if row["view"] == 0
    ]
    return sorted(photos, key=lambda row: (row["root"], row["uri"])), sorted(vectors, key=lambda row: row["digest"])


def test_every_bit_comes_back_and_importing_twice_changes_nothing(run: Run, photos: Path, tmp_path: Path) -> None:
    first, second, *_ = sorted((photos / "cat").iterdir())
    (tmp_path / "l.csv").write_text(
        "photo,label,length,image_path,found_on,seen,at,weight,sure\n"
        f"{first},tiger,3,here,2026-10-01,2026-10-01 10:00:00,10:30:00,4.25,true\n"
    )
    store, new = tmp_path / "s", tmp_path / "new"
    run("embed", photos, "--store", store, "--weights", "bundled", "--labels", tmp_path / "l.csv")
    second.unlink()
    run("embed", photos, "--store", store)
    assert run("export", tmp_path / "out", "--store", store).status == 0
    assert run("import", tmp_path / "out", "--store", new).status == 0
    assert rows_of(new) == rows_of(store)
    assert sum(row["gone"] is not None for row in rows_of(new)[0]) == 1
    for one in (store, new):
        before = Cache.open(one).version
        done = run("import", tmp_path / "out", "--store", one)
        assert (done.status, done.err, Cache.open(one).version) == (0, "", before)


def test_what_came_back_is_sound_and_known(run: Run, exported: Path, drawn: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    assert run("import", exported, "--store", new).status == 0
    verified = run("verify", "--store", new, "--sample", 2, "--json")
    assert (verified.status, verified.json["findings"]) == (0, []), verified.out
    assert again(run, new, drawn) == {"found": 40, "cached": 40}
    assert run("info", "--store", new, "--json").json["labels"] == {"cat": 20, "dog": 20}


def test_photos_that_were_found_from_another_root_are_the_same_photos(
    run: Run, exported: Path, drawn: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    run("embed", drawn / "cat", "--store", new, "--weights", "bundled")
    before = table(new)
    assert run("import", exported, "--store", new).status == 0
    assert len(table(new)) == 40
    assert {path: row for path, row in table(new).items() if path in before} == before
    run("export", tmp_path / "two", "--store", new)  # from two roots, one in the other
    moved = Path(shutil.copytree(drawn, tmp_path / "moved"))
    assert run("import", tmp_path / "two", "--store", tmp_path / "n2", "--photos", f"{moved}/../moved").status == 0
    assert again(run, tmp_path / "n2", moved) == {"found": 40, "cached": 40}


def test_the_store_keeps_what_it_says_and_is_told_what_it_does_not(run: Run, few: Path, tmp_path: Path) -> None:
    first, second, *_ = sorted((few / "cat").iterdir())
    store, other = tmp_path / "s", tmp_path / "other"
    (tmp_path / "a.csv").write_text(f"photo,label,pet_id\n{first},tiger,A\n")
    (tmp_path / "b.csv").write_text(f"photo,label,pet_id,age\n{first},lion,A,3\n{second},,B,4\n")
    run("embed", few, "--store", store, "--weights", "bundled", "--labels", tmp_path / "a.csv")
    run("embed", few, "--store", other, "--weights", "bundled", "--labels", tmp_path / "b.csv")
    run("export", tmp_path / "out", "--store", other)
    done = run("import", tmp_path / "out", "--store", store)
    assert done.status == 0
    assert "1 photos have another label, split or column" in done.err
    said = said_in(Cache.open(store))
    assert said[str(first)] == {"label": "tiger", "split": None, "pet_id": "A", "age": 3}
    assert said[str(second)] == {"label": "cat", "split": None, "pet_id": "B", "age": 4}


def test_what_somebody_said_by_hand_survives_an_import(run: Run, few: Path, tmp_path: Path) -> None:
    """What was said of a photo that is forgotten, a label that was taken back, and one that a folder gives too."""
    forgotten, taken, same, *_ = sorted(few.rglob("*.*"))
    store, other, label = tmp_path / "s", tmp_path / "other", same.parent.name
    (tmp_path / "a.csv").write_text(f"photo,label,pet_id\n{forgotten},tiger,A\n{taken},,\n")
    (tmp_path / "b.csv").write_text(f"photo,label,age\n{same},{label},5\n")
    again(run, store, few, "--labels", tmp_path / "a.csv")
    again(run, other, few, "--labels", tmp_path / "b.csv")
    assert run("export", tmp_path / "out", "--store", other).status == 0
    forgotten.rename(tmp_path / "away")
    again(run, store, few, "--prune")
    (tmp_path / "away").rename(forgotten)
    done = run("import", tmp_path / "out", "--store", store)
    assert (done.status, done.err) == (
        0,
        f"note: 1 photos have another label, split or column in {tmp_path / 'out'}: "
        "the store keeps what it says, and `cli.py embed --labels FILE.csv` changes it\n",
    )
    again(run, store, few, "--label-level", 0)
    said = said_in(Cache.open(store))
    assert said[str(forgotten)] == {"label": "tiger", "split": None, "pet_id": "A", "age": None}
    assert said[str(taken)]["label"] is None
    assert said[str(same)] == {"label": label, "split": None, "pet_id": None, "age": 5}


@pytest.mark.parametrize("later", [True, False])
def test_of_two_contents_of_a_path_the_later_stays_with_views_of_its_own_alone(
    run: Run, few: Path, tmp_path: Path, later: bool
) -> None:
    photo, _, *others = sorted(few.rglob("*.*"))
    for one in others:
        one.unlink()
    store, other = tmp_path / "s", tmp_path / "other"
    new = ("--weights", "bundled", "--views", 2)
    run("embed", few, "--store", store if later else other, *new)
    repaint(photo, "teal")
    run("embed", few, "--store", other if later else store, *new)
    wanted = whole(Cache.open(other if later else store))[str(photo)]
    run("export", tmp_path / "out", "--store", other)
    assert run("import", tmp_path / "out", "--store", store).status == 0
    found = whole(Cache.open(store))
    assert (len(found), found[str(photo)].digest) == (2, wanted.digest)
    assert np.array_equal(found[str(photo)].views, wanted.views[: 1 if later else 3])
    assert again(run, store, few) == ({"found": 2, "embedded": 1, "cached": 1} if later else {"found": 2, "cached": 2})
    assert np.array_equal(whole(Cache.open(store))[str(photo)].views, wanted.views)


def test_a_photo_that_is_gone_is_marked(run: Run, few: Path, tmp_path: Path) -> None:
    gone, *_ = sorted(few.rglob("*.*"))
    store = tmp_path / "s"
    run("embed", few, "--store", store, "--weights", "bundled")
    gone.unlink()
    run("embed", few, "--store", store)
    run("export", tmp_path / "out", "--store", store)
    found = parquet.read_table(tmp_path / "out" / FILE, columns=["root", "photo", "gone"]).to_pylist()
    assert [path_of(row["root"], row["photo"]) for row in found if row["gone"]] == [str(gone)]


def test_moved_photos_are_found_where_they_are_now(run: Run, exported: Path, drawn: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(drawn, tmp_path / "moved"))
    assert run("import", exported, "--store", tmp_path / "new", "--photos", moved).status == 0
    summary = run("embed", moved, "--store", tmp_path / "new", "--json").json
    assert (summary["embedded"], summary["cached"]) == (0, 40)


def test_the_users_columns_and_several_parts_come_back(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [{"pet_id": number, "label": "cat" if number % 2 else None} for number in range(50)]
    vectors = np.random.default_rng(0).normal(size=(50, DIMENSION))
    cache = kept(tmp_path, vectors, said)
    monkeypatch.setattr(rows, "PART", 20)
    monkeypatch.setattr("petrieve.store.contents.SCAN", 10)
    assert embeddings.export_data_set(cache, tmp_path / "out") == 50
    assert len(list((tmp_path / "out" / "data").iterdir())) == 3
    count, back = imports.import_embeddings(tmp_path / "out", tmp_path / "new")
    assert count == 50
    assert said_in(back) == said_in(cache)


def test_a_column_that_is_called_photo_is_left_out_with_a_note(run: Run, store: Path, tmp_path: Path) -> None:
    """Words beside a photo in a tar may be called so."""
    Cache.open(store).add_columns(pa.schema([("photo", pa.string())]))
    done = run("export", tmp_path / "out", "--store", store)
    assert (done.status, "the column `photo` is left out" in done.err) == (0, True)
    assert run("import", tmp_path / "out", "--store", tmp_path / "new").status == 0
    assert set(table(tmp_path / "new")) == set(table(store))


def test_an_empty_store_goes_out_and_in(tmp_path: Path) -> None:
    cache = empty_store(tmp_path / "empty")
    assert embeddings.export_data_set(cache, tmp_path / "out") == 0
    count, back = imports.import_embeddings(tmp_path / "out", tmp_path / "new")
    assert (count, len(back)) == (0, 0)


def test_columns_of_any_language_are_stored_asked_for_and_brought_back(
    run: Run, store: Path, drawn: Path, tmp_path: Path
) -> None:
    photo, other, *_ = sorted((drawn / "cat").iterdir())
    (tmp_path / "l.csv").write_text(f"photo,größe,Fell Farbe é,年齢\n{photo},3,weiß,2\n{other},4,grau,2\n")
    assert run("embed", drawn, "--store", store, "--labels", tmp_path / "l.csv").status == 0
    assert run("export", tmp_path / "out", "--store", store).status == 0
    assert run("import", tmp_path / "out", "--store", tmp_path / "new").status == 0
    for where in ("größe > 3", "`Fell Farbe é` = 'grau'", "年齢 = 2 and `größe` = 4"):
        done = run("similar", photo, "--store", tmp_path / "new", "--where", where, "--json")
        assert [Path(one["photo"]).name for one in done.json["neighbours"]] == [other.name], done.err


def test_a_folder_that_holds_something_is_not_written_to(run: Run, exported: Path, store: Path, tmp_path: Path) -> None:
    done = run("export", exported, "--store", store)
    assert (done.status, done.out, "new or empty" in done.err) == (1, "", True)
    (tmp_path / "file").write_text("mine")
    assert run("export", tmp_path / "file", "--store", store).status == 1
    assert (tmp_path / "file").read_text() == "mine"
    assert "run `cli.py embed FOLDER` first" in run("export", tmp_path / "x", "--store", tmp_path / "none").err
    assert Cache.open(store)


@pytest.mark.parametrize("name", ["run:1", "file:x", "a%20b", "q?x#y"])
def test_a_folder_is_a_folder_whatever_its_name_looks_like(run: Run, store: Path, tmp_path: Path, name: str) -> None:
    done = run("export", name, "--store", store)
    assert (done.status, done.out, done.err) == (0, f"{name}: 40 photos\n", "")
    assert run("import", name, "--store", f"{name}/s").status == 0
    assert rows_of(tmp_path / name / "s") == rows_of(store)


@pytest.mark.parametrize("where", ["s3://bucket/x", "file:///tmp/x", "gs://bucket/pets.onnx"])
def test_an_address_is_refused_in_one_line_and_nothing_is_made(
    run: Run, store: Path, exported: Path, tmp_path: Path, where: str
) -> None:
    before = sorted(tmp_path.iterdir())
    for words in (
        ("export", where, "--store", store),
        ("import", where, "--store", store),
        ("import", exported, "--store", "new", "--photos", where),
        ("sample", where),
    ):
        done = run(*words)
        assert (done.status, done.out) == (1, "")
        assert done.err == f"error: {where} is an address, and no path on this machine; name a path\n"
    assert sorted(tmp_path.iterdir()) == before


def test_an_export_that_fails_leaves_nothing(run: Run, store: Path, tmp_path: Path) -> None:
    for file in (of_trunk(store).vectors / "data").iterdir():
        halve(file)
    (tmp_path / "mine").mkdir()
    for folder in (tmp_path / "new", tmp_path / "mine"):
        done = run("export", folder, "--store", store)
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert not (tmp_path / "new").exists()
    assert not list((tmp_path / "mine").iterdir())
