"""What the sources of a run hold: listed, counted, and refused where no photo is there."""

import gc
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise

from petrieve.extractor.manifest import Listed, Manifest
from petrieve.extractor.sources.annotations.annotations import Annotations
from petrieve.extractor.sources.entry_names import ARCHIVES, LITTER, ending_of
from petrieve.extractor.sources.formats import FORMATS
from petrieve.extractor.sources.places import exists, source_at
from petrieve.extractor.sources.source import Part
from petrieve.extractor.sources.unchanged import Listings
from petrieve.store.errors import PetrieveError, first_line, listed
from petrieve.store.photo import Photo, is_address

OnListed = Callable[[int], None]  # called with the number of photos found so far
MAX_NAMED, MAX_KINDS = 10, 10  # sources without photos, and kinds of their files, that a message names


@dataclass(frozen=True)
class Found:
    """What a source holds: its photos, what is passed over, and a function that reads its annotations."""

    name: str
    photos: Listed
    passed: Counter[str]
    ask: Callable[[Sequence[Photo]], Annotations | None] = lambda _: None

    def annotations(self) -> Annotations | None:
        """Its annotations."""
        return self.ask(self.photos)


def find_all(
    sources: Sequence[str],
    manifest: Manifest,
    before: Iterable[str] = (),
    *,
    listings: Listings | None = None,
    listing: OnListed | None = None,
    prune: bool = False,
) -> list[Found]:
    """What each of the sources (addresses and absolute paths) holds; all photos come into a manifest.

    `before` are the paths that the store holds. Archives that are as `listings` say they were are not opened.

    Raises:
        PetrieveError: a source is not there, unless it is to be pruned; or there is no photo and was none.
    """
    found: list[Found] = []
    litter = [source for source in sources if os.path.basename(source).casefold() in LITTER]
    litter = litter if len(litter) < len(sources) else []  # among others, a pattern has named it: `p/*`
    for name in (one for one in sources if one not in litter):
        gone = not exists(name) and any(is_under(path, name) for path in before)
        if gone and not prune:
            raise PetrieveError(
                f"{name} is gone, and the store holds photos of it",
                "bring it back, or add `prune=True` to forget them",
            )
        if gone:
            continue
        source, first = source_at(name, listings), len(manifest)
        with _uncollected():
            for part in _listed(name, source.parts()):
                manifest.add(part)
                if listing:
                    listing(len(manifest))
        found.append(Found(name, Listed(manifest, first, len(manifest)), source.passed, source.annotations))
    manifest.write()
    none = Listed(manifest, len(manifest), len(manifest))
    found += [Found(name, none, Counter({os.path.basename(name): 1})) for name in litter]
    _check_some(found, sources, before)
    return found


@contextmanager
def _uncollected() -> Iterator[None]:
    """Pause garbage collection: nothing that is listed is garbage, and looking for some takes a sixth of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _listed(name: str, parts: Iterator[Part]) -> Iterator[Part]:
    """The parts of a source, as far as it can be listed.

    Raises:
        PetrieveError: it cannot be listed.
    """
    try:
        yield from parts
    except OSError as error:
        why = error.strerror or first_line(error)
        raise PetrieveError(f"cannot list {name}: {why}", "bring it back, or leave it out") from error


def find_parts(sources: Sequence[str]) -> list[Part]:
    """The photos of all sources, as by `find_all`, in the parts in which they are read."""
    with closing(Manifest()) as manifest:
        find_all(sources, manifest)
        slices = map(manifest.read, range(manifest.slices()))
        rows = (row for some in slices for row in zip(some.parts(), some.photos(), strict=True))
        return [part for part, _ in manifest.in_parts(rows)]


def _check_some(found: Sequence[Found], sources: Sequence[str], before: Iterable[str]) -> None:
    """Refuse sources in which no photo lies, and of which the store has none."""
    empty = [one for one in found if not one.photos and not any(is_under(path, one.name) for path in before)]
    if empty and (len(empty) == len(found) or any(not os.path.isdir(one.name) for one in empty)):
        there = [f"{one.name} holds {counted(one.passed)}" for one in empty if one.passed or os.path.isfile(one.name)]
        raise PetrieveError(
            f"there is no photo in {listed([one.name for one in empty], MAX_NAMED)}"
            + (f": {'; '.join(there[:MAX_NAMED])}" if there else ""),
            _remedy(sources[0], empty),
        )


def _remedy(place: str, empty: Iterable[Found]) -> str:
    """The remedy for sources without photos; `place` is the first."""
    if is_address(place) and any(".lance" in one.passed for one in empty):
        return "copy a table of Lance to a disk, and name it there: in a bucket it is not read"
    if is_address(place) and "*" in place:
        return "name what is before the `*`, which in a bucket means itself, or write `{00..11}`"
    some = f"name a {'prefix' if is_address(place) else 'folder'} or an archive with {FORMATS} files"
    nested = [
        one for one in empty if any(ending_of(kind) in ARCHIVES for kind in one.passed) and not os.path.isdir(one.name)
    ]
    some += f", or unpack {nested[0].name}: archives in archives are not read" if nested else ""
    return some if not os.path.isdir(place) else f"{some}, or let `petrieve sample {place}` draw some pets"


def counted(passed: Mapping[str, int]) -> str:
    """What was passed over, in words: the most frequent first."""
    kinds = [f"{count} {name}" for name, count in sorted(passed.items(), key=lambda one: (-one[1], one[0]))]
    return listed(kinds, MAX_KINDS) or "nothing"


def photos_of(parts: Iterable[Part]) -> dict[str, Photo]:
    """The photos of all parts by path, each path once."""
    photos: dict[str, Photo] = {}
    for part in parts:
        for photo in part.photos:
            photos.setdefault(photo.path, photo)
    return photos


def chosen(parts: Iterable[Part], paths: Iterable[str]) -> list[tuple[Part, list[Photo]]]:
    """Of each part the photos that have one of these paths, each path once."""
    left = set(paths)
    found = []
    for part in parts:
        if not left:
            break
        some = [photo for photo in part.photos if photo.path in left]
        left -= {photo.path for photo in some}
        if some:
            found.append((part, some))
    return found


def is_under(path: str, source: str) -> bool:
    """Whether a path is a source, or leads into it."""
    return path == source or path.startswith(os.path.join(source, ""))


def under_any(sources: Iterable[str]) -> Callable[[str], bool]:
    """A test whether a path is one of many sources, or leads into one."""
    tops = {source.rstrip("/") or "/" for source in sources}
    folders = dict[str, bool]()

    def leads(folder: str) -> bool:
        below = []
        while folder not in folders:
            above = os.path.dirname(folder)
            if folder in tops or folder == above:
                folders[folder] = folder in tops
            else:
                below.append(folder)
                folder = above
        folders.update(dict.fromkeys(below, folders[folder]))
        return folders[below[0] if below else folder]

    return lambda path: path in tops or leads(os.path.dirname(path))


def overlap(sources: Iterable[str]) -> bool:
    """Whether a source is another one, or leads into it, so that photos may be listed twice."""
    names = sorted(f"{source.rstrip('/')}/" for source in sources)
    return any(later.startswith(name) for name, later in pairwise(names))
