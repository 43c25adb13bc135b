"""Embeddings out and in again, in the layout that others read; nothing of a stranger's file is run or trusted."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import Done, table
from planting import DIMENSION, empty_store, kept, said_in
from pyarrow import parquet

import extractor.exchange.embeddings as interop
from store.cache import Cache

Run = Callable[..., Done]


@pytest.fixture
def exported(run: Run, store: Path, tmp_path: Path) -> Path:
    done = run("export", tmp_path / "out", "--store", store, "--json")
    assert (done.status, done.json) == (0, {"written": str(tmp_path / "out"), "photos": 40}), done.err
    return tmp_path / "out"


def test_the_layout_is_the_one_that_others_read(exported: Path, store: Path) -> None:
    embeddings = np.load(exported / "img_emb" / "img_emb_0000.npy", allow_pickle=False)
    metadata = parquet.read_table(exported / "metadata" / "metadata_0000.parquet")
    assert (embeddings.shape, embeddings.dtype) == ((40, DIMENSION), np.float16)
    assert np.allclose(np.linalg.norm(embeddings.astype(np.float32), axis=1), 1, atol=1e-3)
    there = table(store)
    for path, vector in zip(metadata["image_path"].to_pylist(), embeddings, strict=True):
        own = np.frombuffer(there[path][2], np.float32)
        unit = vector.astype(np.float32)
        assert unit @ own / np.linalg.norm(own) / np.linalg.norm(unit) > 0.99999


def test_embedding_reader_reads_it(exported: Path) -> None:
    reader = pytest.importorskip("embedding_reader").EmbeddingReader(
        embeddings_folder=str(exported / "img_emb"), metadata_folder=str(exported / "metadata"),
        meta_columns=["image_path", "label"], file_format="parquet_npy",
    )  # fmt: skip
    assert (reader.count, reader.dimension) == (40, DIMENSION)
    ((embeddings, metadata),) = list(reader(batch_size=100, show_progress=False))
    assert np.array_equal(embeddings, np.load(exported / "img_emb" / "img_emb_0000.npy"))
    assert (
        metadata["image_path"].tolist() == parquet.read_table(exported / "embeddings.parquet")["image_path"].to_pylist()
    )


def test_one_table_holds_the_embeddings_as_they_are(exported: Path, store: Path) -> None:
    found = parquet.read_table(exported / "embeddings.parquet")
    there = table(store)
    for path, vector in zip(found["image_path"].to_pylist(), found["embedding"].to_pylist(), strict=True):
        assert np.array_equal(np.array(vector, np.float32), np.frombuffer(there[path][2], np.float32))


def test_what_comes_back_is_what_went_out(run: Run, exported: Path, store: Path, drawn: Path, tmp_path: Path) -> None:
    assert run("import", exported, "--store", tmp_path / "new").status == 0
    before, after = table(store), table(tmp_path / "new")
    assert before.keys() == after.keys()
    for path, (_, digest, vector) in before.items():
        assert after[path][1] == digest
        own, back = np.frombuffer(vector, np.float32), np.frombuffer(after[path][2], np.float32)
        assert np.allclose(own, back, rtol=2e-3, atol=1e-6)
    verified = run("verify", "--store", tmp_path / "new", "--sample", 2, "--json")
    assert (verified.status, verified.json["findings"]) == (0, []), verified.out
    summary = run("embed", drawn, "--store", tmp_path / "new", "--json").json
    assert (summary["embedded"], summary["cached"]) == (0, 40)
    assert run("info", "--store", tmp_path / "new", "--json").json["labels"] == {"cat": 20, "dog": 20}
    assert run("import", exported, "--store", store).status == 0
    assert len(table(store)) == 40


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
    monkeypatch.setattr(interop, "PART", 20)
    monkeypatch.setattr("store.contents.SCAN", 10)
    assert interop.export_embeddings(cache, tmp_path / "out") == 50
    assert len(list((tmp_path / "out" / "img_emb").iterdir())) == 3
    count, back = interop.import_embeddings(tmp_path / "out", tmp_path / "new")
    assert count == 50
    assert said_in(back) == said_in(cache)


def test_an_empty_store_goes_out_and_in(tmp_path: Path) -> None:
    cache = empty_store(tmp_path / "empty")
    assert interop.export_embeddings(cache, tmp_path / "out") == 0
    count, back = interop.import_embeddings(tmp_path / "out", tmp_path / "new")
    assert (count, len(back)) == (0, 0)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no card": (lambda f: (f / "petrieve.json").unlink(), "nothing says which network"),
    "a card of other weights": (
        lambda f: card(f, fingerprint="0" * 64),
        "was made with densenet121 and weights bundled",
    ),
    "a card that names a file": (lambda f: card(f, weights="/etc/passwd"), "weights from a file"),
    "a card that is none": (lambda f: (f / "petrieve.json").write_text("[]"), "cannot be read"),
    "too few photos": (lambda f: card(f, photos=41), "its card says 41"),
    "another dimension": (lambda f: save(f, np.zeros((40, 512), np.float16)), "40 × 512, not photos × 1024"),
    "another type": (lambda f: save(f, np.zeros((40, DIMENSION), np.float32)), "do not fit each other"),
    "other rows": (lambda f: save(f, np.ones((39, DIMENSION), np.float16)), "do not fit each other"),
    "zeros": (lambda f: save(f, np.zeros((40, DIMENSION), np.float16)), "zeros alone"),
    "no numbers": (lambda f: save(f, np.full((40, DIMENSION), np.nan, np.float16)), "holds no numbers"),
    "a pickle": (lambda f: save(f, np.array([print] * 40, object)), "cannot be read"),
    "a length below zero": (lambda f: claim(f, "(-1, 1024)"), "cannot be read"),
    "an empty file": (lambda f: (f / "img_emb" / "img_emb_0000.npy").write_bytes(b""), "cannot be read"),
    "no end of photos": (lambda f: card(f, photos=float("inf")), "cannot be read"),
    "a card without end": (lambda f: (f / "petrieve.json").write_text("[" * 99999), "cannot be read"),
    "an endless length": (lambda f: change(f, "length", [float("inf")] * 40), "holds no numbers"),
    "a photo without a name": (lambda f: change(f, "uri", ["", *map(str, range(39))]), "no path inside"),
    "cut short": (lambda f: cut(f / "img_emb" / "img_emb_0000.npy"), "cannot be read"),
    "metadata cut short": (lambda f: cut(f / "metadata" / "metadata_0000.parquet"), "cannot be read"),
    "a path that leads outside": (lambda f: change(f, "uri", ["../../etc/passwd"] * 40), "no path inside"),
    "an absolute path": (lambda f: change(f, "uri", ["/etc/passwd"] * 40), "no path inside"),
    "a root that is none": (lambda f: change(f, "root", ["data"] * 40), "no path inside"),
    "a photo twice": (lambda f: change(f, "uri", ["a.jpg"] * 40), "names a photo twice"),
    "a digest that is none": (lambda f: change(f, "digest", ["x" * 32] * 40), "cannot be used"),
    "a size that is none": (lambda f: change(f, "size", ["large"] * 40), "cannot be used"),
    "a column that is the cache's own": (lambda f: change(f, "_rowid", [1] * 40), "cannot be stored"),
    "no column": (lambda f: drop(f, "digest"), "no column digest"),
}


def card(folder: Path, **changed: object) -> None:
    file = folder / "petrieve.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))


def save(folder: Path, array: np.ndarray) -> None:
    np.save(folder / "img_emb" / "img_emb_0000.npy", array, allow_pickle=True)


def claim(folder: Path, shape: str) -> None:
    said = f"{{'descr': '<f2', 'fortran_order': False, 'shape': {shape}, }}".ljust(117)
    (folder / "img_emb" / "img_emb_0000.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00" + said.encode() + b"\n")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def change(folder: Path, column: str, values: list[object]) -> None:
    file = folder / "metadata" / "metadata_0000.parquet"
    found = parquet.read_table(file)
    place = found.column_names.index(column) if column in found.column_names else None
    changed = found if place is None else found.remove_column(place)
    parquet.write_table(changed.append_column(column, pa.array(values)), file)


def drop(folder: Path, column: str) -> None:
    file = folder / "metadata" / "metadata_0000.parquet"
    parquet.write_table(parquet.read_table(file).drop_columns([column]), file)


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_trusted_is_refused_in_one_line(
    run: Run, exported: Path, store: Path, tmp_path: Path, damage: str
) -> None:
    harm, said = DAMAGES[damage]
    harm(exported)
    before = table(store)
    done = run("import", exported, "--store", store)
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1), done.err
    assert said in done.err
    assert table(store) == before
    if "other weights" not in damage:
        assert run("import", exported, "--store", tmp_path / "new").status == 1
        assert not (tmp_path / "new").exists()


def test_what_is_wrong_with_the_last_photo_keeps_the_first_out_too(
    run: Run, exported: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interop, "COMMIT", 8)
    change(exported, "uri", [*(f"{n}.jpg" for n in range(39)), "../x.jpg"])
    before = table(store)
    for into in (store, tmp_path / "new"):
        assert run("import", exported, "--store", into).status == 1
    assert (table(store), (tmp_path / "new").exists()) == (before, False)


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
