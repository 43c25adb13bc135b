"""An export read into a store, bit by bit: only what the store lacks is added."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petrieve.extractor.exchange.exported import batches, folder_of_all, opened
from petrieve.extractor.trunks.kinds import kind
from petrieve.store.cache import Cache
from petrieve.store.columns import carried
from petrieve.store.errors import warn
from petrieve.store.folder import Made, Store, read_card
from petrieve.store.forgotten import Lost, said_by_hand
from petrieve.store.inherited import annotations_of_gone
from petrieve.store.known import Known, known
from petrieve.store.lock import writing
from petrieve.store.rows import BY_HAND, Embedded, microseconds, own, photo_of, photo_schema
from petrieve.store.upgrade import upgrade

if TYPE_CHECKING:
    import numpy as np

    from petrieve.extractor.exchange.exported import Rows

# Columns about a photo's file: all come from one store, never from two.
OF_THE_FILE = ("size", "modified", "version", "digest", "width", "height", "reason", "caveat", "gone")


def import_embeddings(where: Path, store: str | os.PathLike[str], *, photos: Path | None = None) -> tuple[int, Cache]:
    """The number of photos in an exported folder or Parquet file, and the cache that has them now, bit by bit.

    A store that exists must be of the same trunk. Of a photo that it knows, it keeps all values and gets those that it
    lacks; of two contents of a path the one that was modified later stays. `photos` is where the folder that held them
    all is now. Everything is checked before anything is written.

    Raises:
        PetrieveError: it has no card or another trunk's, or is damaged; a photo's path leads outside its root.
    """
    place = Store.at(store)
    export = opened(where, photos)
    roots = folder_of_all(export)
    with writing(place):
        upgrade(place)
        cache = _cache(place, export.made)
        cache.check(export.made.fingerprint, export.made.weights)
        cache.add_columns(photo_schema())  # a store of this format may lack the latest
        wider = cache.room_for(export.own)
        cache.add_columns(wider)
        there = known(cache)
        before = annotations_of_gone(cache, there)
        written, otherwise = set[bytes](), 0
        for read, embeddings in batches(export, roots):
            rows = dict(zip(read, carried(read.values(), export.own, wider), strict=True))
            told, differ = _told(rows, cache, there, before)
            cache.take_in(told, list(_new(told, rows, embeddings, there, written)), there)
            otherwise += differ
        cache.tidy()
        cache.sign()
    if otherwise:
        warn(
            f"{otherwise} photos have another label, split or column in {where}: the store keeps what it says, "
            "and `petrieve embed --labels FILE.csv` changes it"
        )
    return export.photos, Cache.open(place.path, cache.made.name)


def _cache(store: Store, made: Made) -> Cache:
    """The store's cache of the trunk that made an export, else its first; a new one where there is no store."""
    there = read_card(store)
    if there is None:
        return Cache.create(store, made, dimension=kind(made.kind).dimension)
    return Cache.open(store.path, made.name if made.name in [one.name for one in there.trunks] else None)


def _told(rows: "Rows", cache: Cache, there: Known, before: Lost) -> "tuple[Rows, int]":
    """Changes to write into the store, by path; and how many photos have another label, split or column there.

    Of a photo that the store has forgotten, the annotations `before` count, unless the row was annotated by hand.
    """
    paths, names = [path for path in rows if path in there], own(cache.photo_schema)
    said, marks = cache.told_of(paths, there), cache.by_hand_of(paths, there)
    told, differ = {}, 0
    for path, row in rows.items():
        if path not in there:
            told[path] = {**row, **before.of(path, row["digest"]), **said_by_hand(row, names)}
            continue
        by_hand = {name for name, mark in BY_HAND.items() if marks[path][mark]}
        words = {name: row[name] for name in said[path] if row.get(name) is not None}
        new = {name: word for name, word in words.items() if said[path][name] is None and name not in by_hand}
        same = {name for name, word in words.items() if said[path][name] == word}
        differ += words.keys() > new.keys() | same
        told[path] = new | {mark: row[mark] for name, mark in BY_HAND.items() if name in new}
        told[path] |= {mark: True for name, mark in BY_HAND.items() if name in same and row[mark]}
        if _is_later(row, path, there):
            told[path] |= {name: row[name] for name in OF_THE_FILE}
    return told, differ


def _is_later(row: Mapping[str, Any], path: str, there: Known) -> bool:
    """Whether a row is of a later file than the one that the store knows at its path, or cannot read there."""
    modified, digest = microseconds(row["modified"]), there.digest(path)
    if digest is None:
        return modified >= there.modified(path)
    return row["digest"] != digest and modified > there.modified(path)


def _new(told: "Rows", rows: "Rows", embeddings: "np.ndarray", there: Known, written: set[bytes]) -> Iterator[Embedded]:
    """The photos whose content the store will have, but not its embedding."""
    for (path, row), vector in zip(rows.items(), embeddings, strict=True):
        digest = row["digest"]
        wanted = "digest" in told[path] or there.digest(path) == digest
        if wanted and digest not in written and not there.embeddings.of(digest):
            written.add(digest)
            yield Embedded(photo_of(row, ()), digest, row["width"], row["height"], vector[None])
