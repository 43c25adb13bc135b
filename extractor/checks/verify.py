"""The store held against itself and against its photos: what is wrong, and what mends it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from extractor.engines.local import results
from extractor.trunks.fitting import fitting_trunk
from extractor.trunks.ranges import kept
from store.cache import Cache
from store.errors import PetrieveError
from store.photo import path_of
from store.rows import Embedded, Unreadable, checksums

# The worst photo of the default decoder, by DESIGN.md's bounds: the cache does not say in which precision it was made,
# but whether int8 has ever been used.
CLOSE, CLOSE_IN_INT8 = 0.995, 0.98
ANEW = "run `cli.py embed` on its folders with a new `--store`"
AGAIN = "`touch` it and run `cli.py embed` again"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and what mends it."""

    what: str
    remedy: str


@dataclass(frozen=True)
class Verified:
    """What was looked at, and what was found.

    `changed`: photos of the sample that are gone or others since they were embedded, which is no damage.
    """

    photos: int  # whose rows were read
    sampled: int  # of these, embedded again
    worst_cosine: float | None  # between a photo's embedding in the cache and its new one
    changed: list[str]
    findings: list[Finding]


def verify(cache: Cache, *, sample: int = 32, device: str = "auto", precision: str = "auto") -> Verified:
    """What is wrong with a cache: every row is read, and `sample` photos, evenly spread, are embedded again.

    Raises:
        PetrieveError: the weights or the device cannot be used.
    """
    try:
        rows, findings = _read(cache)
    except PetrieveError as error:
        return Verified(0, 0, None, [], [Finding(error.what, error.remedy)])
    ids = sorted(rows, key=rows.__getitem__)
    count = min(sample, len(ids))
    chosen = [ids[number * len(ids) // count] for number in range(count)]
    int8, damaged = _ranges(cache)
    findings += damaged
    changed, cosines = [], []
    for cached, now in _again(cache, chosen, device, precision):
        if isinstance(now, Unreadable) and not now.may_pass and _is_as_then(cached, now):
            rotten = f"{cached.photo.path} has the size and time that it had, and can no longer be read: {now.reason}"
            findings.append(Finding(rotten, "bring it back from a copy"))
        elif isinstance(now, Unreadable) or not _is_as_then(cached, now):
            changed.append(cached.photo.path)
        elif now.digest != cached.digest:
            same = f"{cached.photo.path} has the size and time that it had when it was embedded, and other bytes"
            findings.append(Finding(same, AGAIN))
        else:
            cosines.append(_cosine(cached, now))
            if cosines[-1] < (CLOSE_IN_INT8 if int8 else CLOSE):
                far = f"the embedding of {cached.photo.path} is not its own: its cosine to a new one is {cosines[-1]}"
                findings.append(Finding(far, ANEW))
    return Verified(len(rows), count, min(cosines, default=None), changed, findings)


def _read(cache: Cache) -> tuple[dict[int, str], list[Finding]]:
    """Each photo's path by the id of its first row, and what is wrong with rows that can be read."""
    rows, views = {}, Counter[tuple[str, int]]()
    wrong: list[Finding] = []
    for photos, embeddings in cache.embeddings(every_view=True):
        for photo, vector, checksum in zip(photos.to_pylist(), embeddings, checksums(photos, embeddings), strict=True):
            path = path_of(photo["root"], photo["uri"])
            if photo["view"] == 0:
                rows[photo["_rowid"]] = path
            views[path, photo["view"]] += 1
            if not (abs(vector) < float("inf")).all() or not vector.any():
                wrong.append(Finding(f"the embedding of {path} holds no numbers, or zeros alone", ANEW))
            elif photo["checksum"] != checksum:
                wrong.append(Finding(f"the row of {path} is damaged: its checksum is another's", ANEW))
    twice = [path for (path, _), count in views.items() if count > 1]
    findings = [*wrong, *(Finding(f"{path} has more than one row", ANEW) for path in twice)]
    alone = [path for path, view in views if view and (path, view - 1) not in views]
    findings += [Finding(f"{path} lacks views before others that it has", ANEW) for path in alone]
    if views.total() != (count := cache.counts()["views"]):
        findings.append(Finding(f"the table counts {count} rows and holds {views.total()}", ANEW))
    both = [path for path, bad in cache.unreadable().items() if (path, 0) in views and not bad.may_pass]
    findings += [Finding(f"{path} is both embedded and listed as unreadable", AGAIN) for path in both]
    return rows, findings


def _ranges(cache: Cache) -> tuple[bool, list[Finding]]:
    """Whether int8 has ever been used, and what is wrong with its ranges."""
    try:
        return kept(cache.store, cache.fingerprint) is not None, []
    except PetrieveError as error:
        return True, [Finding(error.what, error.remedy)]


def _again(
    cache: Cache, ids: list[int], device: str, precision: str
) -> Iterator[tuple[Embedded, Embedded | Unreadable]]:
    """Each of these rows beside what its photo gives now."""
    if not ids:
        return
    trunk = fitting_trunk(cache, cache.store, cache.weights, device, precision)
    rows = {one.row: one.rows for one in cache.known().values()}
    found = cache.rows([row for first in ids for row in rows.get(first, (first,))])
    then = {found[row].photo.path: found[row] for row in ids if row in found}
    photos = [row.photo for row in then.values()]
    views = max(len(row.augmented) for row in then.values())
    made = results(
        photos, trunk=lambda: trunk, cache=cache, rows={}, batch=trunk.batch, workers=trunk.workers, views=views
    )
    with closing(made) as ready:
        for some in ready:
            for now in some:
                yield then[now.photo.path], now


def _is_as_then(cached: Embedded, now: Embedded | Unreadable) -> bool:
    return (cached.photo.size, cached.photo.modified) == (now.photo.size, now.photo.modified)


def _cosine(one: Embedded, other: Embedded) -> float:
    """Of the views that both have: the worst one's."""
    import numpy as np

    count = min(len(one.views), len(other.views))
    a, b = one.views[:count], other.views[:count]  # (V, 1024)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return round(min(1.0, float(((a * b).sum(axis=1) / np.maximum(lengths, 1e-12)).min())), 6)
