"""Joining a cluster: a head as `ray start` makes it, with a token, on the loopback; or one of this machine alone."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT, Done, Process, bits
from servers import KEYS, free_port

from petrieve.extractor.engines import cluster

pytest.importorskip("ray")
RAY = Path(sys.executable).with_name("ray")
TOKEN = secrets.token_hex(32)
Start = Callable[..., Process]


@dataclass(frozen=True)
class Head:
    """A cluster's head: where what listens."""

    client: str
    gcs: str
    dashboard: str

    def environment(self) -> dict[str, str]:
        """What the environment says to those who are let in, and take the loopback for what it is."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    ports = [free_port() for _ in range(3)]
    gcs, client, dashboard = ports
    words = ["start", "--head", "--block", f"--port={gcs}", f"--ray-client-server-port={client}", "--num-cpus=2"]
    words += [f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1", "--object-store-memory=104857600"]
    environment = Head("", "", "").environment() | {"RAY_USAGE_STATS_ENABLED": "0"}
    folder = Path("/tmp", f"petrieve-test-{os.getpid()}")
    log = tmp_path_factory.mktemp("head") / "log"
    with log.open("w") as out:
        started = subprocess.Popen(
            [RAY, *words, f"--temp-dir={folder}"],
            env={**os.environ, **environment},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        wait_for(lambda: "Ray runtime started" in log.read_text() or started.poll() is not None, 120)
        assert started.poll() is None, log.read_text()
        yield Head(f"ray://127.0.0.1:{client}", f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard}")
    finally:
        end(started)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(there: Callable[[], object], seconds: float) -> None:
    ends = time.monotonic() + seconds
    while not there() and time.monotonic() < ends:
        time.sleep(0.1)


def end(started: subprocess.Popen[bytes]) -> None:
    """End a process of ours, and all that it has started."""
    for number, seconds in ((signal.SIGTERM, 5), (signal.SIGKILL, 10)):
        with suppress(ProcessLookupError):
            os.killpg(started.pid, number)
        with suppress(subprocess.TimeoutExpired):
            started.wait(seconds)


def told(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    """Have nothing but these say where a cluster is."""
    for name in [name for name in os.environ if name.startswith(("RAY_", "AWS_"))]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def embed(start: Start, pets: Path, store: Path | str, on: str, *words: object) -> Done:
    return start("embed", pets, "--store", store, "--weights", "bundled", "--on", on, "--json", *words).done()


def test_a_cluster_joined_by_ray_s_client_gives_the_local_store(
    head: Head, pets: Path, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(monkeypatch, head.environment())
    done = embed(start, pets, tmp_path / "far", head.client, "--workers", 2)  # one more than there is room for
    assert done.status == 0, done.err
    assert done.err.splitlines() == ["note: 1 node, 1 worker (1 × 2 cores), " + done.json["precision"]]
    assert start("embed", pets, "--store", tmp_path / "near", "--weights", "bundled").done().status == 0
    assert bits(tmp_path / "far") == bits(tmp_path / "near")


@pytest.mark.torture
def test_who_has_no_token_is_told_so_in_one_line(
    head: Head, pets: Path, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(monkeypatch, {"HOME": str(tmp_path)})
    done = embed(start, pets, tmp_path / "s", head.client)
    assert (done.status, done.out, len(done.err.splitlines())) == (1, "", 1), done.err
    assert "asks for its token; set RAY_AUTH_MODE=token" in done.err


@pytest.mark.torture
def test_a_job_runs_on_the_cluster_that_it_was_submitted_to(
    head: Head, pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(monkeypatch, head.environment())
    entry = [sys.executable, str(ROOT / "cli.py"), "embed", str(pets), "--store", str(tmp_path / "s")]
    entry += ["--weights", "bundled", "--on", "ray", "--json"]
    own = {"env_vars": {"OMP_WAIT_POLICY": "PASSIVE"}}  # what we name too
    words = ["job", "submit", "--address", head.dashboard, "--runtime-env-json", json.dumps(own), "--", *entry]
    for _ in range(10):
        done = subprocess.run([RAY, *words], capture_output=True, text=True, timeout=240)
        if "No available agent" not in done.stderr:  # it starts after the head says that it runs
            break
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(bits(tmp_path / "s")) == 6


@pytest.mark.torture
def test_another_ray_is_named_with_what_to_do(
    head: Head, pets: Path, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(monkeypatch, head.environment() | {"RAY_ADDRESS": head.gcs})
    first = "import ray; ray.__version__ = '2.59.1'"  # as Ray's own comparison reads it
    done = start("embed", pets, "--store", tmp_path / "s", "--weights", "bundled", "--on", "ray", first=first).done()
    assert (done.status, done.out, len(done.err.splitlines())) == (1, "", 1), done.err
    assert "has Ray 2.60.0 (here 2.59.1)" in done.err
    assert "install the same here" in done.err


@pytest.mark.parametrize("on", ["ray://127.0.0.1:{}", "ray"])
def test_where_nobody_listens_is_said_at_once(
    on: str, pets: Path, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    told(monkeypatch, {"RAY_ADDRESS": f"127.0.0.1:{port}"})
    began = time.monotonic()
    done = embed(start, pets, tmp_path / "s", on.format(port))
    assert (done.status, done.out, len(done.err.splitlines())) == (1, "", 1)
    assert f"nothing listens at {on.format(port) if ':' in on else f'127.0.0.1:{port}'}; see that" in done.err
    assert time.monotonic() - began < 30


def test_without_the_extra_its_name_is_said(pets: Path, tmp_path: Path, start: Start) -> None:
    first = "import sys; sys.modules['ray'] = None"
    done = start("embed", pets, "--store", tmp_path / "s", "--weights", "bundled", "--on", "ray", first=first).done()
    assert (done.status, done.out) == (1, "")
    assert 'Ray, which is not installed; run `pip install "petrieve[ray]"`' in done.err


# What a worker sees, said by one that a run's own way of joining has started.
ASKED = """
import json, os, sys
from petrieve.extractor.engines.cluster import joined
with joined("ray"):
    import ray
    import psutil  # Ray brings it
    @ray.remote
    def seen():
        from petrieve import extractor, store
        files = [os.path.join(at, one) for at, _, some in os.walk(os.getcwd()) for one in some]
        return {"extractor": extractor.__file__, "store": store.__file__, "cwd": os.getcwd(), "path": sys.path,
                "endpoint": os.environ.get("AWS_ENDPOINT_URL"), "files": [os.path.relpath(one) for one in files],
                "size": sum(map(os.path.getsize, files))}
    worker = ray.get(seen.remote())
    all = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = {one.laddr.ip for each in all for one in each.net_connections("inet") if one.status == "LISTEN"}
    job = json.dumps(ray.get_runtime_context().runtime_env)
    from ray.experimental.internal_kv import _internal_kv_get
    from petrieve.extractor.engines.cluster import want
    asked = []
    for places in (3, 0):
        want(places, {"CPU": 2})
        asked.append(json.loads(_internal_kv_get("autoscaler_resource_request")))
    usage = {each.environ().get("RAY_USAGE_STATS_ENABLED") for each in all[1:] if "raylet" in each.name()}
    ray.shutdown()
    try:
        ray.put(1)
    except Exception:
        pass
    anew = ray.is_initialized()
found = {"worker": worker, "listening": sorted(listening), "job": job, "usage": sorted(usage), "asked": asked,
         "anew": anew}
print(json.dumps(found))
"""


def test_a_cluster_of_this_machine_alone_listens_to_it_alone_and_runs_our_code_and_holds_no_keys(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    place = Path(f"/tmp/pt-{os.getpid()}")  # the paths of sockets are short
    place.mkdir()
    where = {"RAY_ADDRESS": "local", "HOME": str(home), "RAY_TMPDIR": str(place)}
    told(monkeypatch, {**KEYS, **where, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    (photos / "petrieve").mkdir()  # another checkout, in the folder with the photos
    (photos / "petrieve" / "__init__.py").write_text("raise ImportError('not this one')")
    program = tmp_path / "program.py"
    program.write_text(ASKED)
    done = subprocess.run([sys.executable, program], cwd=photos, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert {one.removeprefix("::ffff:") for one in found["listening"]} == {"127.0.0.1"}
    assert found["usage"] == ["0"]
    assert not found["anew"]  # a cluster, by a call after the first has gone
    assert [len(one) for one in found["asked"]] == [3, 0]  # of an autoscaler, and taken back
    worker = found["worker"]
    assert {Path(worker[name]).parents[2] for name in ("extractor", "store")} == {Path(worker["cwd"])}
    assert str(photos) not in worker["path"]
    assert {one.split("/")[0] for one in worker["files"]} == {"petrieve"}
    assert {one.split("/")[1] for one in worker["files"]} == {"__init__.py", "extractor", "index", "store"}
    assert all(one.endswith(".py") for one in worker["files"])
    assert worker["size"] < 2 << 20
    assert worker["endpoint"] == "http://127.0.0.1:9"
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in found["job"]
    assert KEYS["AWS_ACCESS_KEY_ID"] not in found["job"]
    assert not list(home.iterdir())
    place.rmdir()  # it is empty


def test_the_folder_of_a_run_that_was_killed_is_removed_by_the_next(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of a run which goes on stays, and what is somebody else's."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    other = tmp_path / f"{cluster.OURS}of-another"
    other.mkdir()
    begins = "from petrieve.extractor.engines import cluster; one = cluster.own_folder(); one.__enter__()"

    def begun() -> tuple[Process, Path]:
        before, process = {other, *tmp_path.iterdir()}, start(first=f"{begins}; import time; time.sleep(300)")
        process.wait_for(lambda: any(file.parent not in before for file in tmp_path.glob(f"*/{cluster.HELD}")))
        [folder] = {*tmp_path.iterdir()} - before
        return process, folder

    (killed, left), (_, used) = begun(), begun()
    killed.kill_group()
    for folder in (left, used):
        os.utime(folder / cluster.HELD, (0, 0))
    with cluster.own_folder() as own:
        assert set(tmp_path.iterdir()) == {other, used, own}
