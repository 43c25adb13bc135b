"""Near-copies among a cache's photos: same bytes, same picture, same scene; as groups, each with its best photo."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from petrieve.index.duplicates.groups import BYTES, Group, grouped
from petrieve.index.duplicates.looks import as_picture, as_scene, as_scene_closely, as_whole
from petrieve.index.duplicates.near import Near, near, pairs
from petrieve.index.duplicates.present import Files, Present, present
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError
from petrieve.store.rows import unit_length

if TYPE_CHECKING:
    import numpy as np

NEIGHBOURS = 10  # of each photo that are looked at
# The share of made copies that may lie below a threshold, and of look-alikes that may lie above it.
MISSED, TAKEN = 0.02, 0.001
# Where between the two a threshold stands: nearer to the copies, because what is missed does no harm.
STRICT = 0.75
# Pairs that look less alike than this as a whole show no scene twice: it spares the longer look.
HINT = 0.3
# Pairs with different labels that are enough to measure with; where there are fewer, RANDOM pairs are drawn.
FEW_OTHERS, RANDOM = 30, 300
NOT_LOOKED = -1.0  # or not confirmed on a closer look
BLOCK = 4096  # pairs at a time
PICTURE, SCENE = "same picture", "same scene"
# No threshold is lower: look-alikes do not reach these, and few photos say little of look-alikes. As pictures, 126
# pairs of drawn adoption cards and of text reached 0.83; of 303 copies of photos, cards and text the lowest had 0.93.
LEAST = {PICTURE: 0.9, SCENE: 0.75}
# On a closer look, pairs of such cards and texts reached 0.57; of 73 crops of real photos all but a few had more.
CLOSELY = 0.7
LOOKS = 1000  # pairs that are looked at closely at a time
Glances = Callable[[Iterable[str]], "Mapping[str, np.ndarray]"]


class MadeCopies(Protocol):
    """Copies of one kind that were made of photos in the cache."""

    @property
    def kind(self) -> str:
        """`re-encoded`, `resized`, `mirrored` or `cropped`."""

    @property
    def rows(self) -> list[int]:
        """Of which rows of the cache."""

    @property
    def originals(self) -> "np.ndarray":
        """Their embeddings (n, D)."""

    @property
    def embeddings(self) -> "np.ndarray":
        """(n, D)."""

    @property
    def glances(self) -> "np.ndarray":
        """(n, S, S), grey."""

    @property
    def larger(self) -> "np.ndarray":
        """The same (n, 4 S, 4 S)."""


@dataclass(frozen=True, eq=False)
class Looks:
    """How contents look, by the ids of their first rows: at a glance, and larger, which is read when asked for."""

    glances: "Mapping[int, np.ndarray]"  # grey (S, S)
    closely: Callable[["np.ndarray"], "Mapping[int, np.ndarray]"]  # ids (n,) → grey (4 S, 4 S)


@dataclass(frozen=True, eq=False)
class Tried:
    """Made copies of one kind: how alike they are to their originals (n,), and whether a search finds them (n,)."""

    kind: str
    scores: "np.ndarray"
    is_candidate: "np.ndarray"


@dataclass(frozen=True)
class Fitted:
    """A threshold, and what it is worth.

    `found` is the share, by kind, of made copies that it and the search for candidates find. `others` are the pairs
    that it was tried on and that are not copies; `taken` of them reach it all the same.
    """

    kind: str
    threshold: float
    found: dict[str, float]
    others: int
    taken: int


@dataclass(frozen=True)
class Duplicates:
    """Groups of near-copies, and how the thresholds came about; `compared` counts the pairs that were looked at.

    A kind's groups have of each group of the kind before, which is nearer, only the best photo. Of the photos that were
    looked at, `links` are other names of files that are there under one already, and `changed` are gone or others since
    they were embedded: neither is in a group.
    """

    photos: int
    compared: int
    links: int
    changed: int
    others: str  # which pairs the thresholds were tried on that are not copies
    groups: list[Group]
    fitted: list[Fitted]


def find_duplicates(
    cache: Cache,
    made: Sequence[MadeCopies],
    *,
    files: Files,
    glances: Glances,
    larger: Glances,
    sharpness: Callable[[str], float],
) -> Duplicates:
    """The near-copies in a cache, among files that are there as they were embedded: other names are no copies.

    Photos whose embeddings are near are compared by their looks, because embeddings alone cannot tell a copy from a
    look-alike. Thresholds stand between copies `made` of the user's own photos and what nearly all candidates reach.
    How often they are wrong is counted on look-alikes with different labels; where there are few, on random pairs.

    Raises:
        PetrieveError: not one copy could be made.
    """
    import numpy as np

    none = PetrieveError("not one photo of the store could be read to make copies of", "bring the photos back")
    if not sum(len(one.rows) for one in made):
        raise none
    nearby = near(cache)
    least = _least_cosine(made)
    candidates = pairs(cache, nearby, k=NEIGHBOURS, at_least=least)
    twins = nearby.ids[np.isin(nearby.first, nearby.first[nearby.ids != nearby.first])]
    originals = nearby.contents(np.array([row for one in made for row in one.rows], np.int64))
    same = nearby.ids[np.isin(nearby.first, np.concatenate([candidates.ravel(), originals]))]
    there = present(cache, nearby, np.union1d(same, twins), files)
    shown = np.unique(np.concatenate([candidates.ravel(), originals]))
    looks = Looks(_seen(there, glances, shown), partial(_seen, there, larger))
    if not np.isin(originals, list(looks.glances)).any():  # copies may be of an earlier run, and these have gone since
        raise none
    candidates = candidates[np.isin(candidates, list(looks.glances)).all(axis=1)]
    scores = _scores(candidates, looks)
    others, which = _others(candidates, scores, there, looks)
    unlike = scores[0] < LEAST[PICTURE]  # a store may hold more copies than look-alikes, and is fitted to these
    fitted = []
    for place, kind in enumerate((PICTURE, SCENE)):
        of_kind = [one for one in made if (one.kind == "cropped") == (kind == SCENE)]
        tried = [_tried(kind, one, looks, nearby, least) for one in of_kind]
        threshold = _threshold(kind, tried, scores[place, unlike])
        fitted.append(_worth(kind, threshold, tried, others[place]))
    groups, stands_for = grouped(BYTES, there.twins, {}, there.photos, sharpness)
    for place, one in enumerate(fitted):
        linked = [[there.shown[end] for end in pair] for pair in candidates[scores[place] >= one.threshold].tolist()]
        more, stands_for = grouped(one.kind, linked, stands_for, there.photos, sharpness)
        groups += more
    return Duplicates(len(nearby.ids), len(candidates), there.links, there.changed, which, groups, fitted)


def _least_cosine(made: Sequence[MadeCopies]) -> float:
    """The cosine that nearly all made copies reach with their originals: pairs below it are not candidates."""
    import numpy as np

    cosines = [(unit_length(one.originals) * unit_length(one.embeddings)).sum(axis=1) for one in made if len(one.rows)]
    return float(np.quantile(np.concatenate(cosines), MISSED))


def _seen(there: Present, glances: Glances, contents: "np.ndarray") -> "dict[int, np.ndarray]":
    """How these contents look; those of which no photo can be read any more are left out."""
    paths = {one: there.photos[there.shown[one]].photo for one in contents.tolist() if one in there.shown}
    seen = glances(paths.values())
    return {one: seen[path] for one, path in paths.items() if path in seen}


def _scores(pairs_: "np.ndarray", looks: Looks) -> "np.ndarray":
    """How alike the photos of each pair are (2, m): as a picture, and as a scene."""
    import numpy as np

    scores = np.full((2, len(pairs_)), NOT_LOOKED, np.float32)
    for start in range(0, len(pairs_), BLOCK):
        part = slice(start, start + BLOCK)
        one, other = (np.stack([looks.glances[row] for row in ids]) for ids in pairs_[part].T.tolist())
        scores[0, part] = as_picture(one, other)
        for place in np.flatnonzero(as_whole(one, other) >= HINT).tolist():
            scores[1, start + place] = as_scene(one[place], other[place])
    likely = np.flatnonzero((scores[1] >= LEAST[SCENE]) & (scores[0] < LEAST[PICTURE]))
    for start in range(0, len(likely), LOOKS):
        some = likely[start : start + LOOKS]
        large = looks.closely(np.unique(pairs_[some]))
        for place, (a, b) in zip(some.tolist(), pairs_[some].tolist(), strict=True):
            if not (a in large and b in large and _is_scene(looks.glances[a], looks.glances[b], large[a], large[b])):
                scores[1, place] = NOT_LOOKED
    return scores


def _is_scene(one: "np.ndarray", other: "np.ndarray", larger: "np.ndarray", larger_other: "np.ndarray") -> bool:
    return as_scene_closely(one, other, larger, larger_other) >= CLOSELY


def _others(candidates: "np.ndarray", scores: "np.ndarray", there: Present, looks: Looks) -> "tuple[np.ndarray, str]":
    """The scores (2, n) of pairs that are not copies, and which pairs those are."""
    import numpy as np

    labels = [[there.photos[there.shown[one]].label for one in pair] for pair in candidates.tolist()]
    differ = np.array([None not in pair and pair[0] != pair[1] for pair in labels], bool)
    if differ.sum() >= FEW_OTHERS:
        return scores[:, differ], "look-alikes with different labels"
    ids = np.array(sorted(looks.glances), np.int64)
    drawn = np.random.default_rng(0).choice(ids, (RANDOM, 2)) if len(ids) else np.zeros((0, 2), np.int64)
    near_ones = set(map(tuple, candidates.tolist()))
    apart = [one != other and (min(one, other), max(one, other)) not in near_ones for one, other in drawn.tolist()]
    drawn = drawn[np.array(apart, bool)]
    return _scores(drawn, looks), "random pairs"


def _tried(kind: str, made: MadeCopies, looks: Looks, nearby: Near, least: float) -> Tried:
    """What becomes of made copies: only those whose originals can be looked at count."""
    import numpy as np

    contents = nearby.contents(np.array(made.rows, np.int64))
    there = np.isin(contents, list(looks.glances))
    contents = contents[there]
    scores = _made_scores(kind, contents, made.glances[there], made.larger[there], looks)
    ids, cosines = nearby.search(made.embeddings[there], NEIGHBOURS)
    return Tried(made.kind, scores, ((ids == contents[:, None]) & (cosines >= least)).any(axis=1))


def _threshold(kind: str, tried: Sequence[Tried], near_ones: "np.ndarray") -> float:
    """The threshold between made copies and what look-alikes reach: scores of candidates, few of them copies."""
    import numpy as np

    copies = max(float(np.quantile(np.concatenate([one.scores for one in tried]), MISSED)), LEAST[kind])
    looked = near_ones[near_ones > NOT_LOOKED]
    alike = _reached_by_few(looked) if len(looked) >= FEW_OTHERS else LEAST[kind]
    return max(alike, LEAST[kind], STRICT * copies + (1 - STRICT) * alike)


def _worth(kind: str, threshold: float, tried: Sequence[Tried], others: "np.ndarray") -> Fitted:
    """What a threshold finds of made copies, and takes of other pairs (scores)."""
    shares = {
        one.kind: round(float(((one.scores >= threshold) & one.is_candidate).mean()), 4)
        for one in tried
        if len(one.scores)
    }
    return Fitted(kind, round(threshold, 4), shares, len(others), int((others >= round(threshold, 4)).sum()))


def _reached_by_few(scores: "np.ndarray") -> float:
    """The correlation that only TAKEN of such pairs reach, by median and spread: copies among them hardly move it.

    Fisher's z makes correlations normal (Fisher, 1915); 1.4826 times the median deviation is a normal one's.
    """
    from statistics import NormalDist

    import numpy as np

    z = np.arctanh(np.clip(scores, -0.999, 0.999))
    middle = np.median(z)
    spread = 1.4826 * np.median(np.abs(z - middle))
    return float(np.tanh(middle + NormalDist().inv_cdf(1 - TAKEN) * spread))


def _made_scores(
    kind: str, contents: "np.ndarray", copies: "np.ndarray", larger: "np.ndarray", looks: Looks
) -> "np.ndarray":
    """How alike copies (n, S, S) of these contents (n,) are to them: as a picture, or as a scene."""
    import numpy as np

    if not len(contents):
        return np.zeros(0)
    originals = np.stack([looks.glances[content] for content in contents.tolist()])
    if kind == PICTURE:
        return as_picture(originals, copies)
    large = looks.closely(contents)
    scores = np.full(len(contents), NOT_LOOKED)
    for place, content in enumerate(contents.tolist()):
        one, other = originals[place], copies[place]
        if content in large and _is_scene(one, other, large[content], larger[place]):
            scores[place] = as_scene(one, other)
    return scores
