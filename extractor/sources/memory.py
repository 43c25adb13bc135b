"""Photos in memory: the bytes of a file, or Pillow images."""

import io
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from petrieve.extractor.sources.bounds import max_bytes
from petrieve.extractor.sources.source import Read
from petrieve.store.errors import first_line
from petrieve.store.photo import Photo
from petrieve.store.rows import Unreadable

if TYPE_CHECKING:
    from PIL import Image

MEMORY = "memory:"  # the root of photos in memory
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")  # that PNG holds
SEEN_THROUGH = {"La": "LA", "PA": "RGBA", "RGBa": "RGBA"}  # what others with an alpha become; the rest becomes RGB


@dataclass(frozen=True, slots=True)
class InMemory:
    """One photo whose bytes are at hand."""

    photo: Photo
    data: bytes
    reason: str | None = None  # why there are none

    @property
    def photos(self) -> tuple[Photo]:
        """The photo."""
        return (self.photo,)

    def read(self, wanted: Collection[str]) -> Iterator[Read]:
        """Its bytes, or why they cannot be read."""
        if self.photo.uri not in wanted:
            return
        if self.reason is not None:
            yield Unreadable(self.photo, self.reason)
        elif len(self.data) > max_bytes():
            yield Unreadable(self.photo, f"over {max_bytes() >> 20} MB")
        else:
            yield self.photo, self.data


def in_memory(photo: "bytes | Image.Image", name: str) -> InMemory:
    """A photo of this name, from the bytes of its file, or from a Pillow image, whose pixels are kept as they are.

    Raises:
        TypeError: it is neither.
    """
    try:
        data, reason = as_bytes(photo), None
    except (OSError, ValueError) as error:  # a picture of a file that is cut short or closed, or without a pixel
        data, reason = b"", first_line(error)
    return InMemory(Photo(MEMORY, name, len(data), 0), data, reason)


def as_bytes(photo: "bytes | Image.Image") -> bytes:
    """The bytes of a photo's file; of a picture a PNG, with its orientation and colours.

    Raises:
        TypeError: it is neither.
        OSError, ValueError: the picture has no pixels, or they cannot be read.
    """
    from PIL import Image

    if isinstance(photo, bytes):
        return photo
    if not isinstance(photo, Image.Image):
        raise TypeError(f"a photo is a path, bytes or a picture of Pillow's, and not {type(photo).__name__}")
    data = io.BytesIO()
    whole = photo if photo.mode in MODES else photo.convert(SEEN_THROUGH.get(photo.mode, "RGB"))
    whole.save(data, "PNG", compress_level=1, exif=_exif(photo))
    return data.getvalue()


def _exif(photo: "Image.Image") -> bytes:
    """A picture's EXIF; nothing if that cannot be read, as in a file."""
    try:
        return photo.getexif().tobytes()
    except (SyntaxError, ValueError, OSError, struct.error):
        return b""
