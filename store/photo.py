"""A photo, as it is known without being opened, and what its content is known by."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# A name may hold bytes that are not UTF-8, which no table of texts takes: in roots and uris they stand as characters
# for private use, as other systems keep them too. So that each name has one text, a name that itself holds such a
# character has the three bytes of that in its place.
_BYTES = {0xDC00 + byte: 0xF700 + byte for byte in range(0x80, 0x100)}
_TO_TEXT = _BYTES | {one: "".join(chr(0xF700 + byte) for byte in chr(one).encode()) for one in _BYTES.values()}
_TO_BYTES = {text: byte for byte, text in _BYTES.items()}
Stamp = tuple[int, int, str | None]  # size, time and version
ADDRESS = re.compile(r"([A-Za-z][\w+.-]+)://(.*)", re.DOTALL)
UNTOLD = -1  # a size that is known only when the photo is read
TEXTS, NUMBERS = ("root", "uri", "label", "split", "version"), ("size", "modified")  # a photo's, but for its columns


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo, known without opening it: its uri relative to the root (a folder) it was found in."""

    root: str
    uri: str
    size: int  # bytes, or UNTOLD
    modified: int  # microseconds since 1970, UTC
    label: str | None = None
    split: str | None = None
    columns: dict[str, Any] = field(default_factory=dict)  # what the user's own CSV adds
    version: str | None = None  # what tells that it has not changed, where size and time do not

    @property
    def stamp(self) -> Stamp:
        """Changes with the photo."""
        return self.size, self.modified, self.version

    @property
    def path(self) -> str:
        """Where the photo's bytes are."""
        return path_of(self.root, self.uri)


@dataclass(frozen=True, eq=False)
class Bare(Sequence[Photo]):
    """Photos (n,) of one root of which no more is known than where, how large and how old they are, in columns."""

    root: str
    uris: list[str]
    sizes: list[int]
    moments: list[int]

    def __len__(self) -> int:
        return len(self.uris)

    @overload
    def __getitem__(self, place: int) -> Photo: ...
    @overload
    def __getitem__(self, place: slice) -> "Bare": ...
    def __getitem__(self, place: int | slice) -> "Photo | Bare":
        if isinstance(place, slice):
            return Bare(self.root, self.uris[place], self.sizes[place], self.moments[place])
        return Photo(self.root, self.uris[place], self.sizes[place], self.moments[place])

    def __iter__(self) -> Iterator[Photo]:
        return map(Photo, repeat(self.root), self.uris, self.sizes, self.moments)

    def __add__(self, other: "Bare") -> "Bare":
        """These and others of the same root."""
        return Bare(self.root, self.uris + other.uris, self.sizes + other.sizes, self.moments + other.moments)


@dataclass(frozen=True, eq=False)
class Columns:
    """Photos (n,) in columns: a quarter of the memory that they take as objects, and a tenth of the time to be sent."""

    rows: "pa.RecordBatch"  # TEXTS and NUMBERS
    columns: Sequence[dict[str, Any]] | None  # what the user's own CSV adds to each; None where it adds nothing

    def __len__(self) -> int:
        return len(self.rows)

    def photos(self) -> list[Photo]:
        """The photos as they were."""
        of = {name: self.rows[name].to_pylist() for name in (*TEXTS, *NUMBERS)}
        columns = self.columns or [{} for _ in range(len(self))]
        first = of["root"], of["uri"], of["size"], of["modified"], of["label"], of["split"]
        return list(map(Photo, *first, columns, of["version"]))


def in_columns(photos: Sequence[Photo]) -> Columns:
    """The same photos, in columns."""
    import pyarrow as pa

    arrays = [pa.array(list(map(attrgetter(name), photos)), pa.string()) for name in TEXTS]
    arrays += [pa.array(list(map(attrgetter(name), photos)), pa.int64()) for name in NUMBERS]
    columns = [photo.columns for photo in photos]
    return Columns(pa.RecordBatch.from_arrays(arrays, names=[*TEXTS, *NUMBERS]), columns if any(columns) else None)


def path_of(root: str, uri: str) -> str:
    """Where the photo with this root and uri is."""
    if is_address(root):
        return f"{root}/{uri}"
    # A third of the time of os.path.join, which a million paths show.
    plain = root[-1:] != "/" != uri[:1]
    path = f"{root}/{uri}" if plain else os.path.join(root, uri)
    if path.isascii() or (name := path.translate(_TO_BYTES)) == path:
        return path
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def texts_of(roots: Sequence[str], numbers: "np.ndarray", uris: "pa.Array") -> "pa.LargeStringArray":
    """The paths (n,) of photos as tables have them, of their uris and the numbers of their roots."""
    import pyarrow as pa
    import pyarrow.compute as pc

    above = pa.array([f"{root.rstrip('/') if not is_address(root) else root}/" for root in roots], pa.large_string())
    none = pa.scalar("", pa.large_string())
    return pc.binary_join_element_wise(above.take(pa.array(numbers)), uris.cast(pa.large_string()), none)


def is_address(place: str | os.PathLike[str]) -> bool:
    """Whether a place is named by an address (`s3://bucket/pets`), and is not a path on this machine."""
    text = os.fspath(place)
    return "://" in text and ADDRESS.match(text) is not None


def as_text(name: str) -> str:
    """A name as tables of texts take it."""
    return name if name.isascii() else name.translate(_TO_TEXT)


def uris_of(path: str) -> list[str]:
    """The uris that the photo at this path can have: it depends on the folder that it was found in."""
    parts = as_text(path).split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def digest_of(data: bytes) -> bytes:
    """The 16 bytes that a file's content is known by."""
    return hashlib.blake2b(data, digest_size=16).digest()
