"""Of too many labelled photos for memory some are drawn, the same each time; the output says how many."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Done
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from planting import cache_of, drawn
from servers import Proxy, put_folder

from petrieve.classifier import labelled
from petrieve.classifier.labelled import read
from petrieve.store import near
from petrieve.store.cache import Cache
from petrieve.store.digests import FEW
from petrieve.store.digests import drawn as drawn_of

Run = Callable[..., Done]
MANY = {"cat": 300, "dog": 250, "rabbit": 6}


def scattered(count: int) -> list[int]:
    """Digests as those of photos are: in no order."""
    return np.random.default_rng(5).permutation(1 << 20)[:count].astype(np.uint64).tolist()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 556 photos, of which some are tested on; a class of six is among them."""
    rows = [*drawn(MANY, split="train"), *drawn({"cat": 60, "dog": 60}, seed=1, split="test")]
    digests = [number << 108 for number in scattered(len(rows))]
    folder = tmp_path_factory.mktemp("many") / "s"
    cache_of(folder, rows, digests)
    return folder


@settings(max_examples=60, deadline=None)
@given(
    groups=arrays.arrays(np.int64, st.integers(1, 120), elements=st.integers(0, 6)),
    most=st.integers(1, 130),
    seed=st.integers(0, 99),
)
def test_the_lowest_are_drawn_and_the_first_of_each_group_before(groups: Any, most: int, seed: int) -> None:
    marks = np.random.default_rng(seed).permutation(len(groups)).astype(np.uint64)
    found = drawn_of(marks, groups, most)
    assert len(found) == len(set(found.tolist())) == min(most, len(groups))
    assert (np.diff(found) > 0).all()
    chosen = np.isin(np.arange(len(groups)), found)
    first = {
        int(place)
        for group in np.unique(groups)
        for place in np.flatnonzero(groups == group)[np.argsort(marks[groups == group])][:FEW]
    }
    if len(first) <= most:
        assert chosen[list(first)].all()
        others = [place for place in range(len(groups)) if place not in first]
        if any(chosen[others]) and not all(chosen[others]):
            assert max(marks[others][chosen[others]]) < min(marks[others][~chosen[others]])
    else:
        assert set(found.tolist()) <= first
    order = np.random.default_rng(seed + 1).permutation(len(groups))  # written in another order
    assert set(order[drawn_of(marks[order], groups[order], most)].tolist()) == set(found.tolist())
    more = drawn_of(marks, groups, most + 1)
    assert len(set(found.tolist()) - set(more.tolist())) == 0


def test_what_is_drawn_is_the_same_each_time_and_has_all_classes_and_splits(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = read(Cache.open(store))
    assert (len(every), every.of) == (676, 676)
    monkeypatch.setattr(labelled, "MAX_EMBEDDINGS", 200)
    some = read(Cache.open(store), bounded=True)
    assert (len(some), some.of) == (200, 676)
    assert some.there == every.there
    assert some.paths == sorted(some.paths) == read(Cache.open(store), bounded=True).paths
    assert {(label, split) for label, split in zip(some.labels, some.splits, strict=True)} == set(every.there)
    assert (some.labels == "rabbit").sum() == 6
    places = [every.paths.index(path) for path in some.paths]
    assert (some.embeddings == every.embeddings[places]).all()
    assert (some.digests == every.digests[places]).all()
    monkeypatch.setattr(labelled, "MAX_EMBEDDINGS", 676)
    assert read(Cache.open(store), bounded=True).paths == every.paths


def test_audit_and_report_say_how_many_of_how_many_were_looked_at(
    run: Run, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("fit-head", "--store", store).status == 0
    page = tmp_path / "report.html"
    monkeypatch.setattr(labelled, "MAX_EMBEDDINGS", 300)
    done = run("audit", "--store", store, "--json")
    assert (done.json["photos"], done.json["of"], len(done.json["ranked"])) == (300, 676, 300)
    said = "300 of 676 labelled photos were looked at, drawn by their digests"
    assert said in run("audit", "--store", store).out
    assert said in run("report", "--store", store, "--out", page).out
    assert "300 of the 676 labelled" in " ".join(page.read_text().split())
    monkeypatch.setattr(labelled, "MAX_EMBEDDINGS", 676)
    done = run("report", "--store", store, "--out", page, "--json")
    assert (done.json["photos"], done.json["of"]) == (676, 676)
    assert "drawn by their digests" not in page.read_text()


def test_a_head_on_very_many_photos_is_fitted_from_a_file_and_that_is_said(
    run: Run, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelled, "MAX_EMBEDDINGS", 675)
    done = run("fit-head", "--store", store, "--l2", 100, "--json")
    assert (done.status, done.json["method"]) == (0, "linear")
    assert "note: 676 labelled photos are fitted from a file, as by `--method linear`" in done.err
    done = run("fit-head", "--store", store, "--method", "logistic", "--l2", 100, "--json")  # what is asked for is done
    assert (done.json["method"], done.err) == ("logistic", "")
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2000}[name])
    done = run("fit-head", "--store", store, "--method", "logistic")
    assert (done.status, done.out, "use `--method linear`" in done.err) == (1, "", True)


def test_rows_are_read_from_a_table_in_a_bucket_that_is_too_large_to_be_copied(
    run: Run, store: Path, bucket: Any, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near_by = tmp_path / "near"
    monkeypatch.setenv("XDG_CACHE_HOME", str(near_by))
    monkeypatch.setattr(near, "MOST_BYTES", 0)
    put_folder(bucket, store, "pets.petrieve/")
    words = ("fit-head", "--method", "linear", "--l2", 100, "--json", "--store")
    there, here = run(*words, f"s3://{bucket.name}/pets.petrieve"), run(*words, store)
    assert there.status == 0, there.err
    assert {**there.json, "seconds": 0} == {**here.json, "seconds": 0}
    kept = {file.name: file.stat().st_size for file in near_by.rglob("*") if file.is_file()}
    assert not [name for name in kept if name.endswith(".lance")]
    assert sum(kept.values()) < 100_000, kept  # of 1.4 MB of embeddings
