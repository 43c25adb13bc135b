"""Photos that somebody asks about: by their places, or in memory."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from PIL import Image

Photo: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image"


def several(photos: "Photo | Sequence[Photo]") -> "list[Photo]":
    """Each of these photos, or the one that they are."""
    if isinstance(photos, str | os.PathLike | bytes) or not isinstance(photos, Sequence):
        return [photos]
    return [*photos]
