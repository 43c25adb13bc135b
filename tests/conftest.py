"""What the tests share: drawn photos, a store made of them, and the commands as a user types them."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import cli
from extractor.engines.local import View, load
from extractor.sources.folder import read_photo
from extractor.sources.sample import draw_sample
from extractor.trunks.kinds import FIRST
from store.cache import Cache
from store.folder import Folder, Made, Store, read_card
from store.photo import Photo, path_of
from store.rows import Embedded, Unreadable, own, photo_of

# As the commands have it, before a library starts its threads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "10")
ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
PHOTOS, ODD = SHARED / "photos", SHARED / "odd"


@dataclass(frozen=True)
class Done:
    """What a command left: exit status, stdout, stderr."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(scope="session")
def run() -> Callable[..., Done]:
    """Run a command through the door that the `petrieve` command and cli.py use."""

    def command(*words: object) -> Done:
        out, err = io.StringIO(), io.StringIO()
        before = sys.argv
        sys.argv = ["cli.py", *map(str, words)]
        status: object = 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                cli.main()
            except SystemExit as stop:
                status = stop.code
            finally:
                sys.argv = before
        if isinstance(status, str):  # the interpreter prints it and exits with 1
            return Done(1, out.getvalue(), err.getvalue() + status + "\n")
        return Done(int(status or 0), out.getvalue(), err.getvalue())

    return command


class Process(subprocess.Popen[str]):
    """A command in a process of its own, at the head of a group that can be killed as a whole."""

    def __init__(self, *words: object) -> None:
        command = [sys.executable, str(ROOT / "cli.py"), *map(str, words)]
        pipe = subprocess.PIPE
        super().__init__(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)

    def wait_for(self, there: Callable[[], object]) -> None:
        """Wait until something holds, or the process has ended."""
        while not there() and self.poll() is None:
            time.sleep(0.005)

    def done(self) -> Done:
        out, err = self.communicate(timeout=300)
        return Done(self.returncode, out, err)

    def kill_group(self) -> Done:
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        return self.done()


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Start a command in a process of its own; none outlives the test."""
    started: list[Process] = []

    def command(*words: object) -> Process:
        started.append(Process(*words))
        return started[-1]

    yield command
    for one in started:
        one.kill_group()


DIMENSION = FIRST.dimension


def nothing_there(digest: bytes) -> None:
    """What a new store has of a content."""


def seen(photo: Photo) -> View | Unreadable | None:
    """What reading and decoding a photo gives."""
    return load(read_photo(photo), there=nothing_there).seen


def said_in(cache: Cache) -> dict[str, dict[str, Any]]:
    """Label, split and the user's own columns of all photos, by path."""
    rows = [row for batch in cache.photos(["root", "uri", *cache.columns()]) for row in batch.to_pylist()]
    return {path_of(row["root"], row["uri"]): {name: row[name] for name in cache.columns()} for row in rows}


def empty_store(store: Path) -> Cache:
    """A new store without photos, of a trunk that does not exist."""
    return Cache.create(Store(store), Made(FIRST.name, "planted", "bundled"), dimension=DIMENSION)


def of_trunk(store: Path) -> Folder:
    """What lies in a store's folder of its first trunk."""
    card = read_card(Store(store))
    assert card
    return Store(store).folder(card.trunks[0])


def whole(cache: Cache) -> dict[str, Embedded]:
    """All photos of a cache with the embeddings of all their views, by path."""
    names = own(cache.photo_schema)
    rows = [row for batch in cache.photos(cache.photo_schema.names) for row in batch.to_pylist()]
    held = cache.views_of({row["digest"] for row in rows})
    found = [
        Embedded(photo_of(row, names), row["digest"], row["width"], row["height"], held[row["digest"]]) for row in rows
    ]
    return {one.photo.path: one for one in found}


def table(store: Path) -> dict[str, tuple[int, bytes, bytes]]:
    """Row id, digest and the embedding's bits by path, straight from the table: each photo has one row there."""
    found: dict[str, tuple[int, bytes, bytes]] = {}
    for photos, embeddings in Cache.open(store).embeddings():
        for row, vector in zip(photos.to_pylist(), embeddings, strict=True):
            path = path_of(row["root"], row["uri"])
            assert path not in found, f"{path} has two rows"
            found[path] = (row["_rowid"], row["digest"], vector.tobytes())
    return found


def bits(store: Path) -> dict[str, tuple[bytes, bytes]]:
    """Digest and the embedding's bits by path: what an undisturbed run and any other have in common."""
    return {path: row[1:] for path, row in table(store).items()}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test works in a folder of its own, without the user's settings."""
    monkeypatch.chdir(tmp_path)
    for name in ("PETRIEVE_STORE", "PETRIEVE_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 drawn photos in cat/ and dog/; not to be written to."""
    folder = tmp_path_factory.mktemp("drawn")
    draw_sample(folder, photos=40)
    return folder


@pytest.fixture
def photos(drawn: Path, tmp_path: Path) -> Path:
    """A copy of the drawn photos, the test's own."""
    return Path(shutil.copytree(drawn, tmp_path / "photos"))


@pytest.fixture(scope="session")
def made_store(drawn: Path, run: Callable[..., Done], tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("made") / "store"
    assert run("embed", drawn, "--store", store, "--weights", "bundled").status == 0
    assert run("fit-head", "--store", store).status == 0
    return store


@pytest.fixture
def store(made_store: Path, tmp_path: Path) -> Iterator[Path]:
    """A store of the drawn photos with a head, the test's own."""
    return Path(shutil.copytree(made_store, tmp_path / "store"))


def need(folder: Path) -> Path:
    """A folder of real photos, where they are at hand."""
    if not folder.exists():
        pytest.skip(f"{folder.name} is not at hand")
    return folder
