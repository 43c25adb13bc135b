"""Labels, splits and columns of photos that are gone: gathered, and given to photos that have their contents now."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from petrieve.store.cache import Cache
from petrieve.store.contents import SCAN
from petrieve.store.digests import as_array
from petrieve.store.forgotten import Lost, lost, remembered, said_by_hand
from petrieve.store.known import Known, photos_at
from petrieve.store.photo import path_of
from petrieve.store.rows import own

GONE = "gone IS NOT NULL"


def annotations_of_gone(cache: Cache, known: Known, missing: Sequence[str] = (), back: Collection[int] = ()) -> Lost:
    """Labels, splits and columns that a CSV gave to photos that are gone or forgotten.

    Gone are those that the store marks so, but for the rows that are `back` (ids), and those `missing` now (paths).
    """
    import numpy as np

    names = cache.photo_schema.names
    batches = list(cache.photos(names, GONE))
    ids = np.sort(known.ids[known.places_of(missing)])
    batches += [cache.take_photos(ids[at : at + SCAN], [*names, "_rowid"]) for at in range(0, len(ids), SCAN)]
    gone = {row["_rowid"]: row for batch in batches for row in batch.to_pylist() if row["_rowid"] not in back}
    kept = remembered(cache.store, cache.photo_schema)
    come_back = known.among(list(kept)) | photos_at(cache, kept).keys() if kept else ()
    forgotten = {path: row for path, row in kept.items() if path not in come_back}
    return lost(forgotten, (gone[row] for row in sorted(gone)), cache.photo_schema)


def hand_down(cache: Cache, words: Mapping[bytes, Mapping[str, Any]], missing: Collection[str], known: Known) -> None:
    """Write labels, splits and columns of contents, by digest, into the rows of photos that have these and lack those.

    Photos that are new, gone or `missing` (paths) are left as they are.
    """
    names, found = own(cache.photo_schema), {}
    rows = cache.photos_of(as_array(words), cache.photo_schema.names).to_pylist() if words else []
    for row in rows:
        path, there = path_of(row["root"], row["uri"]), said_by_hand(row, names)
        new = {name: value for name, value in words[row["digest"]].items() if name not in there}
        is_new = known.asked_for(path) and path not in known
        was_gone = row["gone"] is not None or (path in known and known.is_gone(path))
        if new and not (is_new or was_gone or path in missing):
            found[row["_rowid"]] = new
    cache.change_rows(found)
