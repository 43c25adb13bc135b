"""The codes of an index are made slice by slice, and are the same whoever makes them."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from clusters import Nodes
from conftest import Done, Process
from planting import KIND, empty_store, made_up
from safetensors.numpy import load_file
from servers import put_folder

from petrieve.extractor.engines.cluster import joined
from petrieve.index import build
from petrieve.index.codes import encode, inverted, on_ray, update
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError
from petrieve.store.known import known, nothing
from petrieve.store.rows import row_ids, unit_length
from petrieve.store.slices import slices

ROWS = 160  # of a slice: the store below has three slices
Run = Callable[..., Done]
Start = Callable[..., Process]
OURS = f"from petrieve.index.codes import encode; encode.ROWS = {ROWS}"


@pytest.fixture
def pieces(tmp_path: Path) -> Cache:
    """A cache of 450 photos in nine pieces; one of them has been forgotten, and one has other bytes than before."""
    cache = empty_store(tmp_path / "pieces")
    for start in range(0, 450, 50):
        cache.commit([made_up(n, n) for n in range(start, start + 50)], nothing())
    cache.forget(["/made-up/7.jpg"], known(cache))
    cache.commit([made_up(60, 1060)], known(cache))
    return Cache.open(cache.store.path)


@pytest.fixture
def in_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "ROWS", ROWS)


def by_hand(cache: Cache, kind: str) -> dict[str, np.ndarray]:
    """The numbers of an index to which one thread adds all photos, batch by batch."""
    drawn, (ids, _) = np.random.default_rng(0), cache.marks()
    fitted_to = max(update.FITTED_TO * inverted.lists_of(kind), inverted.LEARNED)
    made = inverted.train(kind, update._unit(cache, update._drawn(ids, fitted_to, drawn)))
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    for photos, embeddings in cache.vectors():
        made.add_with_ids(unit_length(embeddings), row_ids(photos))
    faiss.omp_set_num_threads(threads)
    return inverted.numbers(made)


def same_file(cache: Cache, wanted: dict[str, np.ndarray]) -> None:
    found = load_file(cache.folder.index)
    for name, numbers in wanted.items():
        assert np.array_equal(found[name], numbers), name


@pytest.mark.parametrize("kind", [KIND, "IVF4,Flat", "RR64,IVF4,SQ6", "IVF4,PQ8x4", "OPQ8_64,IVF4,SQfp16"])
def test_three_slices_give_the_index_that_one_process_gives(pieces: Cache, in_three: None, kind: str) -> None:
    wanted = by_hand(pieces, kind)
    update.update(pieces, kind=kind)
    assert len(slices(pieces, encode.ROWS)) == 3
    same_file(pieces, wanted)
    assert len(wanted["ids"]) == 449


def test_slices_change_nothing_that_is_said_of_the_index(pieces: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    cards = []
    for rows in (ROWS, 50, 10**6):
        monkeypatch.setattr(encode, "ROWS", rows)
        card = update.build_anew(pieces, kind="PCA64,IVF8,SQ8", target=0.97).card
        cards.append((card.lists, card.shortlist, card.recall))
    assert cards[0] == cards[1] == cards[2]
    assert cards[0][2] > 0.9


def test_three_slices_on_ray_give_the_same_index(pieces: Cache, in_three: None, start: Start, tmp_path: Path) -> None:
    other = Cache.open(shutil.copytree(pieces.store.path, tmp_path / "other"))
    update.update(pieces, kind=KIND)
    done = start("build-index", "--store", other.store.path, "--kind", KIND, "--on", "ray", first=OURS).done()
    assert (done.status, done.err) == (0, "note: an index of 450 photos is built\n")
    same_file(other, load_file(pieces.folder.index))


def test_no_cluster_is_joined_where_no_index_is_wanted(run: Run, many: Cache) -> None:
    """Nobody listens there."""
    many.folder.index.unlink()
    done = run("build-index", "--store", many.store.path, "--on", "ray://127.0.0.1:1", "--json")
    assert done.status == 0, done.err
    assert done.json["kind"] == build.FLAT


@pytest.mark.torture
def test_slices_of_a_bucket_on_ray_give_the_same_index(
    pieces: Cache, in_three: None, bucket: Any, cluster: Nodes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "near"))
    put_folder(bucket, Path(str(pieces.store.path)), "pets.petrieve/")
    update.update(pieces, kind=KIND)
    wanted, there = load_file(pieces.folder.index), Cache.open(f"s3://{bucket.name}/pets.petrieve")
    with joined("ray"):
        update.update(there, kind=KIND, encoded=on_ray.encoded)
    pieces.folder.index.write_bytes(there.folder.index.read_bytes())
    same_file(pieces, wanted)


@pytest.mark.torture
def test_a_slice_that_cannot_be_read_on_ray_is_one_line(pieces: Cache, in_three: None, cluster: Nodes) -> None:
    fitted = inverted.numbers(inverted.train("IVF4,SQ8", unit_length(pieces.sample(100)[1])))
    job = encode.Job("IVF4,SQ8", fitted, pieces.marks()[0], unit_length(pieces.sample(2)[1]), 11)
    one, *others = slices(pieces, ROWS)
    with joined("ray"), pytest.raises(PetrieveError, match="cannot read the embeddings"):
        list(on_ray.encoded(job, [one, replace(one, version=10**6), *others]))


def test_where_codes_are_made_is_one_of_three_places(run: Run) -> None:
    done = run("build-index", "--on", "mars")
    assert (done.status, done.out, "nothing runs on 'mars'" in done.err) == (1, "", True)
