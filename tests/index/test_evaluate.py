"""The figures of `evaluate` are those of counting by hand, without near-copies."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Done
from planting import empty_store, kept, planted
from sklearn.metrics import average_precision_score

from petrieve.index import evaluate as measure
from petrieve.index.build import Index, build
from petrieve.index.evaluate import figure, index_recall, per_query
from petrieve.index.search import nearest_of_each

Run = Callable[..., Done]


def test_figures_are_those_of_counting_and_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    similarities, labels = draw.normal(size=(40, 40)), draw.integers(0, 4, 40)
    np.fill_diagonal(similarities, -np.inf)
    alike = labels[:, None] == labels
    precision, recall, average, possible, precision_possible = per_query(similarities, alike)
    for query in range(40):
        order = [n for n in np.argsort(-similarities[query]) if n != query]
        hits = [bool(alike[query, n]) for n in order]
        assert precision[query] == sum(hits[:5]) / 5
        assert recall[query] == sum(hits[:10]) / sum(hits)
        assert possible[query] == min(10, sum(hits)) / sum(hits)
        assert precision_possible[query] == min(5, sum(hits)) / 5
        assert average[query] == pytest.approx(average_precision_score(hits, similarities[query][order]))


def test_an_interval_spans_what_other_samples_would_give() -> None:
    draw = np.random.default_rng(1)
    inside = 0
    for _ in range(100):
        found = figure(draw.random(60) < 0.7)
        inside += found.low <= 0.7 <= found.high
    assert 88 <= inside <= 100


def test_well_separated_labels_are_found_and_shuffled_ones_are_not(run: Run, tmp_path: Path) -> None:
    planted(tmp_path / "apart", {("cat", None): 30, ("dog", None): 30, (None, None): 7})
    document = run("evaluate", "--store", tmp_path / "apart", "--json").json
    assert (document["photos"], document["values"], document["queries"]) == (60, 2, 60)
    assert document["precision_at_5"]["value"] == document["mean_average_precision"]["value"] == 1
    assert document["recall_at_10"]["value"] == pytest.approx(10 / 29, abs=1e-3)
    assert document["recall_at_10_possible"] == document["recall_at_10"]["value"]
    (line,) = [one for one in run("evaluate", "--store", tmp_path / "apart").out.splitlines() if "recall@10" in one]
    assert line.endswith("  0.345")
    assert document["index_recall"] is None
    draw = np.random.default_rng(2)
    said = [{"label": str(label)} for label in draw.integers(0, 2, 60)]
    (tmp_path / "mixed").mkdir()
    cache = kept(tmp_path / "mixed", draw.normal(size=(60, 1024)), said)
    found = run("evaluate", "--store", cache.store.path, "--json").json["precision_at_5"]
    assert found["low"] < 0.5 < found["high"]


def test_copies_are_no_merit(run: Run, tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    vectors = draw.normal(size=(20, 1024))
    twice = np.concatenate([vectors, vectors + 0.01 * draw.normal(size=(20, 1024))])
    said = [{"pet_id": n % 20 // 2, "same_as": n} for n in range(40)]
    cache = kept(tmp_path, twice, said)
    document = run("evaluate", "--store", cache.store.path, "--column", "pet_id", "--json").json
    assert document["near_copies"] == 40
    assert document["mean_average_precision"]["value"] < 0.5
    assert "40 near-copies" in run("evaluate", "--store", cache.store.path, "--column", "pet_id").err


def test_what_cannot_be_measured_is_said(run: Run, tmp_path: Path) -> None:
    planted(tmp_path / "none", {(None, None): 5})
    planted(tmp_path / "single", {("cat", None): 1, ("dog", None): 1})
    for store, words, said in (
        ("none", (), "no two photos"),
        ("single", (), "no two photos"),
        ("single", ("--column", "breed"), "the columns are label, split"),
    ):
        done = run("evaluate", "--store", tmp_path / store, *words)
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
        assert said in done.err
    empty_store(tmp_path / "empty")
    assert "no two photos" in run("evaluate", "--store", tmp_path / "empty").err


def test_an_index_is_held_against_exact_search(run: Run, tmp_path: Path) -> None:
    draw = np.random.default_rng(4)
    cache = kept(tmp_path, draw.normal(size=(3000, 1024)), [{"label": str(n % 3)} for n in range(3000)])
    done = run("build-index", "--store", cache.store.path, "--kind", "IVF16,SQ8")
    if done.status == 2:
        pytest.skip("no command builds an index yet")
    index: Index = build(cache)
    found = index_recall(index)
    assert found is not None
    _, queries = cache.sample(200)
    _, ids = nearest_of_each(index, queries, 10)
    every = np.concatenate([photos["_rowid"].to_numpy() for photos, _ in cache.embeddings()])
    vectors = np.concatenate([vectors for _, vectors in cache.embeddings()])
    cosines = queries @ (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).T
    nearest = every[np.argsort(-cosines, axis=1)[:, :10]].astype(np.int64)
    assert found.value == pytest.approx(
        np.mean([np.isin(a, b).mean() for a, b in zip(nearest, ids, strict=True)]), abs=0.002
    )


def test_of_very_many_photos_some_are_looked_at_and_how_many_is_said(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(5)
    said = [{"label": ("cat", "dog")[n % 2], "pet_id": n // 3} for n in range(90)] + [
        {"label": "rabbit"} for _ in "123"
    ]
    store = kept(tmp_path, draw.normal(size=(93, 1024)), said).store.path
    whole = run("evaluate", "--store", store, "--json").json
    assert (whole["photos"], whole["of"]) == (93, 93)
    monkeypatch.setattr(measure, "MOST", 60)
    done = run("evaluate", "--store", store, "--json")
    assert (done.json["photos"], done.json["of"], done.json["values"]) == (60, 93, 3)
    assert done.out == run("evaluate", "--store", store, "--json").out
    assert (
        "60 of 93 photos that have one were looked at, drawn by their digests" in run("evaluate", "--store", store).out
    )
    found = run("evaluate", "--store", store, "--column", "pet_id", "--json").json  # too many values for a part of each
    assert (found["photos"], found["of"], found["values"], found["queries"]) == (60, 90, 20, 60)
    monkeypatch.setattr(measure, "MOST", 93)
    assert run("evaluate", "--store", store, "--json").json == whole
