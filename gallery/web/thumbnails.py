"""Thumbnails of a store's photos: made once, kept in one file beside the store, by the digests of their contents."""

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from petrieve.extractor.pixels.decode import upright_image
from petrieve.store.folder import Store
from petrieve.store.near import scratch

SIDE, QUALITY = 320, 78  # pixels of the longer side: sharp on a phone in two columns, and 12 kB
LARGE = 1280, 85  # enough to decide about a photo
MOST_BYTES = 2 << 30  # of 150,000 photos; the oldest go
FILE = "thumbnails.sqlite"
OLDEST = "DELETE FROM thumbnail WHERE rowid IN (SELECT rowid FROM thumbnail ORDER BY rowid LIMIT 1000)"


def thumbnail(data: bytes, side: int = SIDE, quality: int = QUALITY) -> bytes:
    """A JPEG of a photo, upright, with a longer edge of at most `side` pixels, without its metadata.

    Raises:
        Undecodable, OSError: as `decode`.
    """
    import numpy as np
    import simplejpeg
    from PIL.Image import Resampling

    small = upright_image(data, within=side)
    small.thumbnail((side, side), Resampling.BILINEAR)  # over as many pixels as become one; half of bicubic's time
    made: bytes = simplejpeg.encode_jpeg(np.asarray(small), quality, "RGB", "420")
    return made


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """A file of thumbnails; without one, where the store's disk is full or read only, each is made anew."""

    file: sqlite3.Connection
    lock: Lock = field(default_factory=Lock)

    @classmethod
    def of(cls, store: Store) -> "Thumbnails":
        """Those of a store, in its folder, or on this machine where it is in a bucket."""
        try:
            return cls(_opened(str(Path(scratch(store.path), FILE))))
        except (OSError, sqlite3.Error):
            return cls(_opened(":memory:"))

    def get(self, digest: bytes) -> bytes | None:
        """The JPEG of a content; None also where the file is damaged."""
        with self.lock:
            try:
                found = self.file.execute("SELECT jpeg FROM thumbnail WHERE digest = ?", (digest,)).fetchone()
            except sqlite3.Error:
                return None
        return bytes(found[0]) if found else None

    def put(self, digest: bytes, jpeg: bytes) -> None:
        """Keep one; where they are too many, the oldest go. What cannot be written is not kept."""
        with self.lock:
            try:
                with self.file:
                    self.file.execute("INSERT OR REPLACE INTO thumbnail VALUES (?, ?)", (digest, jpeg))
                    (size,) = self.file.execute("PRAGMA page_count").fetchone()
                    (page,) = self.file.execute("PRAGMA page_size").fetchone()
                    if size * page > MOST_BYTES:
                        self.file.execute(OLDEST)
            except sqlite3.Error:
                return


def _opened(path: str) -> sqlite3.Connection:
    file = sqlite3.connect(path, check_same_thread=False, timeout=10)
    if path != ":memory:":
        file.execute("PRAGMA journal_mode = WAL")
    file.execute("PRAGMA synchronous = OFF")  # what is lost is made again
    file.execute("CREATE TABLE IF NOT EXISTS thumbnail (digest BLOB UNIQUE, jpeg BLOB NOT NULL)")
    return file
