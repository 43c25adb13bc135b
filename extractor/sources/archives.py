"""Which files hold photos, told by their first bytes, and which folders are tables; and what opens them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from petrieve.extractor.sources.blob import Blob, is_table
from petrieve.extractor.sources.formats import is_photo
from petrieve.extractor.sources.source import Part, Source
from petrieve.extractor.sources.tables.lances import lance_table
from petrieve.extractor.sources.tables.parquet import parquet
from petrieve.extractor.sources.tars.entries import Tar
from petrieve.extractor.sources.tars.headers import is_tar
from petrieve.extractor.sources.tars.unpacked import PACKED
from petrieve.extractor.sources.zips.entries import ZIPS, Zip, ends_as_zip
from petrieve.store.photo import Photo


class Archive(Source, Protocol):
    """A file that photos are in."""

    def part(self, photos: Sequence[Photo]) -> Part:
        """Some photos that a store knows, to be read without listing the archive again."""
        ...


# By the first bytes of a file: what opens it, given the file, the root of its photos, and how their uris begin.
OPENS: dict[bytes, Callable[[Blob, str, str], Archive]] = {
    **dict.fromkeys(ZIPS, Zip),
    **{start: partial(Tar, packing=packing) for start, packing in PACKED.items()},
    b"PAR1": parquet,
    b"PARE": parquet,
}


def holds_photos(head: bytes) -> bool:
    """Whether a file that begins so (HEAD bytes) is one that photos are in."""
    return is_tar(head) or head.startswith(tuple(OPENS))


def archive(blob: Blob, root: str, before: str = "") -> Archive | None:
    """The archive that a file is; None if it is not one. Its photos' uris begin with `before`.

    Raises:
        OSError: it cannot be opened.
    """
    if is_table(blob.path):
        return lance_table(blob, root, before)
    head = blob.head()
    if is_tar(head):  # it begins with a name, which may be anything
        return Tar(blob, root, before)
    opens = next((one for start, one in OPENS.items() if head.startswith(start)), None)
    if not opens and not is_photo(head) and ends_as_zip(blob):  # a file that unpacks itself begins as a program
        opens = Zip
    return opens and opens(blob, root, before)
