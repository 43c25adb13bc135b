"""What can be decided about photos that are looked at, and what comes of it."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from petrieve.classifier import head
from petrieve.gallery import words
from petrieve.gallery.web import jobs
from petrieve.gallery.web.decisions import LABELS, TO_GO, Decision, Decisions
from petrieve.gallery.web.desk import Desk, command, placed
from petrieve.gallery.web.queues import Found, Item, Queues, left_of, pair_of, places_of, queues_of
from petrieve.store.buckets import is_address
from petrieve.store.columns import plain
from petrieve.store.digests import as_array
from petrieve.store.errors import PetrieveError
from petrieve.store.photo import path_of

AHEAD = 30  # items that a page knows of
DIGITS = "123456789"
MAX_LABEL_LENGTH = 200  # letters of a label
MAX_LABELLED = 20_000  # photos that get a label at once


@dataclass(frozen=True)
class Choice:
    """What can be decided: its key, what the form says, and what the button does."""

    key: str
    value: str
    words: str


RIGHT, OTHER = Choice("y", "right", "is right"), Choice("o", "other", "the other")
GO, SKIP, UNDO = Choice("x", "go", "Mark for removal"), Choice("s", "skip", "Skip"), Choice("u", "undo", "Undo")
NAME = Choice("n", "named", "Another label")
PAIR = (
    Choice("k", "keep", "Keep both"),
    Choice("1", "first", "The first is to go"),
    Choice("2", "second", "The second is to go"),
    Choice("b", "best", "Keep the first alone"),
    SKIP,
)
STAYS = (Choice("k", "keep", "May stay there"), GO, SKIP)


def choices(name: str, labels: Sequence[str]) -> tuple[Choice, ...]:
    """What can be decided in a list, with the keys: page, script and answers go by this one table."""
    if name in ("copies", "leaks"):
        return PAIR if name == "copies" else STAYS
    named = (Choice(key, f"label:{label}", label) for key, label in zip(DIGITS, labels, strict=False))
    return (RIGHT, OTHER, *named, GO, SKIP)


def question(name: str, item: Item) -> str:
    """What is asked about an item, in words."""
    if name in ("copies", "leaks"):
        return "Which of the two is to go?" if name == "copies" else "May it stay there?"
    return f"Is “{words.printable(item.claim)}” right?" if item.claim else "What is this?"


def decided(name: str, item: Item, value: str, left: Sequence[Item] = ()) -> list[Decision]:
    """What a button's value says of an item; of `left`, other items that it says the same of too.

    Raises:
        PetrieveError: the answer is missing, or is not a label.
    """
    best, *others = item.photos
    if value == "best" and others:
        same = [one for one in left if one.photos[0] == best and one.key != item.key]
        return [_go(one, one.photos[1]) for one in (item, *same)]
    if value in ("first", "second") and others:
        return [_go(item, item.photos[value == "second"])]
    if value == "go" and not others:
        return [Decision(item.key, "go", best.digest, best.path)]
    if value in ("keep", "skip"):
        return [Decision(item.key, value, best.digest, best.path)]
    label = item.claim if value == "right" else item.suggested if value == "other" else _label(value)
    if others or not label or name == "leaks":
        raise PetrieveError("nothing can be decided so", "press one of the keys that the page names")
    return [Decision(item.key, "label", best.digest, best.path, label, best.label)]


def _go(item: Item, photo: Any) -> Decision:
    stays = next(one for one in item.photos if one is not photo)
    return Decision(item.key, "go", photo.digest, photo.path, other=stays.digest)


def _label(value: str) -> str:
    kind, _, label = value.partition(":")
    label = plain(label) if kind == "label" else ""
    if len(label) > MAX_LABEL_LENGTH or not label.isprintable():
        raise PetrieveError(f"a label has up to {MAX_LABEL_LENGTH} letters, in one line", "give a shorter one")
    return label


def decisions_of(desk: Desk) -> Decisions:
    """What was decided about a store: kept in it, or in NAME.review in the working folder where it lies in a bucket."""
    place = desk.store.path
    folder = Path(f"{place.rstrip('/').rpartition('/')[2]}.review" if is_address(place) else place).absolute()
    found: Decisions = desk.more.setdefault("decisions", Decisions(folder))
    return found


def lists_of(desk: Desk) -> Queues:
    """The lists of a store; what was decided is written for where the photos are when these are made anew."""
    kept = decisions_of(desk)
    return queues_of(desk, lambda: kept.write(partial(places_of, desk)) if kept.standing() else None)


def labels_of(desk: Desk) -> list[str]:
    """The store's labels, the most frequent first, and behind them those that were decided and that it has not yet."""
    version, found = desk.more.get("review labels", ("", []))
    cache = desk.store.index().cache
    if version != cache.version:
        found = [name for name, _ in Counter(cache.counts()["labels"]).most_common()]
        desk.more["review labels"] = cache.version, found
    new = (one.label for one in decisions_of(desk).standing().values() if one.label)
    return list(dict.fromkeys([*found, *new]))


def progress(desk: Desk, name: str, queues: Queues) -> dict[str, Any]:
    """How far a list is: what is left, how many it has, and about how many labels are still wrong."""
    found, standing = queues.lists.get(name, Found()), decisions_of(desk).standing()
    left = left_of(name, found, standing, desk)
    of = len(found.items) or sum(len(photos) - 1 for _, photos in found.groups)
    told = queues.lists.get("labels", Found())
    mended = sum(
        (one := standing.get(("label", item.key))) is not None
        and one.what == "label"
        and one.label != item.photos[0].label
        for item in told.items
    )
    wrong = max(0, round(told.expected_wrong - mended)) if "labels" in queues.lists else None
    return {
        "left": len(left),
        "of": of,
        "wrong": wrong,
        "items": [item_document(desk, name, one, left) for one in left[:AHEAD]],
    }


def item_document(desk: Desk, name: str, item: Item, left: Sequence[Item]) -> dict[str, Any]:
    """An item as the page and its script read it."""
    beside = (item.beside,) if item.beside else ()
    photos = [{**asdict(one), "path": words.printable(placed(desk, one.path))} for one in (*item.photos, *beside)]
    others = sum(one.photos[0] == item.photos[0] for one in left) if len(item.photos) > 1 else 0  # copies of the best
    return {
        "key": item.key,
        "photos": photos,
        "question": question(name, item),
        "reason": item.reason,
        "other": item.suggested,
        "claim": item.claim,
        "others": others,
    }


def label_all(desk: Desk, contents: Sequence[bytes], label: str) -> tuple[str, Path]:
    """The act in which photos with these contents got a label, or none, all at once; and the file that has it.

    Raises:
        PetrieveError: there are too many photos, that is not a label, or it cannot be written.
    """
    if len(contents) > MAX_LABELLED:
        raise PetrieveError(
            f"{MAX_LABELLED:,} photos at most get a label at once", "give more of them one with `embed --labels`"
        )
    kept, label = decisions_of(desk), _label(f"label:{label}")
    rows = desk.store.index().cache.photos_of(as_array(contents), ["root", "uri", "label"]).to_pylist()
    named = {row["digest"].hex(): (path_of(row["root"], row["uri"]), row["label"]) for row in rows}
    said = [Decision(digest, "label", digest, path, label or None, old) for digest, (path, old) in named.items()]
    return kept.add("browse", said, partial(places_of, desk)), kept.folder / LABELS


def undo(desk: Desk, act: str) -> None:
    """Undo what was decided at once.

    Raises:
        PetrieveError: it cannot be written.
    """
    decisions_of(desk).undo(act, partial(places_of, desk))


def act(desk: Desk, name: str, key: str, value: str, undone: str) -> dict[str, Any]:
    """What a page hears of a decision that was kept: the act that undoes it, and how far the list is.

    Raises:
        PetrieveError: the photo is not in the list, nothing can be decided so, or it cannot be kept.
    """
    kept, queues = decisions_of(desk), lists_of(desk)
    if value == UNDO.value:
        undo(desk, undone)
        return {"act": "", **progress(desk, name, queues)}
    found = queues.lists.get(name, Found())
    left = left_of(name, found, kept.standing(), desk)
    item = next((one for one in (*left, *found.items, *_every_pair(found)) if one.key == key), None)
    if item is None:
        raise PetrieveError("this photo is no longer in the list", "load the page again")
    done = kept.add(name, decided(name, item, value, left), partial(places_of, desk))
    return {"act": done, **progress(desk, name, queues)}


def _every_pair(found: Found) -> list[Item]:
    return [
        pair_of(kind, one, other)
        for kind, photos in found.groups
        for place, one in enumerate(photos)
        for other in photos[place + 1 :]
    ]


def commands(desk: Desk) -> dict[str, str]:
    """What does the same in a terminal: labels that were decided, and what is to go."""
    labels, go = (words.name(str(decisions_of(desk).folder / one)) for one in (LABELS, TO_GO))
    embed = command(desk, "embed", *map(words.name, roots_of(desk)), "--labels", labels)
    if not embed:
        return {"fit": "", "go": ""}
    return {"fit": f"{embed} && {command(desk, 'fit-head')}", "go": shlex.join(["cat", go])}


def command_of(desk: Desk, name: str) -> str:
    """What makes a list in a terminal."""
    if name == "unsure":
        return command(desk, "predict", "FOLDER", "--csv", "predictions.csv")
    makes = "duplicates" if name == "copies" else "audit"
    return command(desk, makes, "--csv", f"{makes}.csv")


def roots_of(desk: Desk) -> list[str]:
    """The sources whose photos have decided labels."""
    return sorted({row["root"] for row, _ in _labelled(desk)})


def unused(desk: Desk) -> int:
    """How many labels that were decided the store has not: it has others of these photos."""
    return len({row["digest"] for row, label in _labelled(desk) if row["label"] != label})


def _labelled(desk: Desk) -> list[tuple[dict[str, Any], str | None]]:
    """The store's photos whose labels were decided, but for those that are gone, and these labels."""
    decided = {one.digest: one.label for one in decisions_of(desk).standing().values() if one.what == "label"}
    digests = as_array(bytes.fromhex(one) for one in decided)
    rows = desk.store.index().cache.photos_of(digests, ["root", "label", "gone"]).to_pylist() if decided else []
    return [(row, decided[row["digest"].hex()]) for row in rows if row["gone"] is None]


def fit_again(desk: Desk, job: jobs.Job) -> list[str]:
    """Give the store the labels that were decided, and fit its head again; how good it was, and is."""
    kept = decisions_of(desk)
    kept.write(partial(places_of, desk))
    before = head.describe(desk.store.cache()) or {}
    if roots := roots_of(desk):
        desk.store.embed(roots, labels=kept.folder / LABELS, quiet=True, on_progress=job.heard)
    job.done = job.of = 0
    after = desk.store.fit_head()
    low, high = after.accuracy_interval
    was = f"{before['accuracy']:.1%}" if "accuracy" in before else "no head"
    now = f"{after.accuracy:.1%} (between {low:.1%} and {high:.1%})"
    return [f"right before: {was}; now: {now}, tried on {after.measured} photos whose labels are known"]
