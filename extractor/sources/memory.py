"""Photos that are no files: their bytes, or pictures that Pillow holds."""

import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from petrieve.extractor.sources.bounds import max_bytes
from petrieve.store.photo import Photo
from petrieve.store.rows import Unreadable

if TYPE_CHECKING:
    from PIL import Image

MEMORY = "memory:"  # the root of what is in no file
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")  # that PNG holds


@dataclass(frozen=True, slots=True)
class InMemory:
    """One photo whose bytes are at hand."""

    photo: Photo
    data: bytes

    @property
    def photos(self) -> tuple[Photo]:
        """The photo."""
        return (self.photo,)

    def read(self, wanted: Collection[str]) -> Iterator[tuple[Photo, bytes] | Unreadable]:
        """Its bytes, or that they are too many."""
        if self.photo.uri not in wanted:
            return
        if len(self.data) > max_bytes():
            yield Unreadable(self.photo, f"over {max_bytes() >> 20} MB")
        else:
            yield self.photo, self.data


def in_memory(photo: "bytes | Image.Image", name: str) -> InMemory:
    """A photo that is called so, from the bytes of its file, or from a picture, whose pixels are kept as they are.

    Raises:
        TypeError: it is neither.
    """
    data = as_bytes(photo)
    return InMemory(Photo(MEMORY, name, len(data), 0), data)


def as_bytes(photo: "bytes | Image.Image") -> bytes:
    """The bytes of a photo's file; of a picture a PNG, with what it says of its orientation and colours.

    Raises:
        TypeError: it is neither.
    """
    from PIL import Image

    if isinstance(photo, bytes):
        return photo
    if not isinstance(photo, Image.Image):
        raise TypeError(f"a photo is a path, bytes or a picture of Pillow's, and not {type(photo).__name__}")
    data = io.BytesIO()
    whole = photo if photo.mode in MODES else photo.convert("RGB")
    whole.save(data, "PNG", compress_level=1, exif=photo.getexif())
    return data.getvalue()
