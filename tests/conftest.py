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
from uuid import uuid4

import pyarrow.dataset  # noqa: F401  with pandas, from which a command would keep it
import pytest
import servers
from clusters import cluster as cluster
from clusters import small as small
from clusters import three_nodes as three_nodes
from planting import KIND, planted

from petrieve import cli
from petrieve.extractor.sources.sample import draw_sample
from petrieve.index.codes import update
from petrieve.store.cache import Cache
from petrieve.store.photo import path_of

# As the commands have it, before a library starts its threads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "10")
# No test joins a cluster that happens to run here: who wants one says which.
os.environ["RAY_ADDRESS"] = "local"
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
    """A command in a process of its own, at the head of a group that can be killed as a whole.

    `first` is what the process does before: a constant is another, say.
    """

    def __init__(self, *words: object, first: str = "") -> None:
        code = f"import sys; {first}; from petrieve import cli; cli.main()"
        program = ["-c", code] if first else [str(ROOT / "cli.py")]
        command = [sys.executable, *program, *map(str, words)]
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

    def command(*words: object, first: str = "") -> Process:
        started.append(Process(*words, first=first))
        return started[-1]

    yield command
    for one in started:
        one.kill_group()


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
def own_folder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test works in a folder of its own, without the user's settings and without what this machine keeps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "near"))
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


@pytest.fixture
def pets(photos: Path) -> Path:
    """Three cats and three dogs."""
    for kind in ("cat", "dog"):
        for extra in sorted((photos / kind).iterdir())[3:]:
            extra.unlink()
    return photos


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


@pytest.fixture(scope="session")
def made_none_left(drawn: Path, run: Callable[..., Done], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("none-left")
    for photo in sorted((drawn / "cat").iterdir())[:6]:
        shutil.copy(photo, folder)
    assert run("embed", folder, "--store", folder / ".s", "--weights", "bundled").status == 0
    for photo in folder.glob("*.*"):
        if photo.is_file():
            photo.write_bytes(b"no photo")
    assert "none of 6 photos can be read" in run("embed", folder, "--store", folder / ".s").err
    return folder / ".s"


@pytest.fixture
def none_left(made_none_left: Path, tmp_path: Path) -> Path:
    """A store of six photos of which none can be read any more, the test's own."""
    return Path(shutil.copytree(made_none_left, tmp_path / "none-left"))


def need(folder: Path) -> Path:
    """A folder of real photos, where they are at hand."""
    if not folder.exists():
        pytest.skip(f"{folder.name} is not at hand")
    return folder


@pytest.fixture(scope="session")
def made_many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "s"
    update.update(planted(folder, {("cat", None): 200, ("dog", None): 200}), kind=KIND)
    return folder


@pytest.fixture
def many(made_many: Path, tmp_path: Path) -> Cache:
    """A cache of 400 made-up photos with an index of codes, the test's own."""
    return Cache.open(shutil.copytree(made_many, tmp_path / "many"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty disk of 2 MB; it takes a right to mount that most users have not."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], capture_output=True)


def fill(disk: Path, *, leave: int) -> Path:
    """A file that takes all room of a disk but these many bytes."""
    space = os.statvfs(disk)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(max(0, space.f_bavail * space.f_frsize - leave)))
    return ballast


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The endpoint of an S3 server."""
    with servers.moto_server() as endpoint:
        yield endpoint


@pytest.fixture
def proxy(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[servers.Proxy]:
    """A proxy before that server, which the environment names as the endpoint of all buckets."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with servers.proxied(moto) as one:
        for name, value in servers.environment(one.endpoint).items():
            monkeypatch.setenv(name, value)
        yield one


@pytest.fixture
def bucket(moto: str) -> Any:
    """A new bucket there."""
    return servers.made_bucket(moto, f"pets-{uuid4().hex[:12]}")


@pytest.fixture
def few(photos: Path) -> Path:
    """Six photos."""
    for extra in sorted(photos.rglob("*.*"))[6:]:
        extra.unlink()
    return photos
