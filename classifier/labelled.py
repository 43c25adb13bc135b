"""The labelled photos of a cache, in an order that does not depend on when they were written."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from classifier import copies as near
from store.cache import Cache
from store.digests import spans
from store.errors import PetrieveError
from store.photo import path_of
from store.rows import digests

if TYPE_CHECKING:
    import numpy as np


LABELLED = "digest IS NOT NULL AND label IS NOT NULL"


@dataclass(frozen=True, eq=False)
class Labelled:
    """The labelled photos by path: N photos, M augmented views of them, D numbers each."""

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
    """The same without embeddings, for caches that are larger than memory; K contents, of which N photos show."""

    paths: list[str]
    labels: "np.ndarray"
    splits: "np.ndarray"
    digests: "np.ndarray"
    views: "np.ndarray"  # (N,) how many augmented ones each photo has
    contents: "np.ndarray"  # (K,) digests, ascending
    order: "np.ndarray"  # (N,) the photos by their contents
    starts: "np.ndarray"  # (K + 1,) where those of each content begin in that order


def read(cache: Cache) -> Labelled:
    """The labelled photos of a cache, ordered by path.

    Raises:
        PetrieveError: no photo has a label, or an embedding is damaged.
    """
    import numpy as np

    listed = names(cache)
    first = np.cumsum(listed.views) - listed.views
    rows = np.empty((len(listed.paths), cache.dimension), np.float32)
    views = np.empty((int(listed.views.sum()), cache.dimension), np.float32)
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

    columns: dict[str, list[Any]] = {name: [] for name in ("root", "uri", "label", "split")}
    contents = [np.zeros(0, "S16")]
    for batch in cache.photos([*columns, "digest"], LABELLED):
        for name, column in columns.items():
            column += batch[name].to_pylist()
        contents.append(digests(batch))
    found = np.concatenate(contents)
    each, views = cache.views()
    places = np.searchsorted(each, found).clip(max=max(0, len(each) - 1))
    there = each[places] == found if len(each) else np.zeros(len(found), bool)
    paths = list(map(path_of, columns["root"], columns["uri"]))
    order = np.array(sorted(np.flatnonzero(there).tolist(), key=paths.__getitem__), np.int64)
    if not len(order):
        raise PetrieveError(
            f"no photo in {cache.store.path} has a label",
            "put the photos of each class in a folder of its name, or give `embed` a `--labels FILE.csv`",
        )
    own = found[order]
    shown, counts = np.unique(own, return_counts=True)
    return Names(
        paths=[paths[place] for place in order],
        labels=np.array([columns["label"][place] for place in order]),
        splits=np.array([columns["split"][place] or "" for place in order]),
        digests=own,
        views=views[places[order]] - 1,
        contents=shown,
        order=np.argsort(own, kind="stable"),
        starts=np.concatenate([[0], np.cumsum(counts)]),
    )


def chunks(cache: Cache, listed: Names) -> "Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]":
    """The labelled photos' rows, in batches: place of the photo (n,), rank of the view (n,), embeddings (n, D).

    Raises:
        PetrieveError: an embedding is damaged.
    """
    import numpy as np

    for rows, batch in cache.vectors(every_view=bool(listed.views.any())):
        found = digests(rows)
        content = np.searchsorted(listed.contents, found).clip(max=len(listed.contents) - 1)
        chosen = np.flatnonzero(listed.contents[content] == found)
        counts = np.diff(listed.starts)[content[chosen]]
        which = np.repeat(chosen, counts)
        places = listed.order[spans(listed.starts[content[chosen]], counts)]
        ranks = rows["view"].to_numpy()[which]
        own = batch if np.array_equal(which, np.arange(len(batch))) else batch[which]
        bad = np.flatnonzero(~np.isfinite(own.sum(axis=1)))
        if len(bad):
            more = f" and of {len(bad) - 1} more" if len(bad) > 1 else ""
            raise PetrieveError(
                f"the embedding of {listed.paths[places[bad[0]]]}{more} in {cache.store.path} holds what is no number",
                "`cli.py verify` names the damaged rows and what mends them",
            )
        yield places, ranks, own


def _those(rows: "np.ndarray", chosen: "np.ndarray") -> "np.ndarray":
    """The chosen rows: themselves where all are, since a copy of a store's embeddings takes a tenth of a second."""
    return rows if chosen.all() else rows[chosen]
