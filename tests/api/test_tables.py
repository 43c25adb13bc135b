"""A store's embeddings in memory, for torch, NumPy, Arrow and Polars: where they share memory, and how much they
need."""

import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars
import pytest
import torch
from conftest import Done
from planting import DIMENSION, planted
from torch.utils.data import DataLoader, random_split

import petrieve
from petrieve.extractor.exchange import rows as exchanged
from petrieve.store import contents

Run = Callable[..., Done]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> petrieve.Store:
    """A store of made-up photos in two splits, of which one lacks a class; some have no label."""
    place = tmp_path_factory.mktemp("split") / "s"
    planted(place, {("cat", "train"): 20, ("dog", "train"): 21, ("dog", "test"): 9, (None, "train"): 5})
    return petrieve.open(place)


def test_a_dataset_has_the_labelled_photos_beside_their_classes(split: petrieve.Store) -> None:
    paths, matrix = split.to_numpy()
    of = dict(zip(paths.tolist(), matrix, strict=True))
    data = split.dataset()
    assert repr(data) == "EmbeddingDataset(50 photos of 2 classes)"
    assert data.classes == ("cat", "dog")
    assert list(data.paths) == sorted(path for path in of if "None" not in path)
    for (embedding, label), path in zip(data, data.paths, strict=True):
        assert embedding.dtype == torch.float32
        assert np.array_equal(embedding.numpy(), of[path])
        assert data.classes[label] in path


def test_a_class_has_the_same_number_in_each_split(split: petrieve.Store) -> None:
    train, test = split.dataset("train"), split.dataset("test")
    assert (len(train), len(test)) == (41, 9)
    assert train.classes == test.classes == ("cat", "dog")
    assert set(test.targets.tolist()) == {1}
    assert len(split.dataset("train", where="label = 'cat'")) == 20
    assert len(split.dataset(where="split = 'train' or label = 'dog'")) == 50


def test_a_dataset_without_photos_is_refused(split: petrieve.Store) -> None:
    with pytest.raises(petrieve.PetrieveError, match="split 'valid'; its splits are test, train"):
        split.dataset("valid")
    with pytest.raises(petrieve.PetrieveError, match="fulfils the condition"):
        split.dataset(where="label = 'axolotl'")
    with pytest.raises(petrieve.PetrieveError, match="the columns are label"):
        split.dataset(where="lable = 'cat'")


def test_photos_with_the_same_bytes_are_each_there(drawn: Path, photos: Path, run: Run) -> None:
    one = sorted((photos / "cat").iterdir())[0]
    one.with_name("again.jpg").write_bytes(one.read_bytes())
    store = petrieve.open("s")
    store.embed(photos, weights="bundled", quiet=True)
    data = store.dataset()
    assert len(data) == 41
    places = [data.paths.index(str(file)) for file in (one, one.with_name("again.jpg"))]
    assert torch.equal(*data.embeddings[places])


def test_torchs_loaders_take_a_dataset(split: petrieve.Store) -> None:
    data = split.dataset()
    train, test = random_split(data, [0.8, 0.2], torch.Generator().manual_seed(0))
    assert (len(train), len(test)) == (40, 10)
    loader = DataLoader(data, batch_size=16, num_workers=2, multiprocessing_context="spawn")
    embeddings, targets = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert torch.equal(embeddings, data.embeddings)
    assert torch.equal(targets, data.targets)


def test_polars_and_numpy_take_a_table_without_copying(split: petrieve.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "SCAN", 16)  # so that it is read in several batches
    table = split.to_arrow()
    (column,) = table["embedding"].chunks
    matrix = column.flatten().to_numpy(zero_copy_only=True).reshape(-1, DIMENSION)
    frame = polars.from_arrow(table)
    assert isinstance(frame, polars.DataFrame)
    shared = frame["embedding"].to_numpy(allow_copy=False)
    assert shared.shape == matrix.shape == (55, DIMENSION)
    assert column.flatten().buffers()[1].address == matrix.ctypes.data == shared.ctypes.data


def test_of_very_many_photos_each_chunk_is_shared(split: petrieve.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "SCAN", 16)
    monkeypatch.setattr(exchanged, "PART", 32)
    table = split.to_arrow()
    frame = polars.from_arrow(table)
    assert isinstance(frame, polars.DataFrame)
    shared = [one.to_numpy(allow_copy=False).ctypes.data for one in frame["embedding"].get_chunks()]
    assert shared == [one.flatten().buffers()[1].address for one in table["embedding"].chunks]
    assert len(shared) == 2


def test_a_matrix_is_in_memory_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(tmp_path / "s", {("cat", None): 3000})
    monkeypatch.setattr(contents, "SCAN", 128)
    store = petrieve.open(tmp_path / "s")
    store.to_numpy()
    tracemalloc.start()
    try:
        _, matrix = store.to_numpy()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        data = store.dataset()
        _, most_of_data = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert matrix.nbytes == data.embeddings.nbytes == 3000 * DIMENSION * 4
    assert most < 1.5 * matrix.nbytes
    assert most_of_data - matrix.nbytes < 1.5 * matrix.nbytes


def test_a_table_without_pandas_names_the_command_that_brings_it(
    split: petrieve.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    for one in (split, split.info()):
        with pytest.raises(petrieve.PetrieveError, match=r"a table needs pandas.*; run `pip install pandas`$"):
            one.to_pandas()


def test_a_warning_names_the_line_of_the_user(tmp_path: Path) -> None:
    planted(tmp_path / "s", {("cat", ""): 3, ("dog", ""): 20})
    with pytest.warns(UserWarning, match="3 folds instead of 5") as warned:
        petrieve.open(tmp_path / "s").fit_head()
    assert {one.filename for one in warned} == {__file__}
