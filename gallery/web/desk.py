"""What all pages stand on: a store that stays open, what was dropped, thumbnails; and photos by their digests."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from petrieve.api.store import Store
from petrieve.extractor.query import query_one
from petrieve.extractor.sources.memory import MEMORY
from petrieve.extractor.sources.reading import Reader
from petrieve.gallery.web.thumbnails import Thumbnails, thumbnail
from petrieve.gallery.web.uploads import Upload, Uploads
from petrieve.store.errors import Undecodable
from petrieve.store.folder import Store as Folder
from petrieve.store.photo import Photo, digest_of, path_of
from petrieve.store.rows import Embedded

if TYPE_CHECKING:
    from petrieve.index.build import Index

LENGTH = 16  # bytes of a digest


@dataclass(frozen=True, eq=False)
class Desk:
    """A gallery's own things, for as long as it is open."""

    store: Store
    uploads: Uploads
    thumbnails: Thumbnails
    port: int = 0
    more: dict[str, Any] = field(default_factory=dict)  # what a page keeps for itself

    @classmethod
    def of(cls, store: Store, port: int = 0) -> "Desk":
        """The desk of a store."""
        return cls(store, Uploads(), Thumbnails.of(Folder.at(store.path)), port)


def digest_from(word: str) -> bytes | None:
    """The digest that an address names; None where it names none."""
    try:
        digest = bytes.fromhex(word)
    except ValueError:
        return None
    return digest if len(digest) == LENGTH else None


def take_in(desk: Desk, data: bytes, name: str) -> str:
    """What names a photo that was dropped on the page, from the bytes of its file.

    Raises:
        PetrieveError: it is no photo, or too large, or its decoder fails.
    """
    cache = desk.store.cache()
    embedded = query_one(data, cache, trunk=desk.store.warm(cache))
    small = thumbnail(data)
    return desk.uploads.keep(Upload(embedded, name, small)).hex()


def embedded_of(desk: Desk, digest: bytes, index: "Index") -> Embedded | None:
    """A photo that was dropped, or one of the store's by its content; None where it is neither."""
    if upload := desk.uploads.of(digest):
        return upload.embedded
    views = index.cache.views_of([digest]).get(digest)
    row = row_of(index, digest)
    if views is None or row is None:
        return None
    return Embedded(Photo(row["root"], row["uri"], 0, 0), digest, 0, 0, views)


def row_of(index: "Index", digest: bytes) -> dict[str, Any] | None:
    """What the store has of a content: the first of its photos."""
    import numpy as np

    rows = index.cache.photos_of(np.array([digest], "S16"), ["root", "uri", "label", "split", "gone"]).to_pylist()
    return min(rows, key=lambda row: (row["gone"] is not None, path_of(row["root"], row["uri"])), default=None)


def picture_of(desk: Desk, digest: bytes) -> bytes | None:
    """A thumbnail, as JPEG; None where the photo is gone, can no longer be read, or has changed since."""
    if upload := desk.uploads.of(digest):
        return upload.thumbnail
    if kept := desk.thumbnails.get(digest):
        return kept
    index, row = _found(desk, digest)
    if row is None or row["root"] == MEMORY:
        return None
    try:
        data = Reader(index.cache)(path_of(row["root"], row["uri"]))
        if digest_of(data) != digest:
            return None
        made = thumbnail(data)
    except (OSError, Undecodable, MemoryError):
        return None
    desk.thumbnails.put(digest, made)
    return made


def _found(desk: Desk, digest: bytes) -> "tuple[Index, dict[str, Any] | None]":
    """What the store has of a content, and the index that knew it.

    The one that was opened last will do where it knows the photo: to see whether a store has changed takes five times
    as long as to make a thumbnail.
    """
    last = desk.more.get("last opened")
    if last and (row := row_of(last, digest)):
        return last, row
    index = desk.more["last opened"] = desk.store.index()
    return index, row_of(index, digest)


def is_known(desk: Desk, digest: bytes) -> bool:
    """Whether the store has a photo with this content, wherever its file is now."""
    return _found(desk, digest)[1] is not None
