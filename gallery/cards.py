"""Photos with two lines each, as HTML that stands by itself: what a notebook shows."""

import os
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from petrieve.gallery import words
from petrieve.gallery.html import escaped, thumbnail

if TYPE_CHECKING:
    from PIL import Image

MAX_CARDS = 40
NOTHING = "<p>nothing was found</p>"
# Two beside each other on a narrow phone; the padding leaves room for a frame.
GRID = (
    "display:grid;grid-template-columns:repeat(auto-fill,minmax(130px,1fr));gap:12px;padding:5px;font-size:13px;"
    "line-height:1.35"
)
SQUARE = "width:100%;aspect-ratio:1;object-fit:cover;border-radius:6px;display:block"
FRAME = "outline:3px solid #d9662b;outline-offset:2px"
FAINT = "opacity:.65;overflow-wrap:anywhere"


def cards(
    photos: Sequence[tuple[str, str, str]],
    picture: "Callable[[str], Image.Image | None] | None",
    *,
    framed: Collection[str] = (),
) -> str:
    """The first photos (path, title, note) of these, those framed that have these paths.

    `picture` gives the photo at a path, or None where there is none any more.
    """
    if not photos:
        return NOTHING
    tiles = "".join(
        _card(path, title, note, picture(path) if picture else None, path in framed)
        for path, title, note in photos[:MAX_CARDS]
    )
    more = f"<p>the first {MAX_CARDS} of {len(photos):,}</p>" if len(photos) > MAX_CARDS else ""
    return f'<div style="{GRID}">{tiles}</div>{more}'


def neighbour(one: Any) -> tuple[str, str]:
    """What is said of a match: its label, and how like it is."""
    gone = "gone: " if one.gone else ""
    close = f"as close as 1 of {1 / one.pairs_as_close:,.0f} random pairs"
    return one.label or "no label", f"{one.similarity:.3f}, {close}; {gone}{os.path.basename(one.photo)}"


def finding(one: Any) -> tuple[str, str]:
    """What is said of an audited photo: its label, or another, and why."""
    instead = f", or {one.suggested}?" if one.suggested else ""
    return one.label + instead, f"{one.reason}; {os.path.basename(one.photo)}"


def _card(path: str, title: str, note: str, photo: "Image.Image | None", framed: bool) -> str:
    name = escaped(words.name(path))
    style = f"{SQUARE};{FRAME}" if framed else SQUARE
    data = thumbnail(photo)
    image = (
        f'<img src="{data}" alt="{name}" style="{style}">' if data else f'<div style="{style}">no longer there</div>'
    )
    told = f'<b>{escaped(title)}</b><div style="{FAINT}">{escaped(note)}</div>'
    return f'<div title="{name}">{image}<div style="margin-top:4px">{told}</div></div>'
