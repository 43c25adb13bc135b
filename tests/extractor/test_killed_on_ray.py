"""Whatever is killed while a cluster embeds: no photo is lost, stored twice or blamed wrongly."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import servers
from clusters import Nodes, held, left_over, merged_meanwhile
from conftest import Done, Process
from embedding import NEW, listed, torture

from petrieve.extractor.engines import crew, ray, worker
from petrieve.extractor.engines.cluster import joined
from petrieve.extractor.engines.units import Unit
from petrieve.extractor.sources.folder import Files
from petrieve.store import pieces
from petrieve.store.cache import Cache
from petrieve.store.photo import Photo
from petrieve.store.written import Written

Run = Callable[..., Done]
Start = Callable[..., Process]
# Units and leases are short, and pieces are merged early: by workers, who are told what they merge, and by the driver.
SIZES, WINDOW = ((16, 2), (64, 2)), 0.2
SHORT = (
    f"from petrieve.extractor.engines import ray; ray.FEWEST, ray.WINDOW = 2, {WINDOW}; "
    f"from petrieve.store import lease, pieces; lease.SECONDS, pieces.SIZES = 2, {SIZES}"
)


@pytest.fixture
def drawn_in_bucket(drawn: Path, bucket: Any) -> str:
    servers.put_folder(bucket, drawn, "pets/")
    return f"s3://{bucket.name}/pets"


@pytest.mark.torture
def test_a_photo_that_ends_its_worker_is_found_and_no_other_is_blamed(
    run: Run, drawn_in_bucket: str, cluster: Nodes, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while a node goes."""
    monkeypatch.setattr(crew, "LOOK", 1.0)
    killed: list[float] = []

    def fault(asked: servers.Asked) -> str | None:
        if "milo-1." in asked.path and asked.method == "GET" and cluster.kill_who_asks(asked.port):
            killed.append(time.monotonic())
            if len(killed) == 2:
                cluster.remove()
            return "gone"
        return None

    cluster.proxy.fault = fault
    store = tmp_path / "s"
    done = run("embed", drawn_in_bucket, *NEW, store, "--on", "ray")
    assert done.status == 0, done.err
    assert len(killed) >= ray.KILLS
    [(path, reason)] = listed(store).items()
    assert "milo-1." in path
    assert reason == ray.REASON
    assert (done.json["embedded"], done.json["unreadable"]) == (39, 1)
    assert run("verify", "--store", store, "--sample", 4).status == 0


def kill_actor(cluster: Nodes, driver: Process, chance: random.Random) -> None:
    driver.wait_for(cluster.workers)
    for one in cluster.workers()[:1]:
        os.kill(one, signal.SIGKILL)


def kill_merging(cluster: Nodes, driver: Process, chance: random.Random) -> None:
    """Where one is seen within ten seconds: on a disk merging takes milliseconds."""
    until, merging = time.monotonic() + 10, list[int]()

    def seen() -> bool:
        merging[:] = cluster.workers(("merge",))
        return bool(merging) or time.monotonic() > until

    driver.wait_for(seen)
    for one in merging[:1]:
        os.kill(one, signal.SIGKILL)
    print(f"{len(merging)} seen merging, ", end="")


def kill_node(cluster: Nodes, driver: Process, chance: random.Random) -> None:
    cluster.remove()


def kill_driver(cluster: Nodes, driver: Process, chance: random.Random) -> None:
    driver.kill_group()


def kill_server(cluster: Nodes, driver: Process, chance: random.Random) -> None:
    cluster.proxy.fault = lambda _: "gone"
    time.sleep(10)
    cluster.proxy.fault = lambda _: None


KILLERS = (kill_actor, kill_merging, kill_node, kill_server, kill_driver)


@pytest.mark.parametrize("rounds", torture(1, 50))
@pytest.mark.torture
def test_whatever_is_killed_the_next_run_completes_the_store(
    rounds: int,
    run: Run,
    start: Start,
    bucket: Any,
    drawn: Path,
    cluster: Nodes,
    small: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One round kills workers, a node, the server for ten seconds and the driver; the long form one of them each.

    Pieces are merged meanwhile.
    """
    monkeypatch.setattr(pieces, "SIZES", SIZES)
    monkeypatch.setattr(ray, "WINDOW", WINDOW)
    merged = 0
    servers.put_folder(bucket, drawn, "pets/")
    source = f"s3://{bucket.name}/pets"
    assert run("embed", source, *NEW, tmp_path / "here").status == 0
    for number in range(rounds):
        chance = random.Random(number)
        store = f"s3://{bucket.name}/round {number}" if chance.random() < 0.5 else str(tmp_path / f"round {number}")
        cluster.proxy.delay = 0.1  # so that there is time to kill
        driver = start("embed", source, *NEW, store, "--on", "ray", first=SHORT)
        killers = KILLERS if rounds == 1 else [chance.choice(KILLERS)]
        driver.wait_for(cluster.workers)
        for kill in killers:
            time.sleep(chance.uniform(0, 4 if rounds == 1 else 10))
            kill(cluster, driver, chance)
        cluster.proxy.delay = 0.0
        while len(cluster.ray.worker_nodes) < 2:
            cluster.add()
        driver.done()
        cluster.wait_for_workers_to_end()
        time.sleep(5 if store.startswith("s3") else 0)  # the lease of a killed driver, by a clock of whole seconds
        done = run("embed", source, *NEW, store, "--on", "ray")
        assert done.status == 0, (number, done.err)
        assert held(store) == held(tmp_path / "here"), f"round {number}"
        assert not left_over(store), f"round {number}"
        merged += merged_meanwhile(store)
        assert run("verify", "--store", store, "--sample", 2).status == 0, f"round {number}"
        print(
            f"round {number} is whole after {', '.join(kill.__name__ for kill in killers)}; {merged} merged", flush=True
        )
    assert merged or rounds == 1


@pytest.mark.torture
def test_a_run_that_is_stopped_keeps_what_is_ready_and_leaves_no_worker(
    run: Run, start: Start, drawn_in_bucket: str, cluster: Nodes, tmp_path: Path
) -> None:
    """A second run is refused meanwhile, and told who holds the store; a later one removes what was not kept."""
    store, cluster.proxy.delay = tmp_path / "s", 0.2
    driver = start("embed", drawn_in_bucket, *NEW, store, "--on", "ray", first=SHORT)
    driver.wait_for(lambda: (store / "store.json").exists() and len(Cache.open(store)) > 0)
    second = run("embed", drawn_in_bucket, *NEW, store, "--on", "ray")
    assert second.status == 1
    assert f"process {driver.pid} on" in second.err
    driver.send_signal(signal.SIGINT)
    done = driver.done()
    assert done.status == 128 + signal.SIGINT, done.err
    left = done.json["left"]
    assert f"stopped with {left} photos left; the next `embed` goes on from here" in done.err
    assert len(Cache.open(store)) == 40 - left > 0
    cluster.proxy.delay = 0.0
    assert run("embed", drawn_in_bucket, *NEW, store).json["embedded"] == left
    assert not left_over(store)
    cluster.wait_for_workers_to_end()


@pytest.mark.torture
def test_a_unit_whose_worker_hangs_is_done_by_another(
    run: Run, drawn_in_bucket: str, cluster: Nodes, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is stopped by the system, and is not heard of again."""
    monkeypatch.setattr(crew, "NOTE", 5.0)
    stopped: list[int] = []

    def fault(asked: servers.Asked) -> str | None:
        if not stopped and "milo-1." in asked.path and asked.method == "GET" and cluster.workers():
            stopped.extend(cluster.workers()[:1])
            os.kill(stopped[0], signal.SIGSTOP)
            monkeypatch.setattr(crew, "BOUND", 15.0)
        return None

    cluster.proxy.fault = fault
    done = run("embed", drawn_in_bucket, *NEW, tmp_path / "s", "--on", "ray")
    for one in stopped:
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    assert done.status == 0, done.err
    assert stopped
    assert "s the run waits for" in done.err
    assert done.json["embedded"] == 40


@pytest.mark.torture
def test_a_merge_that_ends_its_worker_blames_no_photo(cluster: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers are made up, and after two of them no other is asked to merge."""
    there = worker.versions()

    class Ending:
        def __init__(self, *words: Any) -> None:
            pass

        def facts(self) -> worker.Facts:
            return worker.Facts("node", "here", "made up", "float32", there, ())

        def load(self, precision: str) -> None:
            pass

        def embed(self, unit: Unit) -> worker.Done:
            time.sleep(0.3)
            count = Counter({(0, "embedded"): len(unit)})
            return worker.Done(Written((), None, (), count, 0, 0), "here", "float32", 0.3, {})  # type: ignore[arg-type]

        def merge(self, _: str) -> str:
            os._exit(1)

    monkeypatch.setattr(crew, "Worker", Ending)
    for name, value in (("MIN_UNIT", 1), ("MAX_UNIT", 1), ("WINDOW", 0.1)):
        monkeypatch.setattr(ray, name, value)
    monkeypatch.setattr(crew, "LOOK", 0.5)
    photos = [Photo("/r", str(number), 1, 2) for number in range(40)]
    job: Any = worker.Job("s", (), {}, None, None, "cpu", False)  # type: ignore[arg-type]
    asked: list[int] = []
    shared: Any = {"weights": {}, "there": None, "lost": None}
    with joined("ray"):
        windows = list(
            ray.results(
                [(Files(photos), photos)],
                frozenset,
                len(photos),
                job=job,
                **shared,
                precision="float32",
                workers=None,
                merges=lambda: asked.append(0) or ["a", "b"],  # type: ignore[func-returns-value]
                tell=print,
            )
        )
    done = sum((one.written.outcomes for window in windows for one in window.done), Counter())
    assert done[0, "embedded"] == len(photos)
    assert [unit for window in windows for unit in window.blamed] == []
    assert any(window.lost for window in windows)
    assert len(asked) == 1
