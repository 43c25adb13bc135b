"""A run on a cluster of three nodes leaves what a run on one machine leaves."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import servers
from clusters import Nodes, held, left_over, merged_meanwhile
from conftest import PHOTOS, Done, Process, need
from embedding import COUNTS, repaint
from sources import as_tar, as_zip, pictures, written

from petrieve.extractor.engines import ray
from petrieve.extractor.sources.sample import draw_sample
from petrieve.extractor.trunks.trunk import lacks
from petrieve.store import pieces
from petrieve.store.cache import Cache
from petrieve.store.photo import path_of

Run = Callable[..., Done]
Start = Callable[..., Process]
ALIKE = (*COUNTS, "labels", "views", "precision")
FOUND = ("found", "unreadable", "passed_over")  # of a source


def both(run: Run, stores: tuple[str | Path, str | Path], *words: object) -> dict[str, Any]:
    """What a run says that leaves two stores alike: one on the cluster, one on this machine."""
    told = []
    for store, on in zip(stores, ("ray", "local"), strict=True):
        done = run("embed", *words, "--store", store, "--on", on, "--json")
        assert done.status == 0, done.err
        sources = {name: [said[one] for one in FOUND] for name, said in done.json["sources"].items()}
        told.append({**{name: done.json[name] for name in ALIKE}, "sources": sources})
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


@pytest.mark.torture
def test_later_runs_on_a_cluster_do_what_they_do_here(
    run: Run, photos: Path, cluster: Nodes, small: None, tmp_path: Path
) -> None:
    """Zips, tars and Parquet files; then photos that changed, went, and came back with what a CSV said of them."""
    boxes = tmp_path / "boxes"
    boxes.mkdir()
    as_zip(photos / "cat", boxes / "a.zip")
    as_tar(photos / "dog", boxes / "b.tar.gz")
    written(boxes / "c.parquet", {"image": pictures(photos / "cat")[:5]})
    said = tmp_path / "said.csv"
    files = sorted(photos.rglob("*.*"))
    said.write_text("photo,label,price\n" + "".join(f"{file},pet,{n}\n" for n, file in enumerate(files)))
    stores = tmp_path / "on ray", tmp_path / "here"
    both(run, stores, boxes, photos, "--labels", said, "--weights", "bundled", "--precision", "float32")
    for file in files[:3]:
        repaint(file, "teal")
    files[5].unlink()
    kept = files[6].read_bytes()
    files[6].unlink()
    ids = row_ids(stores[0])
    assert both(run, stores, boxes, photos, "--precision", "float32", "--prune")["missing"] == 2
    assert {path: ids[path] for path in map(str, files[:3])}.items() <= row_ids(stores[0]).items()
    files[6].write_bytes(kept)
    both(run, stores, boxes, photos, "--precision", "float32", "--views", 1)
    assert run("verify", "--store", stores[0], "--precision", "float32").status == 0


def row_ids(store: Path) -> dict[str, int]:
    """The ids of all photos' rows, by path."""
    rows = (row for batch in Cache.open(store).every_photo() for row in batch.to_pylist())
    return {path_of(row["root"], row["uri"]): row["_rowid"] for row in rows}


@pytest.mark.torture
def test_a_node_without_credentials_gets_no_work_and_a_line_says_why(
    run: Run, few: Path, bucket: Any, cluster: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers.put_folder(bucket, few, "pets/")
    with monkeypatch.context() as without:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            without.delenv(name)
        poor = cluster.add(num_cpus=2)
    cluster.proxy.fault = lambda asked: None if "authorization" in asked.headers else "403"
    source = f"s3://{bucket.name}/pets"
    done = run("embed", source, "--store", f"s3://{bucket.name}/s", "--weights", "bundled", "--on", "ray", "--json")
    cluster.ray.remove_node(poor)
    assert done.status == 0, done.err
    assert (done.json["embedded"], done.json["unreadable"]) == (6, 0)
    assert f"gets no work: no access to s3://{bucket.name}; see to its network and to its own credentials" in done.err


@pytest.mark.torture
def test_workers_merge_pieces_while_a_run_goes_on(
    run: Run, drawn: Path, cluster: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "SIZES", ((16, 2), (64, 2)))
    monkeypatch.setattr(ray, "MIN_UNIT", 1)
    monkeypatch.setattr(ray, "WINDOW", 0.1)
    stores = tmp_path / "on ray", tmp_path / "here"
    assert both(run, stores, drawn, "--weights", "bundled", "--precision", "float32")["embedded"] == 40
    assert merged_meanwhile(stores[0])
    assert not left_over(stores[0])


@pytest.mark.torture
def test_a_precision_that_is_fitted_to_photos_gives_the_same_store(
    run: Run, cluster: Nodes, small: None, tmp_path: Path
) -> None:
    if why := lacks("cpu", "int8"):
        pytest.skip(why)
    draw_sample(tmp_path / "many", photos=170)
    stores = tmp_path / "on ray", tmp_path / "here"
    told = both(run, stores, tmp_path / "many", "--weights", "bundled", "--precision", "int8")
    assert (told["embedded"], told["precision"]) == (170, "int8")


@pytest.mark.torture
@pytest.mark.real
def test_real_photos_are_embedded_alike(run: Run, cluster: Nodes, small: None, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    for file in sorted(need(PHOTOS).rglob("*.jpg"))[:24]:
        shutil.copy(file, real / f"{len(os.listdir(real))}.jpg")
    assert both(run, (tmp_path / "on ray", tmp_path / "here"), real, "--weights", "bundled")["embedded"] == 24


def test_without_the_extra_all_but_clusters_works(start: Start, few: Path, tmp_path: Path) -> None:
    """Nothing imports Ray where it is not asked for."""
    none = "import sys; sys.modules['ray'] = None"
    words = ("embed", few, "--weights", "bundled", "--store", tmp_path / "s")
    assert start(*words, first=none).done().status == 0
    repaint(next(few.rglob("*.*")), "teal")
    refused = start(*words, "--on", "ray", first=none).done()
    assert refused.status == 1
    assert 'pip install "petrieve[ray]"' in refused.err
