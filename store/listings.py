"""What files that photos are in held when they were listed, so that one that has not changed is not listed again.

It stands in STORE/archives.json. Nothing depends on that file: where it is lost or damaged, each is listed.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from petrieve.store.files import write_file
from petrieve.store.folder import Store
from petrieve.store.photo import UNTOLD, Photo, Stamp


@dataclass(frozen=True)
class Tally:
    """What tells photos from others, in whatever order they come."""

    photos: int = 0
    size_bytes: int | None = 0  # of all, None where that of one is told only when it is read
    digest: int = 0  # of name, time and version of each

    def __add__(self, other: "Tally") -> "Tally":
        told = self.size_bytes is not None and other.size_bytes is not None
        size = self.size_bytes + other.size_bytes if told else None  # type: ignore[operator]
        return Tally(self.photos + other.photos, size, (self.digest + other.digest) % 2**64)

    def is_of(self, rows: "Tally") -> bool:
        """Whether a store's rows, which tell each size, are these photos."""
        return (self.photos, self.digest) == (rows.photos, rows.digest) and self.size_bytes in (None, rows.size_bytes)


@dataclass(frozen=True)
class Listing:
    """What an archive held when it had this stamp."""

    stamp: Stamp
    photos: Tally
    passed: Mapping[str, int]  # what was found beside them, by what it is


def tally(photos: Iterable[Photo], start: int) -> Tally:
    """What tells these photos from others; the names in their archive begin at this place of their uris."""
    count = size = digest = 0
    told = True
    for photo in photos:
        count += 1
        words = f"{photo.uri[start:]}\0{photo.modified}\0{photo.version}"
        digest += int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "little")
        size += photo.size
        told = told and photo.size != UNTOLD
    return Tally(count, size if told else None, digest % 2**64)


def read_listings(store: Store) -> dict[str, Listing]:
    """What the store's archives held, by their paths; nothing where that is lost or damaged."""
    try:
        said = json.loads(store.listings.read_bytes())
        if said["digest"] != _digest(said["archives"]):
            return {}
        return {path: _listing(one) for path, one in said["archives"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_listings(store: Store, listings: Mapping[str, Listing]) -> None:
    """Say what the store's archives held, by their paths.

    Raises:
        OSError: it cannot be written.
    """
    archives = {path: asdict(one) for path, one in sorted(listings.items())}
    archives = json.loads(json.dumps(archives))  # as it is read: the digest is of that
    write_file(store.listings, json.dumps({"archives": archives, "digest": _digest(archives)}, indent=1).encode())


def _listing(said: Mapping[str, Any]) -> Listing:
    size, modified, version = said["stamp"]
    return Listing((size, modified, version), Tally(**said["photos"]), dict(said["passed"]))


def _digest(archives: object) -> str:
    return hashlib.blake2b(json.dumps(archives).encode(), digest_size=8).hexdigest()
