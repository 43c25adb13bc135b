"""What a run has to do: the photos of its sources, compared with what the store knows of them."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from petrieve.extractor.find import Found, is_under, overlap, under_any
from petrieve.extractor.manifest import Manifest, Slice
from petrieve.extractor.sources.folder import is_folder
from petrieve.extractor.sources.source import Part, number_of
from petrieve.store.contents import SCAN
from petrieve.store.errors import PetrieveError
from petrieve.store.forgotten import Lost
from petrieve.store.known import Known
from petrieve.store.photo import Photo
from petrieve.store.rows import is_damage, may_pass

if TYPE_CHECKING:
    import numpy as np

# The state of each listed photo, as bits. One that an earlier source has is TWICE, and nothing else.
NEW, KNOWN, TODO, UNREADABLE, ABOVE, BACK, CLOSED, TWICE = (1 << bit for bit in range(8))
EVERY = NEW | KNOWN
Rows = Mapping[str, dict[str, Any]]  # columns of photos, by path
Annotate = Callable[[Photo, int], Photo]  # (photo, state) → the photo, annotated


@dataclass(frozen=True, eq=False)
class Plan:
    """The state of each listed photo, and of the photos that the store holds beside them."""

    manifest: Manifest
    states: "list[np.ndarray]"  # uint8, of each slice
    counts: "np.ndarray"  # (S, 4), of each source: photos to do, cached, unreadable; and how many of all are new
    sources: dict[str, int]  # by root, and by the path of one that is a photo
    seen: "np.ndarray"  # bool, of all that the store knows: whether it was listed
    missing: list[str]  # paths that the store holds and the sources no longer
    reopened: list[str]  # folders that could not be listed before
    lost: Lost = field(default_factory=Lost)  # annotations of photos that are no longer at their path

    @property
    def todo(self) -> int:
        """How many photos are to be embedded."""
        return int(self.counts[:, 0].sum())

    def slices(self, wanted: int = EVERY) -> "Iterator[tuple[Slice, np.ndarray]]":
        """Those photos that have one of these bits, and all bits of each, slice by slice."""
        for number, states in enumerate(self.states):
            chosen = (states & wanted) > 0
            if chosen.any():
                yield self.manifest.read(number).only(chosen), states[chosen]

    def has(self, wanted: int) -> bool:
        """Whether a photo has one of these bits; folders that cannot be listed do not count."""
        return any((states[states & CLOSED == 0] & wanted).any() for states in self.states)

    def sample(self, count: int) -> Iterator[Photo]:
        """About N of the known photos, evenly spread."""
        import numpy as np

        chosen = [np.flatnonzero(states & (KNOWN | CLOSED) == KNOWN) for states in self.states]
        step, first = 1 + sum(map(len, chosen)) // count, 0
        for number, places in enumerate(chosen):
            if len(some := places[-first % step :: step]):
                mask = np.zeros(len(self.states[number]), bool)
                mask[some] = True
                yield from self.manifest.read(number).only(mask).photos()
            first += len(places)

    def photos(self, wanted: int = EVERY) -> Iterator[tuple[Photo, int]]:
        """The same, one by one."""
        for some, states in self.slices(wanted):
            yield from zip(some.photos(), states.tolist(), strict=True)

    def listed(self) -> Iterator[Photo]:
        """All photos, each once."""
        return (photo for photo, _ in self.photos())

    def rows(self) -> Iterator[tuple[int, Photo]]:
        """All photos, each once and with the number of its part."""
        for some, _ in self.slices():
            yield from zip(some.parts(), some.photos(), strict=True)

    def work(self, annotate: Annotate) -> Iterator[tuple[Part, Sequence[Photo]]]:
        """The photos to embed, annotated, in parts that hold no others."""
        every = ((some, states, some.parts()) for some, states in self.slices(TODO))
        rows = (
            (number, annotate(photo, state))
            for some, states, numbers in every
            for number, photo, state in zip(numbers, some.photos(), states.tolist(), strict=True)
        )
        return self.manifest.in_parts(rows)

    def source_of(self, photo: Photo) -> int:
        """The number of the source in which a photo was found first."""
        return number_of(self.sources, photo)


def plan(
    manifest: Manifest,
    found: Sequence[Found],
    sources: Sequence[str],
    known: Known,
    *,
    views: int,
    retry: bool,
    keep_damaged: bool,
) -> Plan:
    """The photos that are new, changed, known, unreadable or gone. With `retry`, unreadable ones are to be embedded
    again, and with `keep_damaged`, those that are unreadable because they are damaged.

    A known photo has N augmented `views` at least.
    """
    import numpy as np

    states, closed, taken, several = list[np.ndarray](), list[str](), set[str](), overlap(sources)
    counts, firsts = np.zeros((len(found), 4), np.int64), [one.photos.first for one in found]
    of = {one.name: number for number, one in reversed(list(enumerate(found)))}
    seen = np.zeros(len(known), bool)
    for number in range(manifest.slices()):
        some = manifest.read(number)
        places = known.places_of_texts(some.texts())
        seen[places[places >= 0]] = True
        state = _states(some, places, known, views=views, retry=retry, keep_damaged=keep_damaged)
        if several:
            paths = some.paths()
            first = {path: place for place, path in reversed(list(enumerate(paths))) if path not in taken}
            state[~np.isin(np.arange(len(paths)), list(first.values()))] = TWICE
            taken.update(first)
        states.append(state)
        closed += some.only(state & CLOSED > 0).paths()
        at = np.searchsorted(firsts, np.arange(*manifest.starts[number : number + 2]), "right") - 1
        for part, place in zip(*np.unique(some.rows["part"], return_index=True), strict=True):
            of.setdefault(some.of_parts[part], int(at[place]))
        cached = (state & KNOWN > 0) & (state & (TODO | UNREADABLE) == 0)
        for column, these in enumerate((state & TODO > 0, cached, state & UNREADABLE > 0, state & NEW > 0)):
            np.add.at(counts[:, column], at[these], 1)
    missing, reopened = _unseen(sources, known, seen, tuple(closed))
    return Plan(manifest, states, counts, of, seen, missing, reopened)


def _states(
    some: Slice,
    places: "np.ndarray",
    known: Known,
    *,
    views: int,
    retry: bool,
    keep_damaged: bool,
) -> "np.ndarray":
    """The bits of photos (n,) that a store knows at these places, -1 where it does not: uint8."""
    import numpy as np
    import pyarrow.compute as pc

    state = np.where(places < 0, NEW, KNOWN).astype(np.uint8)
    state[pc.or_(pc.ends_with(some.rows["uri"], "/"), pc.equal(some.rows["uri"], "")).to_numpy(False)] |= CLOSED
    there = np.flatnonzero(places >= 0)
    at = places[there]
    same = known.as_then(at, some.only(places >= 0).rows)
    cached, failed = same & (known.views[at] > views), np.zeros(len(at), bool)
    unread = np.isin(at, np.fromiter(known.reasons, np.int64)) if known.reasons else failed.copy()
    for one in np.flatnonzero(unread).tolist():
        reason = known.reasons[int(at[one])]
        failed[one] = same[one] and not (may_pass(reason) or retry or (keep_damaged and is_damage(reason)))
        cached[one] &= may_pass(reason)
    lengths = np.array([*map(len, known.roots), 0])[known.of_roots[at]]
    above = some.root_lengths()[there] < lengths
    back = known.away[at] & (cached | failed) | unread & cached
    for bit, these in ((UNREADABLE, failed), (ABOVE, above), (BACK, back)):
        state[there[these]] |= bit
    todo = np.ones(len(places), bool)
    todo[there[cached | failed]] = False
    state[todo] |= TODO
    return state


def _unseen(
    sources: Sequence[str], known: Known, seen: "np.ndarray", closed: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    """Of what a store holds of these sources and was not listed, photos, and folders that could not be listed before.

    What lies in a folder that is closed now may exist.
    """
    import numpy as np

    ours, gone = under_any(sources), list[str]()
    left = np.flatnonzero(~seen)
    for start in range(0, len(left), SCAN):
        gone += [path for path in known.paths(left[start : start + SCAN]) if ours(path) and not path.startswith(closed)]
    return sorted(path for path in gone if not is_folder(path)), [path for path in gone if is_folder(path)]


def check_loss(made: Plan, sources: Sequence[str], known: Known, forget: int | None) -> None:
    """Refuse to forget most of a source, or a folder that is empty now: a disk may not be there.

    `forget` is the number of photos to forget that somebody has typed.

    Raises:
        PetrieveError: most is missing, and `forget` is not the number of missing photos.
    """
    if forget is not None and forget != len(made.missing):
        raise PetrieveError(f"{len(made.missing)} photos are gone, not {forget}", "check which, and run it again")
    lost = _lost(made.missing, sources, known)
    if lost and forget is None:
        raise PetrieveError(
            f"{lost}: its disk may not be there",
            f"bring it back, or add `forget={len(made.missing)}` to `prune=True` to forget them",
        )


def _lost(missing: Sequence[str], sources: Sequence[str], known: Known) -> str | None:
    """Why photos may be missing because a disk is."""
    for source in sources:
        if source in known:  # one photo, which has been named
            continue
        held, gone = (sum(is_under(path, source) for path in paths) for paths in (known, missing))
        if 2 * gone > held:
            return f"{source} lacks {gone} of {held} photos that the store has of it"
    for folder in sorted({os.path.dirname(path) for path in missing}):
        if os.path.isdir(folder) and not os.listdir(folder):
            return f"{folder} is empty, and the store has photos of it"
    return None
