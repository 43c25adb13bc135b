"""Which of a cache's photos are files of their own that are still there, as they were embedded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from petrieve.index.duplicates.groups import Copy
from petrieve.index.duplicates.near import Near
from petrieve.store.cache import Cache
from petrieve.store.photo import path_of
from petrieve.store.rows import microseconds

if TYPE_CHECKING:
    import numpy as np

Then = tuple[int, int, bytes]  # size, time in microseconds and digest of what was embedded
# What was embedded by path → the names of each file that is still so, the name to keep first; the files likewise.
Files = Callable[[Mapping[str, Then]], list[list[str]]]


@dataclass(frozen=True, eq=False)
class Present:
    """Photos, one name of each file, by their rows' ids: of two that are alike the earlier is to be kept.

    `shown` says which of them is looked at for a content, by the id of the first row that has it.
    """

    photos: dict[int, Copy]
    shown: dict[int, int]
    twins: list[tuple[int, int]]  # the one that is shown and another file with its bytes
    links: int  # further names of these files
    changed: int  # photos that are gone or others


def present(cache: Cache, found: Near, ids: "np.ndarray", files: Files) -> Present:
    """What is there of the photos with these row ids (n,)."""
    import numpy as np

    columns = ["root", "uri", "label", "width", "height", "size", "modified", "digest", "_rowid"]
    described: dict[str, tuple[int, Copy]] = {}
    then: dict[str, Then] = {}
    for row in cache.take_photos(ids, columns).to_pylist():
        path = path_of(row["root"], row["uri"])
        described[path] = row["_rowid"], Copy(path, row["label"], row["width"], row["height"], row["size"])
        then[path] = row["size"], microseconds(row["modified"]), row["digest"]
    names = files(then)
    photos = dict(described[one] for one, *_ in names)
    shown, twins = dict[int, int](), list[tuple[int, int]]()
    contents = found.contents(np.array(list(photos), np.int64)).tolist()
    for row, content in zip(photos, contents, strict=True):
        first = shown.setdefault(content, row)
        if first != row:
            twins.append((first, row))
    listed = sum(map(len, names))
    return Present(photos, shown, twins, listed - len(names), len(then) - listed)
