"""What all pages share: a store that stays open, photos that were dropped, thumbnails; and photos by their digests."""

import asyncio
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from threading import Semaphore
from typing import TYPE_CHECKING, Any

from petrieve.api.store import Store
from petrieve.extractor.query import query_one
from petrieve.extractor.sources.formats import SUFFIXES
from petrieve.extractor.sources.memory import MEMORY
from petrieve.extractor.sources.reading import Reader
from petrieve.gallery import words
from petrieve.gallery.web.thumbnails import LARGE, QUALITY, SIDE, Thumbnails, thumbnail
from petrieve.gallery.web.turns import Turns
from petrieve.gallery.web.uploads import Upload, Uploads
from petrieve.store.errors import PetrieveError, Undecodable
from petrieve.store.files import write_named
from petrieve.store.folder import Store as Folder
from petrieve.store.key import Where
from petrieve.store.photo import Photo, digest_of, path_of
from petrieve.store.rows import Embedded

if TYPE_CHECKING:
    from petrieve.index.build import Index

CONDITION_SECONDS = 10.0  # that one is waited for
LENGTH = 16  # bytes of a digest
FOLDER = re.compile(r"(?<!\w)[\\/]\w|\w[\\/]\S*[\\/]\w")  # a path from the root, or with two slashes; not `photos/s`


@dataclass(frozen=True, eq=False)
class Desk:
    """A gallery's own things, for as long as it is open."""

    store: Store
    uploads: Uploads
    thumbnails: Thumbnails
    port: int = 0
    library: Path | None = None  # a folder that photos may be added to
    shared: bool = False  # with others, who know the password: they see no folder of this machine
    decoding: Turns = field(default_factory=lambda: Turns(2, in_line=6, seconds=60, what="a dropped photo"))
    drops: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(8))  # each takes 256 MB of disk at most
    conditions: Turns = field(
        default_factory=lambda: Turns(1, in_line=3, seconds=CONDITION_SECONDS, what="a condition")
    )
    making: Semaphore = field(default_factory=lambda: Semaphore(4))  # thumbnails at a time: a photo may take 600 MB
    more: dict[str, Any] = field(default_factory=dict)  # what a page keeps for itself

    @classmethod
    def of(cls, store: Store, port: int = 0, *, library: Path | None = None, shared: bool = False) -> "Desk":
        """The desk of a store."""
        return cls(store, Uploads(), Thumbnails.of(Folder.at(store.path)), port, library, shared)


def told(desk: Desk, text: str) -> str:
    """A message, fit to be shown: to others without what names a folder of this machine."""
    if desk.shared and FOLDER.search(text):
        return "this cannot be shown; whoever opened the gallery finds out why with the command in a terminal"
    return words.printable(text)


def placed(desk: Desk, path: str) -> str:
    """Where a photo is, in words: to others no more than its name and its folder's."""
    return "/".join([part for part in path.split("/") if part][-2:]) if desk.shared else words.name(path)


def command(desk: Desk, *parts: str) -> str:
    """The command that does the same in a terminal, shown on this machine alone."""
    return "" if desk.shared else words.command(*parts, "--store", desk.store.path)


def stamp(file: Where) -> object:
    """Changes with a file; None where it is not there."""
    if not isinstance(file, Path):
        return file.tag()
    return file.stat().st_mtime_ns if file.exists() else None


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
        PetrieveError: it is not a photo, or too large, or its decoder fails.
    """
    cache = desk.store.index().cache  # what it has read of it is not read again
    embedded = query_one(data, cache, trunk=desk.store.warm(cache))
    small = thumbnail(data)
    return desk.uploads.keep(Upload(embedded, name, small, data)).hex()


def embedded_of(desk: Desk, digest: bytes, index: "Index") -> Embedded | None:
    """A photo that was dropped, or one of the store's by its content; None where it is neither."""
    if upload := desk.uploads.of(digest):
        return upload.embedded
    views = index.cache.views_of([digest]).get(digest)
    row = row_of(index, digest)
    if views is None or row is None:
        return None
    return Embedded(Photo(row["root"], row["uri"], 0, 0), digest, 0, 0, views)


def add(desk: Desk, digest: bytes) -> str:
    """The name under which a photo that was dropped is now in the library's folder: that of its content.

    Raises:
        PetrieveError: no folder was named, or the photo was forgotten.
    """
    upload = desk.uploads.of(digest)
    if desk.library is None or upload is None:
        raise PetrieveError(
            "this photo cannot be added",
            "start the gallery with `--library FOLDER`" if upload else "drop it again: it was forgotten",
        )
    suffix = os.path.splitext(upload.name)[1].lower()
    name = digest.hex() + (suffix if suffix in SUFFIXES else ".jpg")
    write_named(desk.library / name, upload.data)
    return name


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
    if made := _drawn(desk, digest, SIDE, QUALITY):
        desk.thumbnails.put(digest, made)
    return made


def large_of(desk: Desk, digest: bytes) -> bytes | None:
    """The same, large enough to decide about it."""
    return _drawn(desk, digest, *LARGE)


def _drawn(desk: Desk, digest: bytes, side: int, quality: int) -> bytes | None:
    data = file_of(desk, digest)
    try:
        with desk.making:
            return thumbnail(data, side, quality) if data else None
    except (OSError, Undecodable, MemoryError):
        return None


def file_of(desk: Desk, digest: bytes) -> bytes | None:
    """The bytes of a photo, dropped or the store's; None where it is gone, or has changed since."""
    if upload := desk.uploads.of(digest):
        return upload.data
    index, row = _found(desk, digest)
    if row is None or row["root"] == MEMORY:
        return None
    return content(Reader(index.cache), path_of(row["root"], row["uri"]), digest)


def content(read: Reader, path: str, digest: bytes) -> bytes | None:
    """The bytes at a path; None where they cannot be read, or are no longer those of the digest."""
    try:
        data = read(path)
    except (OSError, Undecodable, MemoryError):
        return None
    return data if digest_of(data) == digest else None


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
