"""The examples run as they are shown: the notebook from first cell to last, each script in a process of its own."""

import csv
import http.client
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from conftest import ROOT, Done
from nbclient import NotebookClient
from PIL import Image
from servers import free_port, served

import petrieve
from petrieve.extractor.sources.sample import draw_sample

Run = Callable[..., Done]
EXAMPLES = ROOT / "examples"
NOTEBOOK = EXAMPLES / "dogs_vs_cats.ipynb"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


def read(file: Path = NOTEBOOK) -> Any:
    return nbformat.read(file, as_version=4)  # type: ignore[no-untyped-call]


def outputs(notebook: Any) -> Iterator[Any]:
    for cell in notebook.cells:
        yield from cell.get("outputs", ())


def shown(notebook: Any, kind: str) -> list[str]:
    """What its cells show of a MIME type."""
    return [one.data[kind] for one in outputs(notebook) if kind in one.get("data", {})]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Any]]:
    """The folder in which the notebook ran, with nothing of the user's and no way out, and what it showed."""
    folder = tmp_path_factory.mktemp("examples")
    notebook = read()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "TORCH_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        for name in ("HTTPS_PROXY", "https_proxy"):
            patch.setenv(name, "http://127.0.0.1:9")  # nobody listens there: what can be downloaded elsewhere is not
        where = {"metadata": {"path": str(folder)}}
        NotebookClient(notebook, timeout=120, kernel_name="python3", resources=where).execute()
    yield folder, notebook
    (folder / "untrained.pth").unlink()  # 57 MB


@pytest.mark.torture
def test_the_notebook_predicts_and_writes_a_submission(executed: tuple[Path, Any]) -> None:
    folder, _ = executed
    with open(folder / "submission.csv") as file:
        rows = list(csv.DictReader(file))
    dogs = [float(row["label"]) > 0.5 for row in rows]
    assert [int(row["id"]) for row in rows] == list(range(1, 17))
    assert sum(dogs[:8]) <= 1, "the first eight are cats"
    assert sum(dogs[8:]) >= 7


@pytest.mark.torture
def test_the_notebook_finds_the_labels_that_it_planted_and_mends_them(executed: tuple[Path, Any]) -> None:
    folder, notebook = executed
    printed = "".join(one.text for one in outputs(notebook) if one.get("name") == "stdout")
    told = re.search(r"of 80 photos the 6 wrong labels are at places \[(.*)\]", printed)
    assert told
    assert [int(place) for place in told[1].split(",")][3] == 4, "four at least are the worst of all"
    rows = petrieve.open(folder / "pets.petrieve").to_arrow().select(["photo", "label"]).to_pylist()
    assert [row["photo"].partition("/")[0] for row in rows] == [row["label"] for row in rows]


@pytest.mark.torture
def test_the_notebook_shows_look_alikes_and_suspects_as_pictures(executed: tuple[Path, Any]) -> None:
    alike, suspects = (html for html in shown(executed[1], "text/html") if "<img" in html)
    assert alike.count("data:image/jpeg;base64,") == 1 + 7
    assert suspects.count("data:image/jpeg;base64,") >= 5


@pytest.mark.torture
def test_the_notebook_compares_a_second_trunk(executed: tuple[Path, Any]) -> None:
    """It has learned nothing here, where its weights cannot be downloaded."""
    (said,) = (text for text in shown(executed[1], "text/plain") if "precision@5" in text)
    accuracy = {name: float(share) for name, share in re.findall(r"^(densenet\d+)-\w+ +([\d.]+)%", said, re.MULTILINE)}
    assert set(accuracy) == {"densenet121", "densenet169"}
    assert accuracy["densenet121"] > accuracy["densenet169"] > 0


def test_the_notebook_that_is_stored_was_run_and_shows_nothing_of_the_machine() -> None:
    notebook = read()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert {one.output_type for one in outputs(notebook)} <= {"execute_result", "stream"}
    assert not [one for one in outputs(notebook) if one.get("name") == "stderr"]
    text = "\n".join(re.sub(r"base64,[^\"]*", "", json.dumps(one)) for one in outputs(notebook))
    assert not re.search(r"[\"' (](/[a-z]|[A-Z]:\\)", text), "a path of the machine that ran it"
    assert NOTEBOOK.stat().st_size < 400_000


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda one: one.stem)
def test_a_script_is_short_and_stands_in_the_readme(script: Path) -> None:
    lines = [line for line in script.read_text().splitlines() if line.strip()]
    assert len(lines) < 20
    assert f"python {script.name} " in lines[0]
    assert script.name in (EXAMPLES / "README.md").read_text()


def command(script: str, *words: object) -> list[str]:
    return [sys.executable, str(EXAMPLES / script), *map(str, words)]


@contextmanager
def running(*words: object) -> Iterator[subprocess.Popen[str]]:
    """A script that does not end by itself; it ends with the block."""
    process = subprocess.Popen(command(*map(str, words)), stdout=subprocess.PIPE, text=True)  # type: ignore[arg-type]
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def until(there: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


def test_a_folder_is_sorted_and_what_is_unsure_or_unreadable_stands_apart(store: Path, tmp_path: Path) -> None:
    new, inbox, done = tmp_path / "new", tmp_path / "inbox", tmp_path / "sorted"
    draw_sample(new, photos=4, seed=7)
    photos = sorted(new.rglob("*.jpg"))
    inbox.mkdir()
    with running("sort_folder.py", store, inbox, done) as process:
        assert process.stdout
        assert process.stdout.readline() == f"watching {inbox}\n"
        (inbox / "half.jpg").write_bytes(photos[0].read_bytes()[:999])
        Image.effect_noise((300, 300), 90).save(inbox / "noise.png")
        for photo in photos:
            (inbox / photo.name).write_bytes(photo.read_bytes())
        until(lambda: len([one for one in done.rglob("*") if one.is_file()]) == len(photos) + 1)
    assert [one.name for one in inbox.iterdir()] == ["half.jpg"]
    assert (done / "unsure" / "noise.png").exists()
    sorted_ = {one.name: one.parent.name for one in done.rglob("*.jpg")}
    assert all(sorted_[one.name] in (one.parent.name, "unsure") for one in photos)
    assert {"cat", "dog"} <= set(sorted_.values())


def test_a_service_answers_a_photo_with_its_neighbours(store: Path, drawn: Path) -> None:
    port = free_port()
    photo = sorted(drawn.rglob("*.jpg"))[0]
    with served(command("search_service.py", store, port), port):
        status, answer = asked(port, photo.read_bytes())
        assert status == 200
        assert answer["neighbours"] == petrieve.open(store).similar(photo, k=5).document()["neighbours"]
        status, answer = asked(port, b"no photo")
        assert (status, set(answer)) == (400, {"error"})


def asked(port: int, photo: bytes) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/", photo)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_the_comb_lists_near_pairs_that_duplicates_leaves(run: Run, few: Path, tmp_path: Path) -> None:
    copied = sorted(few.rglob("*.jpg"))[0]
    copied.with_name("copy.jpg").write_bytes(copied.read_bytes())
    assert run("embed", few, "--store", tmp_path / "s", "--weights", "bundled").status == 0
    words = command("near_copies.py", tmp_path / "s", 0.2)
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    pairs = [line.split("\t") for line in done.stdout.splitlines()]
    assert pairs
    assert all(0.2 <= float(alike) <= 1 for alike, _, _ in pairs)
    assert not [pair for pair in pairs if {"copy.jpg", copied.name} == {Path(one).name for one in pair[1:]}]
