"""Which photos the names in somebody's CSV stand for."""

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from urllib.parse import unquote

from store.errors import PetrieveError
from store.photo import Photo, as_text, path_of

# What a photo is called that somebody serves: by its path, and by Label Studio by that, or by its name behind 8 digits
# (django's `get_valid_name` of it).
LOCAL = re.compile(r"(?:\w+://[^/]+)?(?:/\S*)?/data/local-files/\?d=(.+)")
UPLOADED = re.compile(r"(?:\w+://[^/]+)?(?:/\S*)?/data/upload/(?:\d+/)?[0-9a-f]{8}-([^/]+)")
SERVED = re.compile(r"\w+://[^/]+/(.+)")


def photos_meant(
    file: str, names: Collection[str], photos: Mapping[str, Photo], known: Container[str]
) -> dict[str, str]:
    """The paths that the names in a CSV stand for: of `photos` (by path), else of what a store knows; not all do.

    A name is a path from the source or from where one stands. Where no photo has it, it is that of the one whose path
    differs by its normal form, its ending's case or backslashes, or that was served under it.

    Raises:
        PetrieveError: a name stands for two photos, or two names for one.
    """
    found = _exactly(file, names, photos, known)
    for way in (_loosely, _served):
        if left := [name for name in names if name not in found]:
            taken = set(found.values())
            found |= way(left, [photo for path, photo in photos.items() if path not in taken])
    named: dict[str, str] = {}
    for name, path in found.items():
        if (other := named.setdefault(path, name)) != name:
            raise PetrieveError(f"{file} names one photo twice, {other!r} and {name!r}", "keep one row for each photo")
    return found


def _exactly(file: str, names: Iterable[str], photos: Mapping[str, Photo], known: Container[str]) -> dict[str, str]:
    plain = {name: os.path.normpath(name) for name in names}
    wanted = {as_text(uri) for uri in plain.values()}
    of_uris: dict[str, list[str]] = {}
    for path, photo in photos.items():
        if photo.uri in wanted:
            of_uris.setdefault(photo.uri, []).append(path)
    roots = [os.getcwd(), *sorted({photo.root for photo in photos.values()})]
    found = {}
    for name, uri in plain.items():
        here = os.path.normpath(path_of(roots[0], uri))
        places = {*of_uris.get(as_text(uri), ()), *({here} & photos.keys())}
        if len(places) > 1:
            first, second, *_ = sorted(places)
            raise PetrieveError(f"{file} names {name!r}, which may be {first} or {second}", "write its absolute path")
        places = places or {place for root in roots if (place := os.path.normpath(path_of(root, uri))) in known}
        if len(places) == 1:
            found[name] = places.pop()
    return found


def _loosely(names: Iterable[str], photos: Collection[Photo]) -> dict[str, str]:
    roots = {root: loose(root) for root in {photo.root for photo in photos}}
    spelt: dict[str, set[str]] = {}
    for photo in photos:
        uri = loose(photo.uri)
        for key in (uri, os.path.join(roots[photo.root], uri)):
            spelt.setdefault(key, set()).add(photo.path)
    here, nobody = loose(os.getcwd()), set[str]()

    def places(name: str) -> set[str]:
        key = loose(name)
        return spelt.get(key, nobody) | spelt.get(os.path.normpath(os.path.join(here, key)), nobody)

    return _if_one(names, places)


def _served(names: Iterable[str], photos: Collection[Photo]) -> dict[str, str]:
    called: dict[str, set[str]] = {}
    for photo in photos:
        called.setdefault(_safe(os.path.basename(photo.path)), set()).add(photo.path)

    def places(name: str) -> set[str]:
        if uploaded := UPLOADED.fullmatch(name):
            return called.get(_safe(unquote(uploaded[1])), set())
        if served := LOCAL.fullmatch(name) or SERVED.fullmatch(name):
            end = loose("/" + unquote(served[1]).lstrip("/"))
            return {path for path in called.get(_safe(os.path.basename(end)), ()) if loose(path).endswith(end)}
        return set()

    return _if_one(names, places)


def _if_one(names: Iterable[str], places: Callable[[str], set[str]]) -> dict[str, str]:
    """The path of each name that has one place and no more."""
    return {name: next(iter(some)) for name in names if len(some := places(name)) == 1}


def loose(name: str) -> str:
    """What names have in common that look the same."""
    text = name if name.isascii() else unicodedata.normalize("NFC", as_text(name))
    stem, ending = os.path.splitext(text.strip().replace("\\", "/"))
    return os.path.normpath(stem + ending.lower())


def _safe(name: str) -> str:
    """A file's name as Label Studio keeps it, in any spelling."""
    return re.sub(r"[^-\w.]", "", loose(name).replace(" ", "_"))
