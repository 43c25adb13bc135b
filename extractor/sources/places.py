"""What a place that a user names is: a folder, a photo or an archive."""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import product
from threading import Lock

from petrieve.extractor.sources.archives import archive
from petrieve.extractor.sources.blob import Blob, blob_at, is_table
from petrieve.extractor.sources.buckets.bucket import Bucket, Objects, is_named_like_archive
from petrieve.extractor.sources.buckets.objects import bytes_of
from petrieve.extractor.sources.folder import STORE, Files, Folder, read
from petrieve.extractor.sources.not_archives import check_name
from petrieve.extractor.sources.source import Part, Read, Source
from petrieve.extractor.sources.subfolder import Below, known_within
from petrieve.extractor.sources.unchanged import Listings, opened
from petrieve.store.errors import PetrieveError, Undecodable, remedy_of
from petrieve.store.photo import Photo, as_text, is_address

Place = str | os.PathLike[str]
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def paths_of(sources: Place | Sequence[Place]) -> list[str]:
    """One source or several, as addresses and absolute paths; patterns that no shell has expanded are expanded.

    `shards/{00..11}.tar` and `{cats,dogs}.zip` name each of these, whether it exists or not; names inside an archive
    are taken as they are.
    """
    named = [sources] if isinstance(sources, str | os.PathLike) else sources
    places = [str(os.fspath(source)) for source in named]
    each = [one for place in places for one in ([place] if not _is_pattern(place) else _unfolded(place))]
    return [_address(place) if is_address(place) else os.path.abspath(place) for place in each]


def _is_pattern(place: str) -> bool:
    """Whether a place does not exist by this name, and may stand for several."""
    return is_address(place) or not exists(place)


def _address(place: str) -> str:
    """An address without the slash that may stand behind a prefix."""
    return place[:-1] if place.endswith("/") and not place.endswith("://") else place


def _unfolded(pattern: str) -> Iterator[str]:
    pieces = _BRACES.split(pattern)
    choices = [list(_choices(piece)) if odd % 2 else [piece] for odd, piece in enumerate(pieces)]
    for words in product(*choices):
        path = "".join(words)
        yield from (not is_address(path) and sorted(glob.glob(path))) or [path]


def _choices(words: str) -> Iterator[str]:
    if found := _RANGE.fullmatch(words):
        first, last = found.groups()
        yield from (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
    elif "," in words:
        yield from words.split(",")
    else:
        yield f"{{{words}}}"


def source_at(place: str, listings: Listings | None = None) -> Source:
    """The source at a place (an address or an absolute path): for a name inside an archive, the photos below it.

    Archives that have not changed are taken from `listings`.

    Raises:
        PetrieveError: it cannot be opened.
    """
    for folder in (place, os.path.dirname(place)):
        if all(os.path.exists(os.path.join(folder, name)) for name in STORE):
            raise PetrieveError(f"{folder} is a store, and holds no photos", "name the folder that the photos are in")
    try:
        container, name = container_of(place) or (place, "")
        blob = blob_at(container)
        found = opened(blob, as_text(container), "", listings) if blob else None
        if blob and not found:
            check_name(blob)
    except OSError as error:
        raise PetrieveError(f"cannot open {place}: {error.strerror}", remedy_of(error)) from None
    if found is None and is_address(place):
        return Bucket(place, blob_at(place) if name else blob, listings=listings)
    if found is None:
        return Folder(place, listings=listings)
    return Below(found, as_text(name)) if name else found


def container_of(path: str) -> tuple[str, str] | None:
    """The archive that a path leads into, and the name inside; None if it leads into none."""
    if is_address(path):
        return _container_in_bucket(path)
    above = path.rstrip("/")  # the unlisted part of an archive ends with one
    while not os.path.lexists(above):
        above, name = os.path.split(above)
        if not name:
            return None
    leads = above != path and (os.path.isfile(above) or is_table(above))
    return (above, path[len(above) + 1 :]) if leads else None


def _container_in_bucket(address: str) -> tuple[str, str] | None:
    """The object that an address leads into: the first whose ending is an archive's; none is opened to see."""
    pieces = address.split("/")
    for end, piece in enumerate(pieces[3:-1], 4):
        if is_named_like_archive(piece):
            return "/".join(pieces[:end]), "/".join(pieces[end:])
    return None


def exists(place: str) -> bool:
    """Whether something is at a place, or may be: inside an archive, or in a bucket."""
    return os.path.lexists(place) or is_address(place) or container_of(place) is not None


def gone(path: str) -> str | None:
    """Today's date if nothing is at this path, or a dangling link; None if something is, or may be.

    No bucket is asked: the next `embed` finds out what is gone from there.
    """
    if os.path.exists(path) or is_address(path) or container_of(path):
        return None
    return datetime.now(UTC).date().isoformat()


def parts_of(photos: Iterable[Photo]) -> list[tuple[Part, Sequence[Photo]]]:
    """Known photos as parts, each with its photos; a part has each uri once."""
    containers: dict[str, str] = {}  # by the folder that photos lie in
    groups: dict[tuple[str, str], list[Photo]] = {}
    for photo in photos:
        folder = os.path.dirname(photo.path)
        if folder not in containers:
            containers[folder] = (container_of(photo.path) or ("", ""))[0]
        groups.setdefault((photo.root, containers[folder]), []).append(photo)
    return [(_part(root, container, some), some) for (root, container), some in groups.items()]


def _part(root: str, container: str, photos: Sequence[Photo]) -> Part:
    found, above = None, as_text(container)
    folder = root[len(above) + 1 :] if root.startswith(f"{above}/") else ""  # in the archive
    try:
        if container and (blob := blob_at(container)):
            before = above[len(root) :].lstrip("/")
            found = archive(blob, above if folder else root, before and f"{before}/")
    except OSError:  # reading the photos says so
        pass
    if found:
        return known_within(found, photos, folder) if folder else found.part(photos)
    return Objects(tuple(photos)) if is_address(root) else Files(tuple(photos))


def read_known(photo: Photo) -> Read:
    """A known photo as it is now, beside its bytes; or why it cannot be read."""
    ((part, _),) = parts_of([photo])
    return next(iter(part.read({photo.uri})))


def read_at(path: str) -> bytes:
    """The bytes of the photo at a path, which may lead into an archive.

    Raises:
        OSError: it cannot be opened, or changes while it is read.
        Undecodable: not a regular file, or over `max_bytes`.
    """
    if inside := container_of(path):
        found = _member(path)
        got = found and next(iter(found[0].read({found[1].uri})))
        if isinstance(got, tuple):
            return got[1]
        raise Undecodable(got.reason if got else f"{inside[0]} does not hold it")
    return bytes_of(path)[1] if is_address(path) else read(path)[0]


def found_at(path: str) -> Photo | None:
    """The photo at a path that leads into an archive, as it is now; None if there is none.

    Raises:
        OSError: that file cannot be opened.
    """
    found = _member(path)
    return found and found[1]


_listing = Lock()  # what several threads ask for is listed once


def _member(path: str) -> tuple[Part, Photo] | None:
    if not (inside := container_of(path)) or not (blob := blob_at(inside[0])):
        return None
    with _listing:
        return _listed(blob).get(as_text(inside[1]))


@lru_cache(maxsize=2)  # a sheet or a page shows several photos of one archive
def _listed(blob: Blob) -> dict[str, tuple[Part, Photo]]:
    found = archive(blob, as_text(blob.path))
    return {photo.uri: (part, photo) for part in found.parts() for photo in part.photos} if found else {}
