"""Which photos a source holds, and what is known of each without decoding it."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from extractor.errors import PetrieveError
from extractor.labels import label_of, split_of

FORMATS = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC"
# Files with these endings are taken for photos without a look inside; all others by their first bytes.
SUFFIXES = frozenset(".jpg .jpeg .jpe .jfif .png .webp .gif .bmp .dib .tif .tiff .avif .heic .heif .hif".split())
# ISO-BMFF brands of AVIF (AV1 Image File Format, §6) and HEIF (ISO 23008-12, annex B).
_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# A name may hold bytes that are no UTF-8, which no table of texts takes: in roots and uris they stand as characters
# for private use, as other systems keep them too.
_TO_TEXT = {0xDC00 + byte: 0xF700 + byte for byte in range(0x80, 0x100)}
_TO_BYTES = {text: byte for byte, text in _TO_TEXT.items()}


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo, known without opening it: its uri relative to the root (a folder) it was found in."""

    root: str
    uri: str
    size: int  # bytes
    modified: int  # microseconds since 1970, UTC
    label: str | None = None
    split: str | None = None
    columns: dict[str, Any] = field(default_factory=dict)  # what the user's own CSV adds

    @property
    def path(self) -> str:
        """Where the photo's bytes are."""
        return path_of(self.root, self.uri)


def path_of(root: str, uri: str) -> str:
    """Where the photo with this root and uri is."""
    return os.path.join(root, uri).translate(_TO_BYTES)


def uris_of(path: str) -> list[str]:
    """The uris that the photo at this path can have: it depends on the folder that it was found in."""
    parts = path.translate(_TO_TEXT).split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def find(source: str | os.PathLike[str]) -> Iterator[Photo]:
    """The photos of a folder, recursively and in a stable order; or the one photo that `source` is.

    Hidden files and folders are passed over. A file counts as a photo by its ending or, with any other
    ending, by its first bytes. Links are followed, each folder once.

    Raises:
        PetrieveError: `source` does not exist, or is neither a file nor a folder.
    """
    path = os.path.abspath(source)
    try:
        status = os.stat(path)
    except OSError as error:
        raise PetrieveError(f"cannot open {path}: {error.strerror}", "check the path and its permissions") from error
    if stat.S_ISDIR(status.st_mode):
        yield from _walk(path, "", set())
    elif stat.S_ISREG(status.st_mode):
        yield _photo(os.path.dirname(path), os.path.basename(path), status)
    else:
        raise PetrieveError(f"{path} is neither a file nor a folder", "name a photo or a folder of photos")


def _walk(root: str, folder: str, visited: set[tuple[int, int]]) -> Iterator[Photo]:
    here = os.path.join(root, folder)
    try:
        status = os.stat(here)
        if (status.st_dev, status.st_ino) in visited:
            return
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(here) as found:
            entries = sorted((e for e in found if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        # A folder that cannot be listed hides photos: going on would report them as missing.
        raise PetrieveError(
            f"cannot list {here}: {error.strerror}", "make it readable, or name other folders"
        ) from error
    for entry in entries:
        uri = os.path.join(folder, entry.name)
        if _is(entry.is_dir):
            yield from _walk(root, uri, visited)
        elif _looks_like_photo(entry):
            yield _photo(root, uri, _status(entry))


def _photo(root: str, uri: str, status: os.stat_result) -> Photo:
    return Photo(
        root=root.translate(_TO_TEXT),
        uri=uri.translate(_TO_TEXT),
        size=status.st_size,
        modified=status.st_mtime_ns // 1000,
        label=label_of(uri.translate(_TO_TEXT)),
        split=split_of(root, uri),
    )


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link to itself is nothing
        return False


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat()
    except OSError:  # a dangling link: a photo whose reading will say so
        return entry.stat(follow_symlinks=False)


def _looks_like_photo(entry: os.DirEntry[str]) -> bool:
    if os.path.splitext(entry.name)[1].lower() in SUFFIXES:
        return True
    if not _is(entry.is_file):
        return False
    try:
        with open(entry.path, "rb") as file:
            return is_photo(file.read(64))
    except OSError:
        return False


def is_photo(head: bytes) -> bool:
    """Whether a file that begins with these bytes (64 are enough) is in a format that can be decoded."""
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[:2] == b"BM" and head[6:10] == b"\0\0\0\0")
        or (head[4:8] == b"ftyp" and any(brand in head[8:] for brand in _BRANDS))
    )
