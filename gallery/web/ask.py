"""The first page: what is in a photo, and which of the store's look like it."""

import shlex
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from petrieve.api.alike import neighbours_of
from petrieve.classifier import head
from petrieve.gallery import words
from petrieve.gallery.web.desk import Desk, digest_from, embedded_of, told
from petrieve.index.build import Index
from petrieve.index.question import Match
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError
from petrieve.store.photo import path_of
from petrieve.store.rows import Embedded

SHOWN, MOST = 24, 200  # look-alikes: by default, and at most
ERROR = 0.01  # how often what is called sure may be wrong


@dataclass(frozen=True)
class Question:
    """What is asked, as the address says it."""

    photos: tuple[bytes, ...] = ()
    where: str = ""
    label: str = ""
    split: str = ""
    group_by: str = ""
    k: int = SHOWN

    def condition(self) -> str | None:
        """The same as `--where` has it."""
        chosen = [f"{name} = '{value.replace(chr(39), 2 * chr(39))}'" for name, value in self._chosen()]
        given = [f"({self.where})"] if self.where and chosen else [self.where] if self.where else []
        return " AND ".join([*chosen, *given]) or None

    def address(self, **other: Any) -> str:
        """The question, or another that differs in this, as the end of an address."""
        one = replace(self, **other)
        named = [("photo", digest.hex()) for digest in one.photos]
        named += [
            (name, str(value)) for name in ("where", "label", "split", "group_by") if (value := getattr(one, name))
        ]
        return "?" + urlencode(named + ([("k", str(one.k))] if one.k != SHOWN else []))

    def _chosen(self) -> list[tuple[str, str]]:
        return [(name, value) for name in ("label", "split") if (value := getattr(self, name))]


@dataclass(frozen=True)
class Tile:
    """A photo of an answer."""

    digest: str
    label: str
    near: str  # how like it is, in words
    place: str
    gone: str | None


@dataclass(frozen=True)
class Answer:
    """What a question's page shows; `problem` says in words what cannot be answered."""

    title: str = ""
    doubt: str = ""
    tiles: tuple[Tile, ...] = ()
    nothing: bool = False  # is like it
    command: str = ""
    problem: str = ""


def question_of(given: QueryParams) -> Question:
    """What an address asks; what it says wrongly is passed over."""
    photos = tuple(digest for word in given.getlist("photo")[:20] if (digest := digest_from(word)))
    texts = {name: given.get(name, "")[:2000] for name in ("where", "label", "split", "group_by")}
    wanted = given.get("k", "")
    k = min(int(wanted), MOST) if wanted.isdecimal() and int(wanted) else SHOWN
    return Question(photos, k=k, **texts)


def answer(desk: Desk, asked: Question) -> Answer:
    """What is in the photos, and what looks like them."""
    index = desk.store.index()
    pets = [pet for digest in asked.photos if (pet := embedded_of(desk, digest, index))]
    if not pets:
        return Answer(problem="this photo is not in the store, or was forgotten: drop it again")
    try:
        where, group_by = asked.condition(), asked.group_by or None
        found = neighbours_of(index, pets, _same(index, pets), k=asked.k, where=where, group_by=group_by)
    except PetrieveError as error:
        return Answer(problem=told(desk, str(error)))
    title, doubt, alone = _said(index.cache, pets, found)
    return Answer(title, doubt, _tiles(found), alone, _command(desk, asked, pets))


def _said(cache: Cache, pets: list[Embedded], found: tuple[Match, ...]) -> tuple[str, str, bool]:
    """What it is, in words; how far that is to be trusted; and whether nothing in the store is like it."""
    import numpy as np

    try:
        fitted = head.load(cache)
    except PetrieveError as error:
        return "", words.called(str(error)), False
    said = fitted.predict_one(np.concatenate([pet.views[:1] for pet in pets]))
    near = [one.similarity for one in found[:5]]
    alone = not near or sum(near) / len(near) < fitted.report.unfamiliar["similarity"]
    least = head.threshold(fitted.report, ERROR)
    share = f"{said['probability']:.0%}"
    if alone:
        doubt = f"The head says {said['label']}, {share}; but nothing here looks like it: do not rely on that."
        return "Like nothing here", doubt, True
    if least is not None and said["probability"] < least:
        return f"Perhaps {said['label']}", f"{share} sure: look for yourself.", False
    return said["label"], f"{share} sure", False


def _same(index: Index, pets: list[Embedded]) -> set[str]:
    """The paths of the store's photos that are these very ones."""
    import numpy as np

    rows = index.cache.photos_of(np.array([pet.digest for pet in pets], "S16"), ["root", "uri"]).to_pylist()
    return {path_of(row["root"], row["uri"]) for row in rows}


def _tiles(found: tuple[Match, ...]) -> tuple[Tile, ...]:
    return tuple(
        Tile(
            digest=one.digest,
            label=one.label or "no label",
            near=f"1 of {1 / one.pairs_as_close:,.0f} random pairs is as close",
            place=words.name(one.photo),
            gone=one.gone,
        )
        for one in found
    )


def _command(desk: Desk, asked: Question, pets: list[Embedded]) -> str:
    """What says the same in a terminal."""
    photos = [words.name(pet.photo.path) if not desk.uploads.of(pet.digest) else "PHOTO" for pet in pets]
    given = ["--where", condition] if (condition := asked.condition()) else []
    given += ["--group-by", asked.group_by] if asked.group_by else []
    return (
        f"{words.program()} {shlex.join(['similar', *photos, '-k', str(asked.k), *given, '--store', desk.store.path])}"
    )


def held(desk: Desk) -> dict[str, Any]:
    """What the filters offer: labels and splits with their numbers, the columns, and how many photos there are."""
    cache = desk.store.index().cache
    version, found = desk.more.get("held", ("", {}))
    if version != cache.version:
        found = {**cache.counts(), "columns": cache.columns()}
        desk.more["held"] = (cache.version, found)
    return dict(found)
