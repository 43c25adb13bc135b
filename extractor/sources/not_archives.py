"""What a file is that is named like an archive and cannot be read as one."""

import os

from petrieve.extractor.sources.annotations.names import folder_name
from petrieve.extractor.sources.archives import archive
from petrieve.extractor.sources.blob import HEAD, Blob, blob_at
from petrieve.extractor.sources.formats import SUFFIXES, is_photo
from petrieve.store.errors import PetrieveError
from petrieve.store.photo import is_address

# By first bytes: archives that are not read, and what is found in the place of one.
_PACKED = {
    b"Rar!": "RAR",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"\x1f\x8b": "gzip",
    b"(\xb5/\xfd": "Zstandard",
    b"BZh": "bzip2",
}
_OTHERS = {
    b"version https://git-lfs": "a pointer of Git LFS that stands for it",
    b"%PDF": "a PDF",
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",
    b"<": "HTML or XML, such as a server's page",
    b"{": "JSON",
    bytes(HEAD): "zeros, as of a download that has not come to its end",
}


def check_name(blob: Blob) -> None:
    """Refuse a file that is named like an archive, or is one of a kind that is not read.

    Raises:
        OSError: it cannot be opened.
        PetrieveError: it is such a file; the message says what it is instead.
    """
    head, name = blob.head(), os.path.basename(blob.path)
    packed = next((kind for start, kind in _PACKED.items() if head.startswith(start)), None)
    if is_photo(head) or (folder_name(name) == name and not packed):
        return
    if packed:
        raise PetrieveError(f"{blob.path} is packed as {packed}, which is not read", "unpack it, and name its folder")
    what = next((kind for start, kind in _OTHERS.items() if head.lstrip(b"\xef\xbb\xbf \r\n").startswith(start)), None)
    what = what or ("empty" if not head else f"something that begins with {head[:8]!r}")
    raise PetrieveError(f"{blob.path} is not an archive that can be read, but {what}", "fetch it again")


def is_other_file(path: str) -> bool:
    """Whether a path is that of a file which is called neither like a photo nor like an archive, and is neither."""
    name = os.path.basename(path)
    if is_address(path) or os.path.splitext(name)[1].lower() in SUFFIXES or folder_name(name) != name:
        return False
    try:
        blob = blob_at(path)
        return blob is not None and not is_photo(blob.head()) and archive(blob, "") is None
    except OSError:
        return False
