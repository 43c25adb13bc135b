"""Files among the photos of a folder or bucket that are not photos: archives, sheets of annotations, and others."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from petrieve.extractor.sources.annotations.annotations import Annotations, together
from petrieve.extractor.sources.annotations.beside import Beside, Sheet
from petrieve.extractor.sources.archives import Archive
from petrieve.extractor.sources.blob import Blob, blob_at
from petrieve.extractor.sources.source import Part
from petrieve.extractor.sources.unchanged import Listings, opened
from petrieve.store.photo import Photo, as_text

PART = 256  # photos that lie together


@dataclass
class Others:
    """The files among photos that are not photos; and the photos of archives, where these lie alone."""

    counts: Counter[str] = field(default_factory=Counter)  # by the ending of a file, or the name of a folder
    archives: dict[str, Blob | None] = field(default_factory=dict)  # by path, files that photos are in; None: unknown
    sheets: list[str] = field(default_factory=list)  # paths of those that may say what photos are
    beside: Beside = field(default_factory=Beside)
    inner: list[tuple[Archive, int, int]] = field(default_factory=list)  # from where to where its photos are listed

    def parts(
        self, root: str, photos: Iterable[Part], passed: Counter[str], listings: Listings | None
    ) -> Iterator[Part]:
        """The photos of a source; if it has none, those of its archives. The rest is counted in `passed`."""
        return self.beside.noted(self._parts(root, photos, passed, listings), passed)

    def _parts(
        self, root: str, photos: Iterable[Part], passed: Counter[str], listings: Listings | None
    ) -> Iterator[Part]:
        yield from photos
        passed.update(self.counts)
        self.beside.sheets.extend(Sheet(_below(root, path), _reader(path)) for path in self.sheets)
        alone, count = not self.beside.any_listed, 0
        for path, blob in self.archives.items():
            blob = (blob or blob_at(path)) if alone else None
            found = opened(blob, root, _below(root, as_text(path)) + "/", listings) if blob else None
            if found:
                first = count
                for inner in found.parts():
                    count += len(inner.photos)
                    yield inner
                self.inner.append((found, first, count))
                passed.update(found.passed)
            else:
                passed[os.path.basename(path)] += 1

    def annotations(self, root: str, listed: Sequence[Photo], passed: Counter[str]) -> Annotations | None:
        """Annotations from the archives, and then from sheets beside these; other files are counted in `passed`."""
        inner = (one.annotations(listed[first:end]) for one, first, end in self.inner)
        said = [*inner, self.beside.annotations(root, listed, passed)]
        return together(words for words in said if words) if any(said) else None


def _below(root: str, path: str) -> str:
    return path[len(root) :].lstrip("/")


def _reader(path: str) -> Callable[[int], bytes]:
    def read(most: int) -> bytes:
        blob = blob_at(path)
        if blob is None:
            raise FileNotFoundError(2, "No such file or directory", path)
        with blob.open() as file:
            return file.read(most)

    return read
