"""Which files hold photos, told by their first bytes; and what opens them."""

from collections.abc import Callable, Sequence
from typing import Protocol

from extractor.sources.blob import Blob
from extractor.sources.source import Part, Source
from extractor.sources.zips import Zip
from store.photo import Photo


class Archive(Source, Protocol):
    """A file that photos are in."""

    def part(self, photos: Sequence[Photo]) -> Part:
        """Some of its photos as they are known from before, to be read without listing it again."""
        ...


# By the first bytes of a file: what opens it, given the file, the root of its photos, and how their uris begin.
OPENS: dict[bytes, Callable[[Blob, str, str], Archive]] = {b"PK\3\4": Zip, b"PK\5\6": Zip}


def holds_photos(head: bytes) -> bool:
    """Whether a file that begins so (HEAD bytes) is one that photos are in."""
    return head.startswith(tuple(OPENS))


def archive(blob: Blob, root: str, before: str = "") -> Archive | None:
    """The photos inside a file; None where it is nothing that photos are in. Their uris begin with `before`.

    Raises:
        OSError: it cannot be opened.
    """
    head = blob.head()
    opens = next((one for start, one in OPENS.items() if head.startswith(start)), None)
    return opens and opens(blob, root, before)
