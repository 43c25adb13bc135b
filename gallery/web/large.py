"""A photo large enough to decide about it, encoded anew."""

import io

from petrieve.extractor.pixels.decode import upright_image
from petrieve.extractor.sources.memory import MEMORY
from petrieve.extractor.sources.reading import Reader
from petrieve.gallery.web.desk import Desk, row_of
from petrieve.store.errors import Undecodable
from petrieve.store.photo import digest_of, path_of

SIDE, QUALITY = 1280, 85  # pixels of the longer side, at most


def large_of(desk: Desk, digest: bytes) -> bytes | None:
    """A photo of the store as JPEG; None where it is gone, can no longer be read, or has changed since."""
    index = desk.store.index()
    row = row_of(index, digest)
    if row is None or row["root"] == MEMORY:
        return None
    try:
        data = Reader(index.cache)(path_of(row["root"], row["uri"]))
        if digest_of(data) != digest:
            return None
        photo = upright_image(data).convert("RGB")
    except (OSError, Undecodable, MemoryError):
        return None
    photo.thumbnail((SIDE, SIDE))
    made = io.BytesIO()
    photo.save(made, "JPEG", quality=QUALITY)
    return made.getvalue()
