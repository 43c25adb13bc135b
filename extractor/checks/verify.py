"""A store checked against itself and its photos: what is wrong, and what mends it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from petrieve.extractor.engines.local import results
from petrieve.extractor.sources.places import parts_of
from petrieve.extractor.trunks.choice import Compute, asking_trunk
from petrieve.extractor.trunks.ranges import read_ranges
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError
from petrieve.store.forgotten import damaged_rows
from petrieve.store.photo import Photo, digest_of
from petrieve.store.rows import Embedded, Unreadable, is_damage, own, photo_checksums, photo_of, vector_checksums

if TYPE_CHECKING:
    import numpy as np

# The worst photo of the default decoder, by DESIGN.md's bounds: the cache does not say in which precision it was made,
# but whether int8 has ever been used.
CLOSE, CLOSE_IN_INT8 = 0.995, 0.98
ANEW = "run `petrieve embed` on its folders with a new `--store`"
AGAIN = "`touch` it and run `petrieve embed` again"
GIVE_AGAIN = "give it again with `embed --labels`, when the photo is back"
LACKING = "run `petrieve embed` on its folder"


@dataclass(frozen=True, eq=False)
class Row:
    """What the store has of a photo."""

    photo: Photo
    digest: bytes | None
    gone: bool
    caveat: str | None
    views: "np.ndarray | None" = None  # the embeddings (V, D) of its content


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and what mends it."""

    what: str
    remedy: str


@dataclass(frozen=True)
class Verified:
    """What was looked at, and what was found.

    `changed`: photos that were opened and have gone or changed since they were embedded; this is not damage.
    """

    photos: int  # whose rows were read
    present: int  # of these, not marked as gone: the sample is drawn from them
    opened: int  # of these, read again and compared with their digests
    sampled: int  # of these, embedded again
    worst_cosine: float | None  # between a photo's embedding in the cache and its new one
    changed: list[str]
    findings: list[Finding]


def verify(cache: Cache, compute: Compute, *, sample: int = 32, every: bool = False) -> Verified:
    """What is wrong with a cache: every row is read, and `sample` photos, evenly spread, are embedded again.

    With `every`, the other photos are read again too, which finds those edited in place with size and time kept.

    Raises:
        PetrieveError: the weights or the device cannot be used.
    """
    try:
        rows, findings = _photos(cache)
        findings += _contents(cache, rows)
        findings += [
            Finding(f"what a CSV said of {path} when it was forgotten is damaged", GIVE_AGAIN)
            for path in damaged_rows(cache.store)
        ]
    except PetrieveError as error:
        return Verified(0, 0, 0, 0, None, [], [Finding(error.what, error.remedy)])
    paths = sorted(path for path, row in rows.items() if row.digest and not row.gone)
    count = min(sample, len(paths))
    drawn = [paths[number * len(paths) // count] for number in range(count)]
    others = sorted({*paths}.difference(drawn)) if every else []
    int8, damaged = _ranges(cache)
    findings += damaged
    changed, cosines = [], []
    embedded = _again(cache, [rows[path] for path in drawn], compute)
    for cached, now in chain(embedded, _read([rows[path] for path in others])):
        if isinstance(now, Unreadable) and not now.may_pass and _is_as_then(cached, now):
            rotten = f"{cached.photo.path} has the size and time that it had, and can no longer be read: {now.reason}"
            findings.append(Finding(rotten, "bring it back from a copy"))
        elif isinstance(now, Unreadable) or not _is_as_then(cached, now):
            changed.append(cached.photo.path)
        elif now.digest != cached.digest:
            same = f"{cached.photo.path} has the size and time that it had when it was embedded, and other bytes"
            findings.append(Finding(same, AGAIN))
        elif is_damage(now.caveat or "") and not cached.caveat:
            unsaid = f"{cached.photo.path} was embedded as if it were whole: {now.caveat}"
            findings.append(Finding(unsaid, "bring it back from a copy"))
        elif cached.views is not None:
            cosines.append(_cosine(cached.views, now.views))
            if cosines[-1] < (CLOSE_IN_INT8 if int8 else CLOSE):
                far = f"the embedding of {cached.photo.path} is not its own: its cosine to a new one is {cosines[-1]}"
                findings.append(Finding(far, ANEW))
    return Verified(
        photos=sum(bool(row.digest) for row in rows.values()),
        present=len(paths),
        opened=count + len(others),
        sampled=count,
        worst_cosine=min(cosines, default=None),
        changed=changed,
        findings=findings,
    )


def _photos(cache: Cache) -> tuple[dict[str, Row], list[Finding]]:
    """The rows of all photos by path, and what is wrong with those that can be read."""
    rows: dict[str, Row] = {}
    wrong, twice = [], []
    names = own(cache.photo_schema)
    for batch in cache.every_photo():
        for row, checksum in zip(batch.to_pylist(), photo_checksums(batch), strict=True):
            photo = photo_of(row, names)
            if row["checksum"] != checksum:
                wrong.append(Finding(f"the row of {photo.path} is damaged: its checksum does not fit", ANEW))
            if photo.path in rows:
                twice.append(Finding(f"{photo.path} has more than one row", ANEW))
            rows[photo.path] = Row(photo, row["digest"], row["gone"] is not None, row.get("caveat"))
    return rows, [*wrong, *twice]


def _contents(cache: Cache, rows: Mapping[str, Row]) -> list[Finding]:
    """What is wrong with the embeddings, and with photos that have none."""
    of = {row.digest: path for path, row in rows.items() if row.digest}
    views: dict[bytes, set[int]] = defaultdict(set)
    wrong, count = [], 0
    for batch, embeddings in cache.every_vector():
        digests, numbers = batch["digest"].to_pylist(), batch["view"].to_pylist()
        sums = vector_checksums(digests, numbers, embeddings)
        count += len(digests)
        listed = zip(digests, numbers, embeddings, batch["checksum"].to_pylist(), sums, strict=True)
        for digest, view, vector, there, checksum in listed:
            whose = of.get(digest, f"a content that no photo has any more ({digest.hex()[:8]})")
            views[digest].add(view)
            if not (abs(vector) < float("inf")).all() or not vector.any():
                wrong.append(Finding(f"the embedding of {whose} holds no numbers, or zeros alone", ANEW))
            elif there != checksum:
                wrong.append(Finding(f"the embedding of {whose} is damaged: its checksum does not fit", ANEW))
    lacking = [of[digest] for digest in of if digest not in views]
    wrong += [Finding(f"{path} has no embedding by {cache.made.name}", LACKING) for path in lacking]
    alone = [of[digest] for digest, there in views.items() if digest in of and len(there) <= max(there)]
    wrong += [Finding(f"{path} lacks views before others that it has", ANEW) for path in alone]
    if count != (counted := cache.counts()["views"]):
        wrong.append(Finding(f"the table counts {counted} rows and holds {count}", ANEW))
    return wrong


def _ranges(cache: Cache) -> tuple[bool, list[Finding]]:
    """Whether int8 has ever been used, and what is wrong with its ranges."""
    try:
        return read_ranges(cache.folder.ranges, cache.fingerprint, cache.made.kind) is not None, []
    except PetrieveError as error:
        return True, [Finding(error.what, error.remedy)]


def _again(cache: Cache, rows: Sequence[Row], compute: Compute) -> Iterator[tuple[Row, Embedded | Unreadable]]:
    """Each of these photos with its stored embeddings, beside the result of embedding it now."""
    if not rows:
        return
    trunk = asking_trunk(cache, compute)
    then = {row.photo.path: row for row in rows}
    held = cache.views_of({row.digest for row in rows if row.digest})
    made = results(
        parts_of(row.photo for row in rows),
        trunk=lambda: trunk,
        there=lambda _: None,
        batch=trunk.batch,
        workers=trunk.workers,
        views=max((len(views) for views in held.values()), default=1) - 1,
        once=False,
        keep_damaged=True,
    )
    with closing(made) as ready:
        for some in ready:
            for now in some:
                row = then[now.photo.path]
                yield replace(row, views=held.get(row.digest) if row.digest else None), now


def _read(rows: Sequence[Row]) -> Iterator[tuple[Row, Embedded | Unreadable]]:
    """Each of these photos beside the digest that it has now; nothing is embedded."""
    import numpy as np

    then = {row.photo.path: row for row in rows}
    for part, photos in parts_of(row.photo for row in rows):
        for now in part.read({photo.uri for photo in photos}):
            if isinstance(now, Unreadable):
                yield then[now.photo.path], now
            else:
                photo, data = now
                yield then[photo.path], Embedded(photo, digest_of(data), 0, 0, np.zeros((0, 0), np.float32))


def _is_as_then(cached: Row, now: Embedded | Unreadable) -> bool:
    return cached.photo.stamp == now.photo.stamp


def _cosine(one: "np.ndarray", other: "np.ndarray") -> float:
    """The lowest cosine among the views (V, D) that both have."""
    import numpy as np

    count = min(len(one), len(other))
    a, b = one[:count], other[:count]
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return round(min(1.0, float(((a * b).sum(axis=1) / np.maximum(lengths, 1e-12)).min())), 6)
