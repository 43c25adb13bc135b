"""How the photos most like a pet are found and drawn."""

import os
from collections.abc import Collection, Sequence
from dataclasses import replace
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
from petrieve.store.rows import Embedded

if TYPE_CHECKING:
    from PIL import Image


def neighbours_of(
    index: Index,
    queries: Sequence[Embedded],
    same: Collection[str],
    terms: question.Terms,
) -> tuple[question.Match, ...]:
    """The photos most like a pet, and which of them are gone, or went since the last run."""
    matches = question.ask(index, [query.embedding for query in queries], terms, leave_out=frozenset(same))
    return tuple(replace(one, gone=one.gone or gone(one.photo)) for one in matches)


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
