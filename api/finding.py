"""How the photos most like a pet are found and drawn."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from petrieve.api.photos import Photo
from petrieve.api.results import Neighbours
from petrieve.extractor.pixels.decode import upright_image
from petrieve.extractor.sources.memory import as_bytes
from petrieve.extractor.sources.places import gone
from petrieve.gallery import sheet as sheets
from petrieve.index import question
from petrieve.index.build import Index
from petrieve.store.rows import Embedded

if TYPE_CHECKING:
    from PIL import Image


def found(
    index: Index,
    queries: Sequence[Embedded],
    same: set[str],
    *,
    k: int,
    where: str | None,
    group_by: str | None,
    min_similarity: float,
) -> tuple[question.Match, ...]:
    """The photos most like a pet, and which of them are gone, or went since the last run."""
    matches = question.ask(
        index,
        [query.embedding for query in queries],
        k=k,
        leave_out=frozenset(same),
        where=where,
        group_by=group_by,
        min_similarity=min_similarity,
    )
    return tuple(replace(one, gone=one.gone or gone(one.photo)) for one in matches)


def draw(file: Path, answer: Neighbours, queries: Sequence[Embedded], given: "Sequence[Photo]") -> None:
    """Draw the photos that were asked about, as they were given, and their neighbours."""
    held = {query.photo.path: one for query, one in zip(queries, given, strict=True)}

    def shown(named: str) -> "Image.Image | None":
        one = held.get(named, named)
        return upright_image(as_bytes(one)) if not isinstance(one, str | os.PathLike) else answer.picture(named)  # type: ignore[misc]

    asked = [(query.photo.path, "the photo", os.path.basename(query.photo.path)) for query in queries]
    rows = [
        (
            one.photo,
            one.label or "no label",
            f"{one.similarity:.3f}  {'gone: ' * bool(one.gone)}{os.path.basename(one.photo)}",
        )
        for one in answer
    ]
    sheets.contact_sheet(file, [*asked, *rows], picture=shown, framed=range(len(asked)))
