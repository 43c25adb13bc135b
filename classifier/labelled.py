"""The labelled photos of a cache, in an order that does not depend on when they were written."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from petrieve.classifier import copies as near
from petrieve.store.cache import Cache
from petrieve.store.digests import drawn, marks_of, spans
from petrieve.store.errors import PetrieveError
from petrieve.store.linked import joined
from petrieve.store.photo import path_of
from petrieve.store.rows import digests, row_ids

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


# Embeddings in memory at most where each is compared with each. With 100,000 `audit` takes 3 minutes of two cores and
# 1.5 GB; with ten times as many a hundred times as long. An accuracy on 100,000 is right to 0.3 points.
MAX_EMBEDDINGS = 100_000
LABELLED = "digest IS NOT NULL AND label IS NOT NULL"
COLUMNS = ("root", "uri", "label", "split", "digest")
NAMES_AT_ONCE = 8192  # photos whose names are read at a time


@dataclass(frozen=True, eq=False)
class Labelled:
    """The labelled photos by path: N photos, M augmented views of them, D numbers each."""

    paths: list[str]
    labels: "np.ndarray"  # (N,) text
    splits: "np.ndarray"  # (N,) text, empty without a split
    digests: "np.ndarray"  # (N,) 16 bytes each
    embeddings: "np.ndarray"  # float32 (N, D), of the canonical views
    views: "np.ndarray"  # float32 (M, D), of the augmented ones
    owners: "np.ndarray"  # (M,) each augmented view's photo
    there: Counter[tuple[str, str]]  # photos of the cache by label and split; these may be a sample

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def of(self) -> int:
        """How many labelled photos the cache has."""
        return self.there.total()

    @cached_property
    def copies(self) -> "np.ndarray":
        """The pairs (P, 2) of near-copies."""
        return near.pairs(self.embeddings, self.digests)

    @cached_property
    def groups(self) -> "np.ndarray":
        """Each photo's group (N,): near-copies share a number."""
        return joined(self.copies, len(self))


@dataclass(frozen=True, eq=False)
class Names:
    """The same without embeddings, for caches larger than memory; K contents of N photos."""

    paths: list[str]
    labels: "np.ndarray"
    splits: "np.ndarray"
    digests: "np.ndarray"
    views: "np.ndarray"  # (N,) how many augmented ones each photo has
    contents: "np.ndarray"  # (K,) digests, ascending
    order: "np.ndarray"  # (N,) the photos by their contents
    starts: "np.ndarray"  # (K + 1,) where those of each content begin in that order
    there: Counter[tuple[str, str]]


def read(cache: Cache, *, bounded: bool = False) -> Labelled:
    """The labelled photos of a cache, ordered by path: all, or if `bounded` no more than `most`, drawn by digest.

    Of each label in each split the first 20 are among these, if there is room.

    Raises:
        PetrieveError: no photo has a label, or an embedding is damaged.
    """
    import numpy as np

    listed = names(cache, bounded=bounded)
    first = np.cumsum(listed.views) - listed.views
    rows = np.empty((len(listed.paths), cache.dimension), np.float32)
    views = np.empty((int(listed.views.sum()), cache.dimension), np.float32)
    for photos, ranks, batch in chunks(cache, listed):
        canonical = ranks == 0
        rows[photos[canonical]] = _those(batch, canonical)
        views[first[photos[~canonical]] + ranks[~canonical] - 1] = batch[~canonical]
    owners = np.repeat(np.arange(len(rows)), listed.views)
    return Labelled(listed.paths, listed.labels, listed.splits, listed.digests, rows, views, owners, listed.there)


def names(cache: Cache, *, bounded: bool = False) -> Names:
    """Labels and splits of a cache's labelled photos, ordered by path: of all, or of those that `read` reads.

    Raises:
        PetrieveError: no photo has a label.
    """
    import numpy as np

    each, views = cache.views()
    chosen, said = _drawn(cache, each) if bounded and len(cache) > most(cache) else (None, None)
    batches = cache.photos(COLUMNS, LABELLED) if chosen is None else _taken(cache, chosen)
    columns: dict[str, list[Any]] = {name: [] for name in ("root", "uri", "label", "split")}
    contents = [np.zeros(0, "S16")]
    for batch in batches:
        for name, column in columns.items():
            column += batch[name].to_pylist()
        contents.append(digests(batch))
    found = np.concatenate(contents)
    places, there = _places(each, found)
    paths = list(map(path_of, columns["root"], columns["uri"]))
    order = np.array(sorted(np.flatnonzero(there).tolist(), key=paths.__getitem__), np.int64)
    if not len(order):
        raise PetrieveError(
            f"no photo in {cache.store.path} has a label",
            'put the photos of each class in a folder of its name, or give `embed` a `labels="FILE.csv"`',
        )
    own = found[order]
    shown, counts = np.unique(own, return_counts=True)
    labels = [columns["label"][place] for place in order]
    splits = [columns["split"][place] or "" for place in order]
    return Names(
        paths=[paths[place] for place in order],
        labels=np.array(labels),
        splits=np.array(splits),
        digests=own,
        views=views[places[order]] - 1,
        contents=shown,
        order=np.argsort(own, kind="stable"),
        starts=np.concatenate([[0], np.cumsum(counts)]),
        there=Counter(zip(labels, splits, strict=True)) if said is None else said,
    )


def most(cache: Cache) -> int:
    """How many labelled photos, with all their views, are in memory at most where each is compared with each."""
    return MAX_EMBEDDINGS // (1 + cache.made.views)


def count(cache: Cache) -> int:
    """How many labelled photos a cache has."""
    return sum(len(batch) for batch in cache.photos(["label"], LABELLED))


def _drawn(cache: Cache, each: "np.ndarray") -> "tuple[np.ndarray, Counter[tuple[str, str]]] | tuple[None, None]":
    """The row ids of `most` labelled photos, and the counts by label and split; None if there are no more than that.

    Their contents are among `each`. 20 bytes of each photo are in memory, and 70 while some are drawn.
    """
    import numpy as np

    kinds: dict[tuple[str, str], int] = {}
    ids, marks, kind = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)], [np.zeros(0, np.int32)]
    for batch in cache.photos(["label", "split", "digest"], LABELLED):
        found = digests(batch)
        said = zip(batch["label"].to_pylist(), batch["split"].to_pylist(), strict=True)
        numbers = np.array([kinds.setdefault((label, split or ""), len(kinds)) for label, split in said], np.int32)
        _, there = _places(each, found)
        ids.append(row_ids(batch)[there])
        marks.append(marks_of(found[there]))
        kind.append(numbers[there])
    rows, of = np.concatenate(ids), np.concatenate(kind)
    if len(rows) <= most(cache):
        return None, None
    counts = np.bincount(of, minlength=len(kinds)).tolist()
    said_of = Counter({one: count for one, count in zip(kinds, counts, strict=True) if count})
    return rows[drawn(np.concatenate(marks), of, most(cache))], said_of


def _taken(cache: Cache, ids: "np.ndarray") -> "Iterator[pa.RecordBatch]":
    """Batches of the columns of the photos with these row ids."""
    for start in range(0, len(ids), NAMES_AT_ONCE):
        yield cache.take_photos(ids[start : start + NAMES_AT_ONCE], COLUMNS)


def _places(each: "np.ndarray", found: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """The places of digests (n,) among those of `each`, ascending; and whether they are there."""
    import numpy as np

    places = np.searchsorted(each, found).clip(max=max(0, len(each) - 1))
    return places, each[places] == found if len(each) else np.zeros(len(found), bool)


def chunks(cache: Cache, listed: Names) -> "Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]":
    """The labelled photos' rows, in batches: place of the photo (n,), rank of the view (n,), embeddings (n, D).

    Raises:
        PetrieveError: an embedding is damaged.
    """
    import numpy as np

    for found, views, batch in _rows(cache, listed):
        content = np.searchsorted(listed.contents, found).clip(max=len(listed.contents) - 1)
        chosen = np.flatnonzero(listed.contents[content] == found)
        counts = np.diff(listed.starts)[content[chosen]]
        which = np.repeat(chosen, counts)
        places = listed.order[spans(listed.starts[content[chosen]], counts)]
        ranks = views[which]
        own = batch if np.array_equal(which, np.arange(len(batch))) else batch[which]
        bad = np.flatnonzero(~np.isfinite(own.sum(axis=1)))
        if len(bad):
            more = f" and of {len(bad) - 1} more" if len(bad) > 1 else ""
            raise PetrieveError(
                f"the embedding of {listed.paths[places[bad[0]]]}{more} in {cache.store.path} "
                "holds a value that is not a number",
                "`petrieve verify` names the damaged rows and what mends them",
            )
        yield places, ranks, own


def _rows(cache: Cache, listed: Names) -> "Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]":
    """Batches of a cache's rows, those of these photos among them: digests (n,), ranks of views (n,), embeddings."""
    import numpy as np

    if listed.there.total() == len(listed.paths) or listed.views.any():
        for rows, batch in cache.vectors(every_view=bool(listed.views.any())):
            yield digests(rows), rows["view"].to_numpy(), batch
    else:  # of very many, the few that were drawn
        for found, batch in cache.embeddings_of(listed.contents):
            yield found, np.zeros(len(found), np.int32), batch


def _those(rows: "np.ndarray", chosen: "np.ndarray") -> "np.ndarray":
    """The chosen rows, without a copy if all are: a copy of a store's embeddings takes a tenth of a second."""
    return rows if chosen.all() else rows[chosen]
