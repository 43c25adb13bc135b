"""A run on a cluster of three nodes leaves what a run on one machine leaves."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import servers
from clusters import Nodes, cluster, held, nodes  # noqa: F401
from conftest import Done
from embedding import COUNTS, repaint
from sources import as_tar, as_zip, pictures, written

from extractor.engines import ray as engine

Run = Callable[..., Done]
ALIKE = (*COUNTS, "labels", "views", "sources", "precision")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of a few photos, so that few photos are many units."""
    monkeypatch.setattr(engine, "FEWEST", 4)


def both(run: Run, stores: tuple[str | Path, str | Path], *words: object) -> dict[str, Any]:
    """What a run says that leaves two stores alike: one on the cluster, one on this machine."""
    told = []
    for store, on in zip(stores, ("ray", "local"), strict=True):
        done = run("embed", *words, "--store", store, "--on", on, "--json")
        assert done.status == 0, done.err
        told.append({name: done.json[name] for name in ALIKE})
    assert told[0] == told[1]
    assert held(stores[0]) == held(stores[1])
    return told[0]


def test_a_store_made_on_a_cluster_is_the_store_made_here(
    run: Run, photos: Path, bucket: Any, cluster: Nodes, small: None, tmp_path: Path
) -> None:
    """Photos and store in a bucket, copies in different units, and a file that is none."""
    for name in ("cat", "dog"):
        shutil.copytree(photos / name, photos / f"{name} again")
    (photos / "cat/bad.jpg").write_bytes(b"no photo")
    servers.put_folder(bucket, photos, "pets/")
    source, stores = f"s3://{bucket.name}/pets", (f"s3://{bucket.name}/on ray", tmp_path / "here")
    first = both(run, stores, source, "--weights", "bundled", "--precision", "float32")
    assert (first["embedded"], first["copied"], first["unreadable"]) == (40, 40, 1)
