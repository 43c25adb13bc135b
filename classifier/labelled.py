"""The labelled photos of a cache, in an order that does not depend on when they were written."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from classifier import copies as near
from store.cache import Cache
from store.errors import PetrieveError
from store.rows import DIMENSION

if TYPE_CHECKING:
    import numpy as np


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

    @cached_property
    def copies(self) -> "np.ndarray":
        """The pairs (P, 2) of near-copies."""
        return near.pairs(self.embeddings, self.digests)

    @cached_property
    def groups(self) -> "np.ndarray":
        """Each photo's group (N,): near-copies share a number."""
        return near.joined(self.copies, len(self))


@dataclass(frozen=True, eq=False)
class Names:
    """The same without embeddings, for caches that are larger than memory."""

    paths: list[str]
    labels: "np.ndarray"
    splits: "np.ndarray"
    digests: "np.ndarray"
    views: "np.ndarray"  # (N,) how many augmented ones each photo has
    rows: "np.ndarray"  # (R,) ids of the cache's rows, ascending
    owners: "np.ndarray"  # (R,) the photo of each
    ranks: "np.ndarray"  # (R,) 0 for a photo's canonical view, 1, 2, … for its augmented ones


def read(cache: Cache) -> Labelled:
    """The labelled photos of a cache, ordered by path.

    Raises:
        PetrieveError: no photo has a label, or an embedding is damaged.
    """
    import numpy as np

    listed = names(cache)
    first = np.cumsum(listed.views) - listed.views
    rows = np.empty((len(listed.paths), DIMENSION), np.float32)
    views = np.empty((int(listed.views.sum()), DIMENSION), np.float32)
    for photos, ranks, batch in chunks(cache, listed):
        canonical = ranks == 0
        rows[photos[canonical]] = _those(batch, canonical)
        views[first[photos[~canonical]] + ranks[~canonical] - 1] = batch[~canonical]
    owners = np.repeat(np.arange(len(rows)), listed.views)
    return Labelled(listed.paths, listed.labels, listed.splits, listed.digests, rows, views, owners)


def names(cache: Cache) -> Names:
    """What is said of the labelled photos of a cache, ordered by path.

    Raises:
        PetrieveError: no photo has a label.
    """
    import numpy as np

    known = cache.known()
    told = cache.labelled()
    paths = sorted(path for path in told if told[path]["label"] is not None)
    if not paths:
        raise PetrieveError(
            f"no photo in {cache.store.path} has a label",
            "put the photos of each class in a folder of its name, or give `embed` a `--labels FILE.csv`",
        )
    rows = np.array([row for path in paths for row in known[path].rows])
    ranks = np.array([rank for path in paths for rank in range(len(known[path].rows))])
    order = np.argsort(rows)
    return Names(
        paths=paths,
        labels=np.array([told[path]["label"] for path in paths]),
        splits=np.array([told[path]["split"] or "" for path in paths]),
        digests=np.array([known[path].digest for path in paths], "S16"),
        views=np.array([len(known[path].augmented) for path in paths]),
        rows=rows[order],
        owners=(np.cumsum(ranks == 0) - 1)[order],
        ranks=ranks[order],
    )


def chunks(cache: Cache, listed: Names) -> "Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]":
    """The labelled photos' rows, in batches: place of the photo (n,), rank of the view (n,), embeddings (n, D).

    Raises:
        PetrieveError: an embedding is damaged.
    """
    import numpy as np

    for photos, batch in cache.embeddings(every_view=bool(listed.views.any())):
        ids = photos["_rowid"].to_numpy().astype(np.int64)
        found = np.searchsorted(listed.rows, ids).clip(max=len(listed.rows) - 1)
        chosen = listed.rows[found] == ids
        places, rows = listed.owners[found[chosen]], _those(batch, chosen)
        bad = np.flatnonzero(~np.isfinite(rows.sum(axis=1)))
        if len(bad):
            more = f" and of {len(bad) - 1} more" if len(bad) > 1 else ""
            raise PetrieveError(
                f"the embedding of {listed.paths[places[bad[0]]]}{more} in {cache.store.path} holds what is no number",
                "`cli.py verify` names the damaged rows and what mends them",
            )
        yield places, listed.ranks[found[chosen]], rows


def _those(rows: "np.ndarray", chosen: "np.ndarray") -> "np.ndarray":
    """The chosen rows: themselves where all are, since a copy of a store's embeddings takes a tenth of a second."""
    return rows if chosen.all() else rows[chosen]
