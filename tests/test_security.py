"""Untrusted data is read and never obeyed: SECURITY.md."""

import csv
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import corpus
import pytest
import torch
from conftest import Done
from PIL import Image
from planting import of_trunk

from petrieve.gallery import spreadsheet
from petrieve.gallery.words import FORMULA

Run = Callable[..., Done]
ROOT = Path(__file__).resolve().parents[1]
EPS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n"
    b"0 0 64 64 rectfill\nshowpage\n%%EOF\n"
)  # fmt: skip
NASTY = ("=1+1", "+1", "-rf", "@SUM(A1)", "\tx", "\rx", "\x1b[2J", "\u202egpj", "%0A=1", "'; DROP", '",=1,"')


class Touches:
    """Pickled, what touches a file when it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch obeyed",)


def test_postscript_that_is_named_like_a_photo_is_not_run(tmp_path: Path, drawn: Path) -> None:
    """Pillow opens it with Ghostscript, `gs`."""
    for name in ("gs", "gswin32c"):
        (tmp_path / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/obeyed\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(EPS)
    (tmp_path / "photos" / "b.png").write_bytes(sorted(drawn.rglob("*.png"))[0].read_bytes())
    words = [sys.executable, str(ROOT / "cli.py"), "embed", "photos", "--weights", "bundled", "--json"]
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(words, env={**os.environ, "PATH": path}, capture_output=True, check=True)
    assert json.loads(done.stdout)["unreadable"] == 1
    assert not Path("obeyed").exists()


def test_a_module_beside_the_photos_is_not_imported(tmp_path: Path) -> None:
    for name in ("PIL.py", "pillow_heif.py", "sitecustomize.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'obeyed')!r}, 'w')\n")
    (tmp_path / "a.tif").write_bytes(corpus.encoded(Image.new("RGB", (300, 260), "teal"), format="TIFF"))
    words = [sys.executable, str(ROOT / "cli.py"), "embed", "a.tif", "--weights", "bundled", "--json"]
    done = subprocess.run(words, capture_output=True, check=True)
    assert json.loads(done.stdout)["embedded"] == 1
    assert not Path("obeyed").exists()


@pytest.mark.parametrize("kind", ["pickle", "torch.save"])
def test_weights_and_heads_that_are_programs_are_refused(run: Run, store: Path, drawn: Path, kind: str) -> None:
    for file in (Path("w.pth"), Path("w.safetensors"), of_trunk(store).head):
        if kind == "pickle":
            file.write_bytes(pickle.dumps(Touches(), 2))
        else:
            torch.save({"features.conv0.weight": Touches()}, file)
    photo = sorted((drawn / "cat").iterdir())[0]
    for words in (
        ("embed", drawn, "--weights", "w.pth"),
        ("embed", drawn, "--weights", "w.safetensors"),
        ("predict", photo),
    ):
        done = run(*words, "--store", store)
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert not Path("obeyed").exists()


def test_an_index_that_somebody_put_into_a_store_is_not_read(run: Run, store: Path, drawn: Path) -> None:
    photo = sorted((drawn / "cat").iterdir())[0]
    before = run("similar", photo, "--store", store, "--json").json
    for name in ("index.faiss", "index.json", "index.safetensors"):
        for folder in (store, of_trunk(store).path):
            (folder / name).write_bytes(b"IxM2" + b"\xff" * 500)
    assert run("similar", photo, "--store", store, "--json").json == before


def test_no_cell_of_a_csv_is_a_formula_and_its_paths_lead_to_the_photos(run: Run, store: Path, drawn: Path) -> None:
    photo = sorted((drawn / "cat").iterdir())[0].read_bytes()
    Path("new").mkdir()
    os.chdir("new")
    for name in NASTY:
        Path(f"{name}.jpg").write_bytes(photo)
    assert run("predict", ".", "--store", store, "--csv", "../p.csv").status == 0
    with Path("../p.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 1 + len(NASTY)
    assert all(not cell.startswith(FORMULA) for row in rows for cell in row)
    assert {Path(row[0]).name for row in rows[1:]} == {f"{name}.jpg" for name in NASTY}
    assert all(Path(row[0]).exists() for row in rows[1:])
    spreadsheet.write(Path("cells.csv"), NASTY, [NASTY, [-1, 0.5, None]])
    with Path("cells.csv").open(newline="") as file:
        header, texts, numbers = csv.reader(file)
    assert header == texts == [f"'{cell}" if cell[0] in "=+-@\t\r" else cell for cell in NASTY]
    assert numbers == ["-1", "0.5", ""]


def test_no_name_and_no_label_moves_the_cursor(run: Run, drawn: Path, tmp_path: Path) -> None:
    folder = tmp_path / "\x1b[31mred\x07"
    folder.mkdir()
    photos = [photo.read_bytes() for photo in sorted((drawn / "cat").glob("*.jpg"))[:4]]
    for number, photo in enumerate(photos):
        for label in ("\x1b]0;title\x07", "\u202edog"):
            (folder / label).mkdir(exist_ok=True)
            (folder / label / f"\x1b[{number}A{number}.jpg").write_bytes(photo)
    bad = folder / "\x9b2Jbad.jpg"
    bad.write_bytes(b"no photo")
    one = next(path for path in folder.rglob("*.jpg") if path != bad)
    store = ("--store", tmp_path / "\x1b[7m")
    for words in (
        ("embed", folder, "--weights", "bundled"),
        ("fit-head",),
        ("predict", folder),
        ("similar", one, "--sheet", "s.jpg"),
        ("info",),
        ("verify",),
        ("doctor", folder),
        ("similar", bad),
        ("embed", folder / "\x1bnowhere"),
        ("predict", one, "--weights", "\x1bw"),
    ):
        done = run(*words, *store)
        assert done.out or done.err
        shown = (done.out + done.err).replace("\n", "")
        assert shown.isprintable(), (words, [c for c in shown if not c.isprintable()])
