"""Names inside archives: what an entry is called in uris, which entries are passed over, and those known to be bad."""

from collections import Counter
from dataclasses import dataclass, field

from petrieve.extractor.sources.blob import Blob
from petrieve.store.errors import warn
from petrieve.store.photo import Photo, as_text
from petrieve.store.rows import Unreadable

# Folders in which systems keep thumbnails, old versions and what was thrown away, casefolded: Synology's, QNAP's,
# NetApp's, those of Windows, Linux and macOS, and the one that macOS adds to an archive.
LITTER = frozenset(
    """@eadir #recycle #snapshot @tmp @recycle @recently-snapshot @transcode ~snapshot $recycle.bin recycler found.000
    lost+found __macosx""".split()
) | {"system volume information", "network trash folder", "temporary items"}
MAX_NAME_LENGTH = 4096  # characters of a name: the longest path that Linux takes
# Endings of archives, which are passed over by their names.
ARCHIVES = frozenset(".zip .tar .tgz .gz .bz2 .xz .zst .7z .rar .parquet .arrow .lance".split())

_BAD = "unreadable: "  # how the version of a photo begins that its listing found unreadable


@dataclass
class EntryNames:
    """The names of the entries of one archive, as they are listed: the same names are passed over as in a folder."""

    passed: Counter[str]
    _taken: dict[str, int] = field(default_factory=dict)  # how often each name was asked for
    _renamed: list[tuple[str, str]] = field(default_factory=list)  # what was asked for, and what it is called
    _shown: dict[str, bool] = field(default_factory=dict)  # by folder
    _litter: set[str] = field(default_factory=set)  # folders that are counted

    def visible(self, name: str) -> str | None:
        """The name as it stands in uris; None where it, or a folder above it, is hidden or litter, or nothing is left.

        Litter is counted once for each such folder, as it is where folders are walked.
        """
        uri = clean(name)
        if len(uri) > MAX_NAME_LENGTH:
            self.passed["name that is too long"] += 1
            return None
        folder, _, base = uri.rpartition("/")
        if not base or not self._is_shown(folder) or base[0] == ".":
            return None
        return uri

    def apart(self, uri: str) -> str:
        """The uri of a photo, unlike all others: a second `1.jpg` is `1 (2).jpg`."""
        one = uri
        while one in self._taken:
            self._taken[uri] += 1
            stem, ending = _split(uri)
            one = f"{stem} ({self._taken[uri]}){ending}"
        self._taken[one] = 1
        if one != uri:
            self._renamed.append((uri, one))
        return one

    def note(self, source: str) -> None:
        """Say which names came twice."""
        if self._renamed:
            (name, other), more = self._renamed[0], len(self._renamed) - 1
            ones = f", and {more} more" if more else ""
            warn(f"{source} has {name!r} twice: the second is called {other!r}{ones}")

    def pass_over(self, uri: str) -> None:
        """Count a file that is not a photo, by its ending; an archive by its name, as in folders."""
        ending = ending_of(uri)
        self.passed[uri[uri.rfind("/") + 1 :] if ending in ARCHIVES else ending or "without ending"] += 1

    def _is_shown(self, folder: str) -> bool:
        if (known := self._shown.get(folder)) is None:
            known = self._shown[folder] = not folder or self._look_at(folder)
        return known

    def _look_at(self, folder: str) -> bool:
        above = ""
        for base in folder.split("/"):
            above += f"{base}/"
            if base[0] == ".":
                return False
            if base.casefold() in LITTER:
                self.passed[base] += above not in self._litter
                self._litter.add(above)
                return False
        return True


def clean(name: str) -> str:
    """An entry's name as uris have it: it does not lead out of the archive, and ends before a NUL."""
    uri = as_text(name)
    if uri[:1] not in ("/", ".", "") and "/." not in uri and "//" not in uri and "\0" not in uri:
        return uri
    return "/".join(part for part in uri.partition("\0")[0].split("/") if part not in ("", ".", ".."))


def ending_of(uri: str) -> str:
    """The last ending of a name, in small letters; empty where it has none."""
    return _split(uri)[1].lower()


def _split(uri: str) -> tuple[str, str]:
    dot = uri.rfind(".", uri.rfind("/") + 1)
    return (uri, "") if dot < 0 else (uri[:dot], uri[dot:])


def bad(root: str, uri: str, blob: Blob, reason: str) -> Photo:
    """An entry that the listing found unreadable; it is tried again when the archive has changed."""
    return Photo(root, uri, blob.size, blob.modified, version=_BAD + reason)


def rest(root: str, before: str, blob: Blob, reason: str) -> Photo:
    """The part of an archive that cannot be listed, as an unreadable folder: known photos below it are not gone."""
    return bad(root, before, blob, reason)


def told_bad(photo: Photo) -> Unreadable | None:
    """Why its listing found a photo unreadable; None if it did not."""
    if photo.version and photo.version.startswith(_BAD):
        return Unreadable(photo, photo.version.removeprefix(_BAD))
    return None
