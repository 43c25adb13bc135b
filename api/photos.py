"""Photos that somebody asks about, by their places or in memory; and places as a person names them."""

import io
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from petrieve.store.buckets import is_address
from petrieve.store.errors import PetrieveError

if TYPE_CHECKING:
    from PIL import Image

Place: TypeAlias = str | os.PathLike[str]
Photo: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image"
ONE = (
    str,
    os.PathLike,
    bytes,
    bytearray,
    memoryview,
    io.IOBase,
)  # one photo, though Python can go through it as through a list


def several(photos: "Photo | Iterable[Photo]") -> "list[Photo]":
    """Each of these photos, or the one that they are; `~` is the home folder."""
    each = list(photos) if isinstance(photos, Iterable) and not isinstance(photos, ONE) else [photos]
    return [home(one) if isinstance(one, str | os.PathLike) else one for one in each]  # type: ignore[misc]


def places(sources: Place | Iterable[Place]) -> list[str]:
    """One source or several; `~` is the home folder also where no shell has seen it.

    Raises:
        PetrieveError: there is none.
    """
    is_one = isinstance(sources, str | os.PathLike) or not isinstance(sources, Iterable)
    named = list(map(home, [sources] if is_one else sources))  # type: ignore[arg-type]
    if not named:
        raise PetrieveError("there is no source to take photos from", "name a folder, an archive or an address")
    return named


def home(named: Place) -> str:
    """An address as it is, or a path in which `~` is the home folder."""
    try:
        place = os.fsdecode(named)
    except TypeError:
        raise TypeError(f"a place is a path or an address, and not {type(named).__name__}") from None
    return place if is_address(place) else os.path.expanduser(place)


def path(named: Place) -> Path:
    """What a person has named, on this machine.

    Raises:
        PetrieveError: it is an address, of which a path would make folders here: `s3:` and `bucket`.
    """
    place = home(named)
    if re.match(r"[A-Za-z][\w+.-]+://", place):
        raise PetrieveError(f"{place} is an address, and no path on this machine", "name a path")
    return Path(place)
