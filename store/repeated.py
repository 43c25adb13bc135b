"""Embeddings that are in a table more than once, because several workers met the same content at once."""

from collections.abc import Iterator
from math import ceil
from typing import TYPE_CHECKING

from petrieve.store.contents import Contents
from petrieve.store.digests import marks_of
from petrieve.store.rows import digests, row_ids

if TYPE_CHECKING:
    import numpy as np

AT_ONCE = 8 << 20  # rows that are compared with each other: some 300 MB, and with 10⁸ the digests are read 12 times


def repeated(contents: Contents, at_once: int = AT_ONCE) -> "Iterator[tuple[np.ndarray, np.ndarray]]":
    """Ids (n,) of rows whose content and view an earlier row has too, and their digests (n,), share by share.

    A share has all rows of some contents, so that memory does not grow with the table.
    """
    import numpy as np

    shares = max(1, ceil(contents.rows_of_views / at_once))
    for share in range(shares):
        ids, marks, views = _share(contents, share, shares)
        order = np.lexsort((ids, views, marks))
        ids, marks, views = ids[order], marks[order], views[order]
        again = np.flatnonzero((marks[1:] == marks[:-1]) & (views[1:] == views[:-1])) + 1
        if len(again):
            before, found = (digests(contents.take(ids[places], ["digest"])) for places in (again - 1, again))
            same = before == found
            yield ids[again[same]], found[same]


def _share(contents: Contents, share: int, shares: int) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Ids, first 8 bytes of digests and views of the rows whose contents are in a share of all contents."""
    import numpy as np

    found = [(np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.int16))]
    for batch in contents.numbered():
        marks = marks_of(digests(batch))
        own = marks % shares == share
        found.append((row_ids(batch)[own], marks[own], batch["view"].to_numpy()[own].astype(np.int16)))
    ids, marks, views = (np.concatenate(column) for column in zip(*found, strict=True))
    return ids, marks, views
