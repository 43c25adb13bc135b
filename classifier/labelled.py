"""The labelled photos of a cache, in an order that does not depend on when they were written."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from extractor.cache import Cache
from extractor.errors import PetrieveError
from extractor.photos import path_of
from extractor.rows import DIMENSION

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Key = tuple[str, int, str, str, bytes]  # path, view, label, split, digest


@dataclass(frozen=True, eq=False)
class Labelled:
    """The labelled photos by path: N photos, M augmented views of them, D = 1024."""

    paths: list[str]
    labels: "np.ndarray"  # (N,) text
    splits: "np.ndarray"  # (N,) text, empty where there is none
    digests: "np.ndarray"  # (N,) 16 bytes each
    embeddings: "np.ndarray"  # float32 (N, D), of the canonical views
    views: "np.ndarray"  # float32 (M, D), of the augmented ones
    owners: "np.ndarray"  # (M,) each augmented view's photo

    def __len__(self) -> int:
        return len(self.paths)


def read(cache: Cache) -> Labelled:
    """The labelled photos of a cache, ordered by path.

    Raises:
        PetrieveError: no photo has a label, or an embedding is damaged.
    """
    import numpy as np

    keys: list[Key] = []
    batches = []
    for photos, batch in cache.embeddings():
        chosen, told = _labelled(photos)
        keys += told
        batches.append(batch[chosen])
    if not keys:
        raise PetrieveError(
            f"no photo in {cache.store.path} has a label",
            "put the photos of each class in a folder of its name, or give `embed` a `--labels FILE.csv`",
        )
    # The order of rows depends on when they were written; a head must not.
    order = sorted(range(len(keys)), key=keys.__getitem__)
    rows = _in_order(batches, order)
    paths, views, labels, splits, digests = zip(*(keys[i] for i in order), strict=True)
    _check_finite(cache, paths, rows)
    photo = np.array(views) == 0
    whose = np.cumsum(photo) - 1
    there = np.flatnonzero(photo)
    return Labelled(
        paths=[paths[i] for i in there],
        labels=np.array(labels)[photo],
        splits=np.array(splits)[photo],
        digests=np.array(digests, dtype="S16")[photo],
        embeddings=rows[photo] if not photo.all() else rows,
        views=rows[~photo],
        owners=whose[~photo],
    )


def _labelled(photos: "pa.RecordBatch") -> "tuple[list[int], list[Key]]":
    """Positions of a batch's labelled rows, and what they are ordered by."""
    names = ("root", "uri", "view", "label", "split", "digest")
    roots, uris, views, labels, splits, digests = (photos[name].to_pylist() for name in names)
    chosen = [i for i, label in enumerate(labels) if label is not None]
    return chosen, [(path_of(roots[i], uris[i]), views[i], labels[i], splits[i] or "", digests[i]) for i in chosen]


def _in_order(batches: "list[np.ndarray]", order: list[int]) -> "np.ndarray":
    """The batches as one array whose rows stand in this order; each batch is let go once it is copied."""
    import numpy as np

    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    rows = np.empty((len(order), DIMENSION), np.float32)
    start = 0
    while batches:
        batch = batches.pop(0)
        rows[places[start : start + len(batch)]] = batch
        start += len(batch)
    return rows


def _check_finite(cache: Cache, paths: tuple[str, ...], rows: "np.ndarray") -> None:
    """The sum of a row is finite where all of it is."""
    import numpy as np

    bad = np.flatnonzero(~np.isfinite(rows.sum(axis=1)))
    if len(bad):
        more = f" and of {len(bad) - 1} more" if len(bad) > 1 else ""
        raise PetrieveError(
            f"the embedding of {paths[bad[0]]}{more} in {cache.store.path} holds what is no number",
            "`cli.py verify` names the damaged rows and what mends them",
        )
