"""The entries of a zip without a directory, by their own headers: the whole ones of a zip that is cut off."""

from collections.abc import Iterator

from petrieve.extractor.sources.zips.directory import Entry, longer, text_of
from petrieve.extractor.sources.zips.unpack import (
    CUT_OFF,
    DEFLATED,
    HEADER,
    SIGNATURE,
    Header,
    Window,
    header,
    measured,
)
from petrieve.store.errors import Undecodable

_BEHIND = 8  # the flag of an entry whose sizes and CRC stand behind it
_DESCRIPTOR = b"PK\7\10"  # what stands behind such an entry, CRC and sizes, begins so, or has no such mark
_MARKED = (b"PK00", _DESCRIPTOR)  # begin a zip that was made to be split
_NO_DIRECTORY = (b"PK\1\2", b"PK\5\6", b"PK\6\6")


def entries(window: Window) -> Iterator[Entry | str]:
    """The entries of a zip in the order in which they lie, and last, why no more can be told.

    Raises:
        OSError: the file cannot be read.
    """
    place = 4 if window.at(0, 4) in _MARKED else 0
    while found := header(window, place):
        name = text_of(found.name, found.flags, found.extra)
        try:
            crc, packed, length = _measures(window, place + found.length, found)
        except Undecodable as error:
            yield f"it has no directory that can be read, and ends in {name}: {error}"
            return
        yield Entry(
            name, found.flags, found.method, found.moment, crc, packed, length, place, window.size, HEADER, mode=0
        )
        place = _behind(window, place + found.length + packed, found)
    whole = window.at(place, 4) in _NO_DIRECTORY
    where = "only its directory is damaged" if whole else f"it is cut off or damaged at byte {min(place, window.size)}"
    yield f"{where}: what lies before that is found by its own headers"


def _measures(window: Window, place: int, found: Header) -> tuple[int, int, int]:
    """CRC, packed size and size of the entry whose packed bytes begin at a place."""
    if found.flags & _BEHIND and not found.packed:
        if found.method != DEFLATED or found.flags & 1:
            raise Undecodable("its length is not recorded")
        packed, size = measured(window, place)
        behind = window.at(place + packed, 8)
        crc = behind[4:] if behind[:4] == _DESCRIPTOR else behind[:4]
        if len(crc) < 4:
            raise Undecodable(CUT_OFF)
        return int.from_bytes(crc, "little"), packed, size
    size, packed, _ = longer(found.extra, found.size, found.packed, 0)
    return found.crc, packed, size


def _behind(window: Window, place: int, found: Header) -> int:
    """Where the next header begins, after packed bytes that end at a place."""
    if not found.flags & _BEHIND:
        return place
    data = window.at(place, 28)
    lengths = (16, 24) if data[:4] == _DESCRIPTOR else (12, 20)  # with sizes of 32 bits, or of 64
    return place + next((one for one in lengths if data[one : one + 2] == SIGNATURE[:2]), lengths[0])
