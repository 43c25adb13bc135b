"""The interface of sources: photos are listed without being opened, and then read in parts."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

from petrieve.extractor.sources.annotations.annotations import Annotations
from petrieve.store.photo import Photo
from petrieve.store.rows import Unreadable

Read = tuple[Photo, bytes] | Unreadable  # a photo as it is now beside its bytes, or why it cannot be read


class Part(Protocol):
    """Some photos of a source that lie together. Another process may get it, so it can be pickled."""

    @property
    def photos(self) -> Sequence[Photo]:
        """The photos, in the order in which they are read best."""
        ...

    def read(self, wanted: Collection[str]) -> Iterator[Read]:
        """The bytes of the photos with these uris, in order, or why they cannot be read.

        Size, time and version of a photo are those of the bytes beside it, which may be other than when it was listed.
        """
        ...


class Source(Protocol):
    """Where photos are."""

    @property
    def root(self) -> str:
        """What the uris of its photos are relative to."""
        ...

    @property
    def passed(self) -> Counter[str]:
        """What was found and is not a photo, counted by its kind: complete once all parts are listed."""
        ...

    def parts(self) -> Iterator[Part]:
        """All its photos, in a stable order.

        Raises:
            PetrieveError: it is not there, or cannot be listed.
        """
        ...

    def annotations(self, listed: Sequence[Photo], /) -> Annotations | None:
        """The annotations of its photos; None if there are none.

        `listed` are those that `parts` gave, all of them and in their order.
        """
        ...


def number_of(sources: Mapping[str, int], photo: Photo) -> int:
    """The number of the source in which a photo was found first, by its root, or its path where it is one itself."""
    return sources.get(photo.path, sources.get(photo.root, 0))
