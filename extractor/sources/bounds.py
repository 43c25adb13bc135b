"""How large a photo may be: what is larger is refused by its header, before it fills the memory."""

import os

from petrieve.store.errors import PetrieveError

VARIABLE = "PETRIEVE_MAX_MEGAPIXELS"
# The largest phone camera makes 16,320 × 12,240; decoded, that is 600 MB.
MEGAPIXELS = 200


def max_megapixels() -> int:
    """How many millions of pixels a photo may have.

    Raises:
        PetrieveError: the environment says what is no number.
    """
    said = os.environ.get(VARIABLE) or str(MEGAPIXELS)
    if not said.isdecimal() or not int(said):
        raise PetrieveError(f"{VARIABLE} is {said!r}", f"set it to a number, such as {2 * MEGAPIXELS}, or to nothing")
    return int(said)


def max_bytes() -> int:
    """How many bytes it may have: beyond those of so many pixels as they are, 1 GiB for 200 megapixels."""
    return (max_megapixels() << 30) // MEGAPIXELS


def max_ratio() -> int:
    """How many times what it takes in an archive it may unpack to, where that is much: zlib's most is 1,032."""
    return max_megapixels()
