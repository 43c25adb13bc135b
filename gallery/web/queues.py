"""The lists of photos that are to be looked at: made once, beside the pages, and again when the store has changed."""

import heapq
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from petrieve.classifier import head
from petrieve.gallery import words
from petrieve.gallery.web.decisions import Decision, question_of, to_go
from petrieve.gallery.web.desk import Desk, stamp, told
from petrieve.store.contents import EMBEDDED
from petrieve.store.digests import as_array
from petrieve.store.errors import PetrieveError
from petrieve.store.photo import digest_of, path_of

if TYPE_CHECKING:
    from petrieve.store.cache import Cache

LEAST_SURE = 500  # photos of that list
FINDINGS = {"labels": {"label", "doubt"}, "conflicts": {"conflict"}, "leaks": {"leak"}, "outliers": {"outlier"}}
LISTS = {
    "labels": ("Labels to look at", "Labels that Petrieve doubts, the most doubtful first. Stop whenever you like."),
    "unsure": ("Least sure", "Photos that Petrieve is least sure of. A label here teaches it the most."),
    "copies": ("Near-copies", "Two photos of one picture, or of one scene. Which is to go?"),
    "conflicts": ("Contradictions", "Copies of one picture that have different labels."),
    "leaks": ("Leaks between splits", "Photos held out for measuring, of which a copy is in another split."),
    "outliers": ("Outliers", "Photos unlike all others: perhaps no pet at all."),
}


@dataclass(frozen=True)
class ShownPhoto:
    """One photo of an item."""

    digest: str
    path: str
    label: str | None
    size: str = ""  # in pixels and bytes


@dataclass(frozen=True)
class Item:
    """What is asked about: a photo, or two that are copies, of which the first is the better."""

    key: str
    photos: tuple[ShownPhoto, ...]
    reason: str
    suggested: str | None = None
    beside: ShownPhoto | None = None  # the copy that a photo has to do with, which is not what is asked about

    @property
    def claim(self) -> str | None:
        """The label that is right where somebody says `right`."""
        return self.photos[0].label or self.suggested


@dataclass(frozen=True)
class Found:
    """A list that was made: single photos, or groups of copies, each the best first."""

    items: tuple[Item, ...] = ()
    groups: tuple[tuple[str, tuple[ShownPhoto, ...]], ...] = ()  # kind, photos
    expected_wrong: float = 0.0


@dataclass(eq=False)
class Queues:
    """The lists of a store; `problems` says why one could not be made."""

    lists: dict[str, Found] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    made_of: dict[str, object] = field(default_factory=dict)  # what each maker's lists were made from
    version: object = None
    busy: bool = False
    lock: Lock = field(default_factory=Lock)

    def is_made(self, name: str) -> bool:
        """Whether a list is there, or why not is known."""
        return name in self.lists or name in self.problems


def queues_of(desk: Desk, then: Callable[[], None] = lambda: None) -> Queues:
    """The lists as they are now; those that the store has outgrown are made anew meanwhile, and `then` is called."""
    queues: Queues = desk.more.setdefault("queues", Queues())
    cache = desk.store.cache()
    version = cache.version, stamp(cache.folder.head)
    with queues.lock:
        if queues.busy or queues.version == version:
            return queues
        queues.busy, queues.version = True, version
    Thread(target=_make, args=(desk, queues, cache, then), name="lists", daemon=True).start()
    return queues


def _make(desk: Desk, queues: Queues, cache: "Cache", then: Callable[[], None]) -> None:
    try:
        with suppress(PetrieveError):  # a store that cannot be written to is looked through all the same
            then()
        for maker, (names, state, make) in MAKERS.items():
            made_of = state(cache)
            if queues.made_of.get(maker) == made_of:
                continue
            try:
                with warnings.catch_warnings(action="ignore"):
                    found = make(desk, cache)
                problems = {}
            except Exception as error:  # of one list; the others are made all the same
                found, problems = {}, {name: words.as_options(told(desk, str(error))) for name in names}
            with queues.lock:
                queues.lists = {name: one for name, one in queues.lists.items() if name not in names} | found
                queues.problems = {name: one for name, one in queues.problems.items() if name not in names} | problems
                queues.made_of[maker] = made_of
    finally:
        queues.busy = False


def _least_sure(_: Desk, cache: "Cache") -> dict[str, Found]:
    """Photos between whose two most probable classes the least lies; without a head, some that have no label."""
    import numpy as np

    if not cache.folder.head.exists() and (some := _unlabelled(cache)):
        return {"unsure": Found(some)}
    fitted = head.load(cache)
    best: list[tuple[float, str, Item]] = []
    for photos, embeddings in cache.embeddings(["root", "uri", "label", "gone", "digest"]):
        probabilities = fitted.predict(embeddings)
        order = np.sort(probabilities, axis=1)
        near = order[:, -2] - order[:, -1]  # 0 where two are as probable
        for place in np.argsort(-near)[:LEAST_SURE].tolist():
            row = photos.slice(place, 1).to_pylist()[0]
            if row["gone"] is None:
                item = _unsure(row, probabilities[place], fitted.classes)
                best.append((float(near[place]), item.key, item))
        best = heapq.nlargest(LEAST_SURE, best, key=lambda one: one[:2])
    once = {key: item for _, key, item in best}
    return {"unsure": Found(tuple(once.values()))}


def _unlabelled(cache: "Cache") -> tuple[Item, ...]:
    """Photos without a label, in the order of their digests, which is as good as by lot."""
    batches = cache.photos(["root", "uri", "digest"], f"{EMBEDDED} AND label IS NULL AND gone IS NULL")
    rows = heapq.nsmallest(
        LEAST_SURE, (row for batch in batches for row in batch.to_pylist()), key=lambda row: row["digest"]
    )
    shown = {row["digest"].hex(): path_of(row["root"], row["uri"]) for row in rows}
    return tuple(
        Item(digest, (ShownPhoto(digest, path, None),), "It has no label yet.") for digest, path in shown.items()
    )


def _unsure(row: Mapping[str, Any], probabilities: Any, classes: Sequence[str]) -> Item:
    first, second, *_ = probabilities.argsort()[::-1].tolist()
    said = [f"{classes[one]} {probabilities[one]:.0%}" for one in (first, second)]
    shown = ShownPhoto(row["digest"].hex(), path_of(row["root"], row["uri"]), row["label"])
    other = classes[first] if classes[first] != row["label"] else classes[second]
    return Item(shown.digest, (shown,), f"Petrieve says {said[0]}, {said[1]}", other)


def _audited(desk: Desk, cache: "Cache") -> dict[str, Found]:
    """What the audit has found, by the kind of its findings."""
    audited = desk.store.audit()
    worst = audited.worst()
    copies = {copy for one in worst for copy in one.copies.values()}
    there = _shown(cache, [*copies, *(one.photo for one in worst)])
    found: dict[str, list[Item]] = defaultdict(list)
    for one in worst:
        if (shown := there.get(one.photo)) is None:
            continue
        reason = one.reason[:1].upper() + one.reason[1:]
        for copy in one.copies.values():
            reason = reason.replace(words.name(copy), os.path.basename(copy))  # it is shown beside it
        for name, kinds in FINDINGS.items():
            if kinds & set(one.kinds):
                beside = next((there.get(copy) for kind, copy in one.copies.items() if kind in kinds), None)
                found[name].append(Item(shown.digest, (shown,), reason, one.suggested, beside))
    return {name: Found(tuple(found[name]), expected_wrong=audited.expected_wrong) for name in FINDINGS}


def _copied(desk: Desk, cache: "Cache") -> dict[str, Found]:
    """Groups of near-copies."""
    groups = desk.store.duplicates().groups
    digests = _digests(cache, [one.photo for group in groups for one in group.photos])
    shown = [
        (
            group.kind,
            tuple(
                ShownPhoto(
                    digests[one.photo],
                    one.photo,
                    one.label,
                    _size(width=one.width, height=one.height, size=one.size),
                )
                for one in group.photos
                if one.photo in digests
            ),
        )
        for group in groups
    ]
    return {"copies": Found(groups=tuple(shown))}


def _shown(cache: "Cache", paths: Iterable[str]) -> dict[str, ShownPhoto]:
    """The photos at these paths, as they are shown beside each other."""
    digests = _digests(cache, paths)
    contents = as_array(bytes.fromhex(one) for one in digests.values())
    rows = cache.photos_of(contents, ["root", "uri", "label", "split", "width", "height", "size"]).to_pylist()
    found = {path_of(row["root"], row["uri"]): row for row in rows} if digests else {}
    return {
        path: ShownPhoto(digests[path], path, row["label"], ", ".join(filter(None, (row["split"], _size(**row)))))
        for path, row in found.items()
        if path in digests
    }


def _size(*, width: int, height: int, size: int, **_: Any) -> str:
    """How large a photo is, in words."""
    return f"{width} × {height}, {size / 1000:,.0f} kB"


def _digests(cache: "Cache", paths: Iterable[str]) -> dict[str, str]:
    rows = cache.known_of(dict.fromkeys(paths))
    return {path_of(row["root"], row["uri"]): row["digest"].hex() for row in rows if row["digest"]}


def _contents(cache: "Cache") -> object:
    """Changes with the photos and their places, and not with what is said of them."""
    batches = (batch.to_pydict() for batch in cache.photos(["root", "uri", "digest", "gone"], None))
    return sum(hash(row) for one in batches for row in zip(*(one[name] for name in sorted(one)), strict=True))


# What is made together: its lists, what it depends on, and who makes it. The quickest first.
MAKERS: dict[str, tuple[Sequence[str], Callable[["Cache"], object], Callable[[Desk, "Cache"], dict[str, Found]]]] = {
    "head": (("unsure",), lambda cache: (cache.version, stamp(cache.folder.head)), _least_sure),
    "audit": (tuple(FINDINGS), lambda cache: cache.version, _audited),
    "copies": (("copies",), _contents, _copied),
}


def left_of(name: str, found: Found, standing: Mapping[tuple[str, str], Decision], desk: Desk) -> list[Item]:
    """The items of a list that nobody has decided, in its order."""
    if found.groups:
        return _pairs(name, found, standing, desk)
    return [one for one in found.items if not is_decided(name, one, standing)]


def is_decided(name: str, item: Item, standing: Mapping[tuple[str, str], Decision]) -> bool:
    """Whether somebody has decided; a label that has since become a third one is to be looked at again."""
    if (name, item.key) in standing and standing[name, item.key].what == "skip":
        return True
    decided = standing.get((question_of(name), item.key))
    if decided is None or decided.what != "label":
        return decided is not None
    return (item.photos[0].label or None) in (decided.label, decided.old)


def _pairs(name: str, found: Found, standing: Mapping[tuple[str, str], Decision], desk: Desk) -> list[Item]:
    """The pairs of each group: its best photo that stays, beside each other one."""
    going = to_go(standing, lambda digests: places_of(desk, digests))
    pairs = []
    for kind, photos in found.groups:
        there = [one for one in photos if one.path not in going]
        pairs += [pair_of(kind, there[0], other) for other in there[1:]]
    return [one for one in pairs if not is_decided(name, one, standing)]


def pair_of(kind: str, best: ShownPhoto, other: ShownPhoto) -> Item:
    """The item of two copies; what names it is their contents, and of equal ones also the place of the second."""
    key = "-".join(sorted((best.digest, other.digest)))
    place = f"-{digest_of(other.path.encode('utf-8', 'surrogateescape')).hex()}" if best.digest == other.digest else ""
    return Item(key + place, (best, other), kind[:1].upper() + kind[1:])


def places_of(desk: Desk, digests: Iterable[bytes]) -> dict[bytes, list[str]]:
    """Where contents are in the store now, by their digests."""
    wanted = list(digests)
    found: dict[bytes, list[str]] = defaultdict(list)
    if wanted:
        rows = desk.store.index().cache.photos_of(as_array(wanted), ["root", "uri", "gone"]).to_pylist()
        for row in sorted(rows, key=lambda row: (row["root"], row["uri"])):
            if row["gone"] is None:
                found[row["digest"]].append(path_of(row["root"], row["uri"]))
    return found
