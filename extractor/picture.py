"""A photo as people see it."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from petrieve.extractor.pixels.decode import upright_image
from petrieve.extractor.sources.reading import Reader
from petrieve.store.cache import Cache
from petrieve.store.errors import Undecodable

if TYPE_CHECKING:
    from PIL import Image


def pictures(cache: Cache, paths: Iterable[str]) -> "Callable[[str], Image.Image | None]":
    """A function from a path to the upright picture; photos of one archive among `paths` are read together."""
    return partial(_one_of, read=Reader(cache), together=list(paths))


def _one_of(path: str, *, read: Reader, together: list[str]) -> "Image.Image | None":
    """The picture at a path; the first call looks all paths up."""
    if together:
        read.know(together)
        together.clear()
    return picture(path, read)


def picture(path: str, read: Reader | None = None) -> "Image.Image | None":
    """The upright picture of the photo at a path; None where it can no longer be read.

    It is read as `embed` reads it: neither a pipe nor a file of any size in its place holds anybody up.
    """
    try:
        return upright_image((read or Reader())(path))
    except (OSError, ValueError, Undecodable, MemoryError):  # it is gone, or no file can have its name
        return None
