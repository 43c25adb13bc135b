"""Embeddings and labels as torch's loaders take them; this module imports torch."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from petrieve.store.cache import Cache
from petrieve.store.digests import as_array, spans
from petrieve.store.errors import PetrieveError
from petrieve.store.photo import path_of

COLUMNS = ("root", "uri", "label", "split")
LABELLED = "label IS NOT NULL"


@dataclass(frozen=True, eq=False, repr=False)
class EmbeddingDataset(Dataset[tuple[torch.Tensor, int]]):
    """Labelled photos in the order of their paths: `dataset[i]` is an embedding (D,) float32 and its class's number.

    `classes` are those of the whole store, so that a number means the same in each split.
    """

    embeddings: torch.Tensor  # float32 (N, D), of view 0
    targets: torch.Tensor  # int64 (N,)
    classes: tuple[str, ...]
    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:
        return self.embeddings[at], int(self.targets[at])

    def __repr__(self) -> str:
        return f"EmbeddingDataset({len(self):,} photos of {len(self.classes)} classes)"


def dataset_of(cache: Cache, split: str | None, where: str | None) -> EmbeddingDataset:
    """The labelled photos of a cache: all, or those of a split, or for which a condition in SQL holds.

    Raises:
        PetrieveError: there is none such, or the condition cannot be used.
    """
    found: dict[str, tuple[str, bytes]] = {}
    for batch in cache.where(where or LABELLED, COLUMNS):
        for row in batch.to_pylist():
            if row["label"] is not None and split in (None, row["split"]):
                found[path_of(row["root"], row["uri"])] = row["label"], row["digest"]
    paths = sorted(found)
    embeddings, there = _matrix(cache, as_array(found[path][1] for path in paths))
    if not there.any():
        raise _none(cache, split, where)
    if not there.all():  # of another trunk, which has not seen all photos
        paths, embeddings = [paths[place] for place in np.flatnonzero(there)], embeddings[there]
    classes = tuple(cache.counts()["labels"])
    number = {label: place for place, label in enumerate(classes)}
    targets = torch.tensor([number[found[path][0]] for path in paths])
    return EmbeddingDataset(torch.from_numpy(embeddings), targets, classes, tuple(paths))


def _matrix(cache: Cache, contents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The embeddings (N, D) float32 of contents (digests, (N,)), some of them equal; and which are there (N,)."""
    embeddings, there = np.empty((len(contents), cache.dimension), np.float32), np.zeros(len(contents), bool)
    order = np.argsort(contents)
    ascending = contents[order]
    for found, some in cache.embeddings_of(contents) if len(contents) else ():
        first, last = (np.searchsorted(ascending, found, side) for side in ("left", "right"))
        places = order[spans(first, last - first)]
        embeddings[places] = np.repeat(some, last - first, axis=0)
        there[places] = True
    return embeddings, there


def _none(cache: Cache, split: str | None, where: str | None) -> PetrieveError:
    """The error that there is no such photo."""
    said = [*([f"is in the split {split!r}"] if split else ()), *(["fulfils the condition"] if where else ())]
    splits = ", ".join(cache.counts()["splits"]) or "none"
    what = f"no photo in {cache.store.path} has a label" + "".join(f" and {one}" for one in said)
    return PetrieveError(what, f"its splits are {splits}" if split else "`petrieve info` shows labels and splits")
