"""Photos that somebody has dropped on the page: in memory, few, and for a while."""

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock

from petrieve.store.rows import Embedded

MAX_UPLOADS, MAX_BYTES, MAX_SECONDS = 64, 512 << 20, 3600.0


@dataclass(frozen=True, eq=False)
class Upload:
    """A photo's embedding, and what its page shows of it."""

    embedded: Embedded
    name: str
    thumbnail: bytes  # JPEG
    data: bytes  # its file
    since: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, eq=False)
class Uploads:
    """At most MAX_UPLOADS of them and MAX_BYTES in all, by digest, for MAX_SECONDS each, in memory alone."""

    held: "OrderedDict[bytes, Upload]" = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def keep(self, upload: Upload) -> bytes:
        """The digest that it is found by."""
        digest = upload.embedded.digest
        with self.lock:
            self.held[digest] = upload
            self.held.move_to_end(digest)
            while len(self.held) > MAX_UPLOADS or (len(self.held) > 1 and self._size() > MAX_BYTES):
                self.held.popitem(last=False)
        return digest

    def _size(self) -> int:
        return sum(len(one.data) for one in self.held.values())

    def of(self, digest: bytes) -> Upload | None:
        """The one with this digest, as long as it is kept."""
        with self.lock:
            found = self.held.get(digest)
            if found and time.monotonic() - found.since > MAX_SECONDS:
                del self.held[digest]
                return None
            return found

    def forget(self, digest: bytes) -> None:
        """Let go of one."""
        with self.lock:
            self.held.pop(digest, None)
