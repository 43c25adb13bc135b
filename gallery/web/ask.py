"""The first page: what is in a photo, and which of the store's look like it."""

import os
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from petrieve.api.finding import neighbours_of
from petrieve.classifier import head
from petrieve.gallery import words
from petrieve.gallery.web.desk import Desk, command, digest_from, embedded_of, placed, row_of, told
from petrieve.gallery.web.filters import MAX_FIELD_LENGTH, NONE, Filters, filters_of, store_facts
from petrieve.index.build import Index
from petrieve.index.question import Match, Terms
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError
from petrieve.store.photo import path_of
from petrieve.store.rows import Embedded

PLACE = 26  # letters of where a photo is that a tile has room for
MOST_SURE = 0.99  # no head can know better than that
COMMON, ALIKE, VERY = 1 / 3, 1 / 100, 1 / 1000  # of random pairs: from the first on, their share says nothing
FORGOTTEN = "this photo is not in the library, and what is dropped is forgotten after an hour: drop it again"
DEFAULT_K, MAX_K = 24, 200  # look-alikes: by default, and at most
NEAREST = 5  # look-alikes that tell whether a photo is like any
ERROR = 0.01  # how often what is called sure may be wrong


@dataclass(frozen=True)
class Question:
    """What is asked, as the address says it."""

    photos: tuple[bytes, ...] = ()
    filters: Filters = NONE
    group_by: str = ""
    k: int = DEFAULT_K

    def address(self, **other: Any) -> str:
        """The question, or another that differs in this, as the end of an address."""
        one = replace(self, **other)
        named = [("photo", digest.hex()) for digest in one.photos]
        named += [("group_by", one.group_by)] if one.group_by else []
        named += [("k", str(one.k))] if one.k != DEFAULT_K else []
        return "?" + "&".join(part for part in (urlencode(named), one.filters.address()) if part)


@dataclass(frozen=True)
class Tile:
    """A photo of an answer."""

    digest: str
    label: str
    near: str  # how like it is, in words
    place: str  # its end
    whole: str
    gone: str | None


@dataclass(frozen=True)
class Asked:
    """A photo of a question, and the question without it."""

    digest: str
    dropped: bool  # not one of the library's
    name: str  # of its file
    label: str  # that the library has of it
    without: str


@dataclass(frozen=True)
class Answer:
    """What a question's page shows; `problem` says in words what cannot be answered."""

    title: str = ""
    doubt: str = ""
    here: str = ""  # where the library has the very photo that was dropped
    lost: int = 0  # photos of the question that are no longer at hand
    photos: tuple[Asked, ...] = ()
    tiles: tuple[Tile, ...] = ()
    nothing: bool = False  # is like it
    command: str = ""
    problem: str = ""


def question_of(given: QueryParams) -> Question:
    """What an address asks; what it says wrongly is passed over."""
    photos = tuple(digest for word in given.getlist("photo")[:20] if (digest := digest_from(word)))
    wanted = given.get("k", "")[:9]
    k = min(int(wanted), MAX_K) if wanted.isdecimal() and int(wanted) else DEFAULT_K
    return Question(photos, filters_of(given), given.get("group_by", "")[:MAX_FIELD_LENGTH], k)


def answer(desk: Desk, asked: Question) -> Answer:
    """What is in the photos, and what looks like them."""
    index = desk.store.index()
    pets = [pet for digest in asked.photos if (pet := embedded_of(desk, digest, index))]
    photos = tuple(_photo(desk, index, asked, pet.digest) for pet in pets)
    if not pets:
        return Answer(problem=FORGOTTEN)
    try:
        where, group_by = asked.filters.condition(store_facts(desk)["columns"]), asked.group_by or None
        same = _same(index, pets)
        found = neighbours_of(index, pets, same, Terms(asked.k, where, group_by))
        # Of several photos that is the mean of their cosines, which is low where they differ.
        nearest = partial(neighbours_of, index, same=same, terms=Terms(NEAREST, where))
        of_each = [found] if len(pets) == 1 else [nearest([pet]) for pet in pets]
    except PetrieveError as error:
        return Answer(photos=photos, problem=told(desk, str(error)))
    title, doubt, alone = _said(desk, index.cache, pets, of_each)
    return Answer(
        title=title,
        doubt=doubt,
        here=_here(desk, index, pets),
        lost=len(asked.photos) - len(pets),
        photos=photos,
        tiles=_tiles(desk, found),
        nothing=alone,
        command=_command(desk, asked, pets, where),
    )


def _photo(desk: Desk, index: Index, asked: Question, digest: bytes) -> Asked:
    rest = tuple(one for one in asked.photos if one != digest)
    without = asked.address(photos=rest) if rest else ""
    if upload := desk.uploads.of(digest):
        return Asked(digest.hex(), True, os.path.basename(upload.name), "", without)
    row = row_of(index, digest) or {"root": "", "uri": "", "label": None}
    return Asked(digest.hex(), False, placed(desk, path_of(row["root"], row["uri"])), row["label"] or "none", without)


def _here(desk: Desk, index: Index, pets: list[Embedded]) -> str:
    """Where the library has a photo that was dropped, bit by bit the same."""
    rows = [row_of(index, pet.digest) for pet in pets if desk.uploads.of(pet.digest)]
    return next((placed(desk, path_of(row["root"], row["uri"])) for row in rows if row), "")


def _said(desk: Desk, cache: Cache, pets: list[Embedded], found: list[tuple[Match, ...]]) -> tuple[str, str, bool]:
    """What it is, in words; how far that is to be trusted; and whether nothing in the store is like it.

    What was `found` is of each photo.
    """
    import numpy as np

    try:
        fitted = head.load(cache)
    except PetrieveError as error:
        return "", words.as_options(told(desk, str(error))), False
    said = fitted.predict_one(np.concatenate([pet.views[:1] for pet in pets]))
    least_alike = fitted.report.unfamiliar["similarity"]
    near = [[one.similarity for one in some[:NEAREST]] for some in found]
    alone = all(not some or sum(some) / len(some) < least_alike for some in near)
    least = head.threshold(fitted.report, ERROR)
    share = f"{said['probability']:.0%}" if said["probability"] <= MOST_SURE else f"over {MOST_SURE:.0%}"
    if alone:
        doubt = f"Petrieve says {said['label']}, {share}; but nothing here looks like it: do not rely on that."
        return "Like nothing here", doubt, True
    if least is not None and said["probability"] < least:
        return f"Perhaps {said['label']}", f"{share} sure: look for yourself.", False
    return said["label"], f"{share} sure", False


def _same(index: Index, pets: list[Embedded]) -> set[str]:
    """The paths of the store's photos that are these very ones."""
    import numpy as np

    rows = index.cache.photos_of(np.array([pet.digest for pet in pets], "S16"), ["root", "uri"]).to_pylist()
    return {path_of(row["root"], row["uri"]) for row in rows}


def _tiles(desk: Desk, found: tuple[Match, ...]) -> tuple[Tile, ...]:
    return tuple(
        Tile(
            digest=one.digest,
            label=one.label or "no label",
            near=near(one.pairs_as_close),
            place=shortened(whole := placed(desk, one.photo)),
            whole=whole,
            gone=one.gone,
        )
        for one in found
    )


def near(pairs_as_close: float) -> str:
    """How alike two photos are, in words: by how many of the store's random pairs are."""
    if pairs_as_close >= COMMON:
        return "no more alike than most pairs"
    how = "very alike" if pairs_as_close <= VERY else "alike" if pairs_as_close <= ALIKE else "a little alike"
    return f"{how} · 1 in {1 / pairs_as_close:,.0f}"


def shortened(place: str) -> str:
    """The end of where a photo is, which tells most."""
    if len(place) <= PLACE:
        return place
    end = place[1 - PLACE :]
    return "…" + (end[end.index("/") :] if "/" in end else end)


def _command(desk: Desk, asked: Question, pets: list[Embedded], where: str | None) -> str:
    """What says the same in a terminal."""
    photos = [words.name(pet.photo.path) if not desk.uploads.of(pet.digest) else "PHOTO" for pet in pets]
    given = ["--where", where] if where else []
    given += ["--group-by", asked.group_by] if asked.group_by else []
    return command(desk, "similar", *photos, "-k", str(asked.k), *given)
