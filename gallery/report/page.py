"""What is known of a head and of its photos' labels, as one page that needs nothing but itself."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petrieve.gallery import words
from petrieve.gallery.html import escaped, thumbnail
from petrieve.gallery.report import figures
from petrieve.store.files import write_named

if TYPE_CHECKING:
    from PIL import Image

Picture = Callable[[str], "Image.Image | None"]
SHOWN = 24  # photos of each kind
Row = dict[str, Any]


def write(
    file: Path, head: Row, *, store: Row, suspects: Sequence[Row], mistakes: Sequence[Row], picture: Picture
) -> int:
    """How many bytes were written: the page, with its photos inside.

    `head` is a head's report and its `roc` curves (`label`, `points`); `store` has `weights`, `fingerprint`, the number
    of `photos`, and how many were `looked_at` `of` how many labelled ones. A suspect is `photo` (its path), `label`,
    `suggested`, `reason`; a mistake `photo`, `label`, `predicted`, `probability`; the worst first. `picture` gives the
    photo at a path, or None where there is none any more. The same store gives the same bytes.

    Raises:
        PetrieveError: the file cannot be written.
    """
    above = {row["photo"] for row in suspects[:SHOWN]}
    style = (Path(__file__).parent / "report.css").read_text()
    parts = [
        _header(head, store),
        figures.cards(head),
        figures.plots(head),
        figures.classes(head),
        _photos(
            "Worth a look",
            "Photos whose label is probably wrong or in doubt, or that are odd in another way, worst first. Each was "
            "judged by a head fitted without it, and by its look-alikes.",
            "No photo stands out.",
            [(row["photo"], _suspected(row), row["reason"]) for row in suspects],
            picture,
        ),
        _photos(
            "Mistakes",
            "Other photos that a head fitted without them took for another class, those first of which it was surest.",
            "No other photo was taken for another class.",
            [
                (row["photo"], _mistaken(row), f"{row['probability']:.1%} sure")
                for row in mistakes
                if row["photo"] not in above
            ],
            picture,
        ),
        _footer(store),
    ]
    data = _page(style, "\n".join(parts)).encode()
    write_named(file, data)
    return len(data)


def _page(style: str, body: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>Petrieve: what the head knows</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def _header(head: Row, store: Row) -> str:
    names = [escaped(name) for name in head["classes"]]
    classes = " or ".join(names) if len(names) <= 4 else f"Which of {len(names)} classes"
    drawn = ""
    if store["looked_at"] < store["of"]:
        drawn = f"""
<p class="faint">The photos below, and the ROC curve, are of {store["looked_at"]:,} of the {store["of"]:,} labelled
photos, drawn by their digests.</p>"""
    return f"""<header>
<h1>What the head knows</h1>
<p>{classes}? A {escaped(head["method"])} head on {head["photos"]:,} labelled photos of {store["photos"]:,}, seen by a
{escaped(store["trunk"])} with {escaped(store["weights"])} weights.</p>
<p class="faint">Every figure is of photos that the head had not seen: {escaped(head["evaluated_on"])}.</p>{drawn}
</header>"""


def _suspected(row: Row) -> str:
    other = row["suggested"]
    return f"{row['label']}, or {other}?" if other and other != row["label"] else str(row["label"])


def _mistaken(row: Row) -> str:
    return f"{row['label']}, taken for {row['predicted']}"


def _photos(title: str, words: str, none: str, photos: Sequence[tuple[str, str, str]], picture: Picture) -> str:
    """Photos (path, title, note) under a heading, the first of them shown."""
    if not photos:
        return f"<section><h2>{escaped(title)}</h2><p>{escaped(none)}</p></section>"
    shown = "".join(_photo(*photo, picture) for photo in photos[:SHOWN])
    more = f'<p class="faint">The first {SHOWN} of {len(photos):,}.</p>' if len(photos) > SHOWN else ""
    return f"""<section><h2>{escaped(title)}</h2>
<p>{escaped(words)}</p>
<ul class="photos">{shown}</ul>{more}</section>"""


def _photo(path: str, title: str, note: str, picture: Picture) -> str:
    name = escaped(words.name(path))
    data = thumbnail(picture(path))
    image = f'<img src="{data}" alt="{name}" decoding="async">' if data else '<span class="gone">no longer there</span>'
    told = f'<b>{escaped(title)}</b><br>{escaped(note)}<br><span class="name">{name}</span>'
    return f"<li>{image}<div>{told}</div></li>"


def _footer(store: Row) -> str:
    return f"""<footer>Made by Petrieve from embeddings {escaped(store["fingerprint"][:16])}. This file holds all that
it shows and loads nothing.</footer>"""
