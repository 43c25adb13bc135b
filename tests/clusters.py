"""A Ray cluster of three nodes on this machine, joined as a user joins one; and all that a store holds, as sets."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import servers

from petrieve.extractor.engines import ray
from petrieve.store.cache import Cache
from petrieve.store.key import Key, where
from petrieve.store.photo import path_of
from petrieve.store.tables import address

SMALL = {"num_cpus": 1, "object_store_memory": 100 << 20}
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Nodes:
    """A cluster, and the S3 before which a proxy stands that all its nodes know as their own."""

    ray: Any  # ray.cluster_utils.Cluster
    proxy: servers.Proxy

    def add(self, **has: Any) -> Any:
        """A new node."""
        return self.ray.add_node(**{**SMALL, **has})

    def remove(self) -> None:
        """End a node as it stands, not the head."""
        self.ray.remove_node(self.ray.worker_nodes.copy().pop(), allow_graceful=False)

    def workers(self, at: tuple[str, ...] = ("Worker", "embed", "merge")) -> list[int]:
        """The processes of our workers on all nodes, or of those that are at this now."""
        does = tuple(f"ray::{what}".encode() for what in at)
        raylets = {one.process.pid for node in self.ray.list_all_nodes() for one in node.all_processes["raylet"]}
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                title = (process / "cmdline").read_bytes()  # what it does; Ray's own agents are called so, too
                if parent in raylets and title.startswith(does):
                    found.append(int(process.name))
        return found

    def wait_for_workers_to_end(self) -> None:
        """All workers end by themselves."""
        until = time.monotonic() + 30
        while self.workers() and time.monotonic() < until:
            time.sleep(0.1)
        assert not self.workers()

    def kill_who_asks(self, port: int) -> bool:
        """Kill the worker whose connection has this port on its side; whether there is one."""
        tcp = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        inodes = {f"socket:[{line[9]}]" for line in tcp if line[1].endswith(f":{port:04X}")}
        for worker in self.workers():
            with suppress(OSError):
                if any(os.readlink(file) in inodes for file in Path(f"/proc/{worker}/fd").iterdir()):
                    os.kill(worker, signal.SIGKILL)
                    return True
        return False


@pytest.fixture(scope="session")
def three_nodes(moto: str) -> Iterator[Nodes]:
    """Ray's own cluster of three nodes with a core each."""
    from ray.cluster_utils import Cluster

    with servers.proxied(moto) as proxy:
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                patch.delenv(name)
            for name, value in servers.environment(proxy.endpoint).items():  # nodes are started with it
                patch.setenv(name, value)
            head = {**SMALL, "include_dashboard": False}
            made = Nodes(Cluster(initialize_head=True, head_node_args=head), proxy)
            for _ in range(2):
                made.add()
        try:
            yield made
        finally:
            made.ray.shutdown()


@pytest.fixture
def cluster(three_nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """The same, whole, and named by the environment as on a machine of a cluster; its proxy is that of all buckets."""
    for name, value in servers.environment(three_nodes.proxy.endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_ADDRESS", three_nodes.ray.address)
    while len(three_nodes.ray.worker_nodes) < 2:
        three_nodes.add()
    three_nodes.wait_for_workers_to_end()  # of the test before
    yield three_nodes
    three_nodes.proxy.fault, three_nodes.proxy.delay = (lambda _: None), 0.0


def held(store: Path | str) -> tuple[Counter[Row], Counter[Row]]:
    """All that a store holds: photos without the ids of their rows, and embeddings bit by bit."""
    cache = Cache.open(store)
    photos = Counter(
        (path_of(row["root"], row["uri"]), *(str(row[name]) for name in sorted(row) if name != "_rowid"))
        for batch in cache.every_photo()
        for row in batch.to_pylist()
    )
    vectors = Counter(
        (row["digest"], row["view"], row["checksum"], vector.tobytes())
        for batch, some in cache.every_vector()
        for row, vector in zip(batch.to_pylist(), some, strict=True)
    )
    return photos, vectors


def left_over(store: Path | str) -> set[str]:
    """Data files of a store, wherever it lies, that no version of its tables names."""
    import lance

    there = where(store, near=False)
    files = [str(file) for file in (there.iterdir() if isinstance(there, Key) else there.rglob("*"))]
    found = set()
    for table in {file.rpartition("/_versions/")[0] for file in files if "/_versions/" in file}:
        place = {**address(there), "uri": table}
        named = {
            f"{table}/data/{file.path}"
            for version in lance.dataset(**place).versions()
            for piece in lance.dataset(**place, version=version["version"]).get_fragments()
            for file in piece.metadata.files
        }
        assert named, table
        found |= {file for file in files if file.startswith(f"{table}/data/") and file not in named}
    return found


def merged_meanwhile(store: Path | str) -> bool:
    """Whether pieces of a store's embeddings were merged, and others were added after that."""
    import lance
    from lance import LanceOperation

    table = lance.dataset(**address(Cache.open(store).folder.vectors))
    made = [type(table.read_transaction(one["version"]).operation) for one in table.versions()[1:]]
    return LanceOperation.Rewrite in made and LanceOperation.Append in made[made.index(LanceOperation.Rewrite) :]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of a few photos, so that few photos are many units."""
    monkeypatch.setattr(ray, "MIN_UNIT", 4)
