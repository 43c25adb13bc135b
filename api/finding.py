"""How the photos most like a pet are found and drawn."""

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from petrieve.api.photos import Photo
from petrieve.api.results import Neighbours, Picture
from petrieve.extractor.pixels.decode import upright_image
from petrieve.extractor.sources.memory import as_bytes
from petrieve.extractor.sources.places import gone
from petrieve.gallery import sheet as sheets
from petrieve.index import question
from petrieve.index.build import Index
from petrieve.store.cache import Cache
from petrieve.store.errors import listed
from petrieve.store.rows import Embedded

if TYPE_CHECKING:
    from PIL import Image

LABEL = re.compile(r"\blabel\s*=\s*'((?:[^']|'')*)'", re.IGNORECASE)
LABELS = 10  # that a message names


def neighbours_of(
    index: Index,
    queries: Sequence[Embedded],
    same: Collection[str],
    terms: question.Terms,
) -> tuple[question.Match, ...]:
    """The photos most like a pet, and which of them are gone, or went since the last run."""
    matches = question.ask(index, [query.embedding for query in queries], terms, leave_out=frozenset(same))
    return tuple(replace(one, gone=one.gone or gone(one.photo)) for one in matches)


def nothing_for(cache: Cache, where: str) -> str | None:
    """What to say where no photo fulfils a condition, with the labels that there are if it asks for another one."""
    if next(cache.where(where, ["uri"]), None) is not None:
        return None
    labels = cache.counts()["labels"]
    asked = [word.replace("''", "'") for word in LABEL.findall(where)]
    odd = [word for word in asked if word not in labels]
    near = [one for word in odd for one in get_close_matches(word, labels, 1)]
    hint = f"; is {near[0]!r} meant?" if near else f"; the labels are {listed(list(labels), LABELS)}" if odd else ""
    return f"no photo has {where}{hint}"


def shown(path: str, *, held: "dict[str, Photo]", picture: Picture) -> "Image.Image | None":
    """A photo's picture; of those that were asked about, by the name of each, from what is `held` of it."""
    one = held.get(path, path)
    return picture(one) if isinstance(one, str) else upright_image(as_bytes(one))  # type: ignore[arg-type]


def draw(file: Path, answer: Neighbours) -> None:
    """Draw the photos that were asked about, as they were given, and their neighbours."""
    asked = [(name, "the photo", os.path.basename(name)) for name in answer.photos]
    rows = [
        (
            one.photo,
            one.label or "no label",
            f"{one.similarity:.3f}  {'gone: ' * bool(one.gone)}{os.path.basename(one.photo)}",
        )
        for one in answer
    ]
    assert answer.picture
    sheets.contact_sheet(file, [*asked, *rows], picture=answer.picture, framed=range(len(asked)))
