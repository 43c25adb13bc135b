"""Text and pictures that come from data, for a page."""

import base64
import html
import io
from typing import TYPE_CHECKING

from petrieve.gallery.words import printable

if TYPE_CHECKING:
    from PIL import Image

THUMBNAIL = 240  # pixels: sharp on a phone, and 8 kB


def escaped(words: str) -> str:
    """Words as HTML shows them, in an element or in an attribute: nothing in them is markup."""
    return html.escape(printable(words))


def thumbnail(photo: "Image.Image | None") -> str | None:
    """A photo as a `data:` URI, cut square; None where there is none."""
    from PIL import ImageOps

    if photo is None:
        return None
    data = io.BytesIO()
    ImageOps.fit(photo, (THUMBNAIL, THUMBNAIL)).save(data, "JPEG", quality=80, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
