"""Damaged or untrusted exports: each is refused in one line, and nothing is written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import Done, table
from damaging import halve
from planting import DIMENSION
from pyarrow import parquet

from petrieve.extractor.exchange import exported as opening

Run = Callable[..., Done]
FILE = "data/photos-0000.parquet"


@pytest.fixture
def exported(run: Run, store: Path, tmp_path: Path) -> Path:
    assert run("export", tmp_path / "out", "--store", store).status == 0
    return tmp_path / "out"


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no card": (lambda f: (f / "petrieve.json").unlink(), "nothing says which network"),
    "a card of other weights": (
        lambda f: card(f, fingerprint="0" * 64),
        "was made with densenet121 and weights bundled",
    ),
    "a card that names a file": (lambda f: card(f, weights="/etc/passwd"), "weights from a file"),
    "a card that is none": (lambda f: (f / "petrieve.json").write_text("[]"), "cannot be read"),
    "a card without columns": (lambda f: card(f, columns=["coat"]), "no column coat"),
    "too few photos": (lambda f: card(f, photos=41), "its card says 41"),
    "another dimension": (lambda f: save(f, np.zeros((40, 512), np.float32)), "[512], not 1024 × float32"),
    "another type": (lambda f: save(f, np.zeros((40, DIMENSION), np.float64)), "double"),
    "zeros": (lambda f: save(f, np.zeros((40, DIMENSION), np.float32)), "zeros alone"),
    "no numbers": (lambda f: save(f, np.full((40, DIMENSION), np.nan, np.float32)), "holds no numbers"),
    "numbers that are too large": (lambda f: save(f, np.full((40, DIMENSION), 1e6, np.float32)), "holds no numbers"),
    "an embedding that is missing": (lambda f: change(f, "embedding", [None] * 40, EMBEDDING), "is missing"),
    "an empty file": (lambda f: (f / FILE).write_bytes(b""), "cannot be read"),
    "no file": (lambda f: (f / FILE).unlink(), "cannot be read"),
    "no end of photos": (lambda f: card(f, photos=float("inf")), "cannot be read"),
    "a card without end": (lambda f: (f / "petrieve.json").write_text("[" * 99999), "cannot be read"),
    "a photo without a name": (lambda f: change(f, "photo", ["", *map(str, range(39))]), "not a path inside"),
    "cut short": (lambda f: halve(f / FILE), "cannot be read"),
    "a path that leads outside": (lambda f: change(f, "photo", ["../../etc/passwd"] * 40), "not a path inside"),
    "an absolute path": (lambda f: change(f, "photo", ["/etc/passwd"] * 40), "not a path inside"),
    "a path of two ways": (lambda f: change(f, "photo", ["a/./b.jpg", *map(str, range(39))]), "not a path inside"),
    "a root that is none": (lambda f: change(f, "root", ["data"] * 40), "not a path inside"),
    "a root with a way back": (lambda f: change(f, "root", ["/data/../etc"] * 40), "not a path inside"),
    "a photo twice": (lambda f: change(f, "photo", ["a.jpg"] * 40), "names a photo twice"),
    "a digest that is none": (lambda f: change(f, "digest", ["x" * 32] * 40), "cannot be used"),
    "a short digest": (lambda f: change(f, "digest", ["00"] * 40), "cannot be used"),
    "a size that is none": (lambda f: change(f, "size", ["large"] * 40), "cannot be used"),
    "a date that is none": (lambda f: change(f, "modified", ["2026-13-01T00:00:00.000000Z"] * 40), "cannot be used"),
    "a column that is the cache's own": (lambda f: card(f, columns=["digest"]), "cannot be stored"),
    "no column": (lambda f: drop(f, "digest"), "no column digest"),
}
EMBEDDING = pa.list_(pa.float32(), DIMENSION)


def card(folder: Path, **changed: object) -> None:
    file = folder / "petrieve.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))


def save(folder: Path, array: np.ndarray) -> None:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array.shape[1])
    change(folder, "embedding", vectors.to_pylist(), vectors.type)


def change(folder: Path, column: str, values: list[Any], type_: pa.DataType | None = None) -> None:
    file = folder / FILE
    found = parquet.read_table(file).drop_columns([column])
    parquet.write_table(found.append_column(column, pa.array(values, type_)), file)


def drop(folder: Path, column: str) -> None:
    file = folder / FILE
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
    monkeypatch.setattr(opening, "GROUP", 8)
    change(exported, "photo", [*(f"{n}.jpg" for n in range(39)), "../x.jpg"])
    before = table(store)
    for into in (store, tmp_path / "new"):
        assert run("import", exported, "--store", into).status == 1
    assert (table(store), (tmp_path / "new").exists()) == (before, False)
