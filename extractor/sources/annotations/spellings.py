"""Which photos the names in a CSV stand for."""

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Container, Iterable
from urllib.parse import unquote

from petrieve.store.errors import PetrieveError
from petrieve.store.photo import Photo, as_text, path_of

# Names of photos that a server gives: a path; in Label Studio also the file's name after 8 digits (django's
# `get_valid_name` of it).
LOCAL = re.compile(r"(?:\w+://[^/]+)?(?:/\S*)?/data/local-files/\?d=(.+)")
UPLOADED = re.compile(r"(?:\w+://[^/]+)?(?:/\S*)?/data/upload/(?:\d+/)?[0-9a-f]{8}-([^/]+)")
Photos = Callable[[], Iterable[Photo]]  # those of a run, as often as they are asked for
SERVED = re.compile(r"\w+://[^/]+/(.+)")


def photos_meant(file: str, names: Collection[str], photos: Photos, known: Container[str]) -> dict[str, str]:
    """The paths that the names in a CSV stand for: of `photos`, else of the store's photos; some names stand for none.

    A name is a path from the source or from the working folder. If no photo has it, it stands for the one whose path
    differs by normal form, case of the ending or backslashes, or that was served under it.

    Raises:
        PetrieveError: a name stands for two photos, or two names for one.
    """
    found = _exactly(file, names, photos, known)
    for way in (_loosely, _served):
        if left := [name for name in names if name not in found]:
            taken = set(found.values())
            found |= way(left, (photo for photo in photos() if photo.path not in taken))
    named: dict[str, str] = {}
    for name, path in found.items():
        if (other := named.setdefault(path, name)) != name:
            raise PetrieveError(f"{file} names one photo twice, {other!r} and {name!r}", "keep one row for each photo")
    return found


def _exactly(file: str, names: Iterable[str], photos: Photos, known: Container[str]) -> dict[str, str]:
    plain, cwd = {name: os.path.normpath(name) for name in names}, os.getcwd()
    wanted = {as_text(uri) for uri in plain.values()}
    here = {name: os.path.normpath(path_of(cwd, uri)) for name, uri in plain.items()}
    there, found_here, of_roots = set(here.values()), set[str](), set[str]()
    of_uris: dict[str, list[str]] = {}
    for photo in photos():
        of_roots.add(photo.root)
        if (path := photo.path) in there:
            found_here.add(path)
        if photo.uri in wanted:
            of_uris.setdefault(photo.uri, []).append(path)
    roots, found = [cwd, *sorted(of_roots)], {}
    for name, uri in plain.items():
        places = {*of_uris.get(as_text(uri), ()), *({here[name]} & found_here)}
        if len(places) > 1:
            first, second, *_ = sorted(places)
            raise PetrieveError(f"{file} names {name!r}, which may be {first} or {second}", "write its absolute path")
        places = places or {place for root in roots if (place := os.path.normpath(path_of(root, uri))) in known}
        if len(places) == 1:
            found[name] = places.pop()
    return found


def _loosely(names: Iterable[str], photos: Iterable[Photo]) -> dict[str, str]:
    here, roots = loose(os.getcwd()), dict[str, str]()
    spelt: dict[str, set[str]] = {}
    for name in names:
        spelt |= {key: set() for key in (loose(name), os.path.normpath(os.path.join(here, loose(name))))}
    for photo in photos:
        uri = loose(photo.uri)
        root = roots.get(photo.root) or roots.setdefault(photo.root, loose(photo.root))
        for key in (uri, os.path.join(root, uri)):
            if key in spelt:
                spelt[key].add(photo.path)

    def places(name: str) -> set[str]:
        key = loose(name)
        return spelt[key] | spelt[os.path.normpath(os.path.join(here, key))]

    return _if_one(names, places)


def _served(names: Iterable[str], photos: Iterable[Photo]) -> dict[str, str]:
    asked = {name: served for name in names if (served := _as_served(name))}
    called: dict[str, set[str]] = {key: set() for key, _ in asked.values()}
    for photo in photos if asked else ():
        if (key := _safe(os.path.basename(photo.path))) in called:
            called[key].add(photo.path)

    def places(name: str) -> set[str]:
        key, end = asked[name]
        return {path for path in called[key] if loose(path).endswith(end)}

    return _if_one(asked, places)


def _as_served(name: str) -> tuple[str, str] | None:
    """Under a name that a photo is served by: how its file's name is kept, and how its path ends."""
    if uploaded := UPLOADED.fullmatch(name):
        return _safe(unquote(uploaded[1])), ""
    if served := LOCAL.fullmatch(name) or SERVED.fullmatch(name):
        end = loose("/" + unquote(served[1]).lstrip("/"))
        return _safe(os.path.basename(end)), end
    return None


def _if_one(names: Iterable[str], places: Callable[[str], set[str]]) -> dict[str, str]:
    """The path of each name that has one place and no more."""
    return {name: next(iter(some)) for name in names if len(some := places(name)) == 1}


def loose(name: str) -> str:
    """A key that is the same for names that look the same."""
    text = name if name.isascii() else unicodedata.normalize("NFC", as_text(name))
    stem, ending = os.path.splitext(text.strip().replace("\\", "/"))
    return os.path.normpath(stem + ending.lower())


def _safe(name: str) -> str:
    """A file's name as Label Studio keeps it, in any spelling."""
    return re.sub(r"[^-\w.]", "", loose(name).replace(" ", "_"))
