"""A contact sheet: photos with what is known of them, as one JPEG."""

import io
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petrieve.store.errors import PetrieveError
from petrieve.store.files import write_named

if TYPE_CHECKING:
    from PIL import Image

Picture = Callable[[str], "Image.Image | None"]

TILE = 220  # pixels
GAP = 12
CAPTION = 44
COLUMNS = 4
MOST_FINDINGS = 40  # of audited photos: a sheet that a person looks through in a minute
MAX_TILES = 80  # tiles of a sheet of groups
PAPER, INK, FAINT, MARK = "#fbfaf7", "#22252a", "#70757d", "#d9662b"


def contact_sheet(
    file: Path, photos: Sequence[tuple[str, str, str]], *, picture: Picture, framed: Collection[int] = (0,)
) -> None:
    """Write a sheet of (path, first line, second line), with the photos framed that stand at these positions.

    `picture` gives the photo at a path, or None where there is none any more.

    Raises:
        PetrieveError: the file's folder cannot be written to.
    """
    from PIL import Image, ImageDraw, ImageFont

    columns = min(COLUMNS, len(photos))
    lines = -(-len(photos) // columns)
    width, height = columns * (TILE + GAP) + GAP, lines * (TILE + CAPTION + GAP) + GAP
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(16), ImageFont.load_default(13)
    for position, (path, title, note) in enumerate(photos):
        x = GAP + position % columns * (TILE + GAP)
        y = GAP + position // columns * (TILE + CAPTION + GAP)
        sheet.paste(_tile(picture(path)), (x, y))
        if position in framed:
            pen.rectangle((x - 4, y - 4, x + TILE + 3, y + TILE + 3), outline=MARK, width=4)
        pen.text((x, y + TILE + 5), _fitted(title, large), INK, large)
        pen.text((x, y + TILE + 25), _fitted(note, small), FAINT, small)
    data = io.BytesIO()
    sheet.save(data, "JPEG", quality=88)
    write_named(file, data.getvalue())


def findings_sheet(file: Path, findings: Sequence[dict[str, Any]], *, picture: Picture) -> None:
    """Write a sheet of the worst audited photos; each has its label, what it may be instead, score and name.

    Raises:
        PetrieveError: the file's folder cannot be written to.
    """
    rows = []
    for one in findings[:MOST_FINDINGS]:
        instead = f", or {one['suggested']}?" if one["suggested"] else f": {', '.join(one['kinds'])}"
        rows.append((one["photo"], one["label"] + instead, f"{one['score']:.3f}  {Path(one['photo']).name}"))
    contact_sheet(file, rows, picture=picture, framed=())


def group_sheet(file: Path, groups: Sequence[Sequence[tuple[str, str]]], *, picture: Picture) -> None:
    """Write a sheet of the first groups of (path, kind), of each the first photo framed.

    Raises:
        PetrieveError: there is no group, or the file's folder cannot be written to.
    """
    if not groups:
        raise PetrieveError("there is nothing to draw: no two photos are copies", "leave out `sheet=…`")
    photos = [(path, kind, os.path.basename(path)) for group in groups for path, kind in group]
    first = [place for group in groups for place in range(len(group))]
    contact_sheet(
        file, photos[:MAX_TILES], picture=picture, framed={at for at, place in enumerate(first) if place == 0}
    )


def _tile(photo: "Image.Image | None") -> "Image.Image":
    from PIL import Image, ImageOps

    if photo is None:
        return Image.new("RGB", (TILE, TILE), "#dddddd")
    return ImageOps.fit(photo, (TILE, TILE))


def _fitted(text: str, font: object) -> str:
    """The text, its middle left out where it is wider than a tile."""
    kept = text
    while font.getlength(kept) > TILE and len(text) > 2:  # type: ignore[attr-defined]
        text = text[: (len(text) - 1) // 2] + text[(len(text) + 1) // 2 :]
        middle = len(text) // 2
        kept = f"{text[:middle]}…{text[middle:]}"
    return kept
