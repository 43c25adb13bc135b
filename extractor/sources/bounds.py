"""How large a photo may be: what is larger is refused by its header, before it fills the memory."""

import os

from petrieve.store.errors import PetrieveError

VARIABLE = "PETRIEVE_MAX_MEGAPIXELS"
# The largest phone camera makes 16,320 × 12,240; decoded, that is 600 MB.
MEGAPIXELS = 200


def max_megapixels() -> int:
    """How many millions of pixels a photo may have.

    Raises:
        PetrieveError: the environment variable is not a number.
    """
    said = os.environ.get(VARIABLE) or str(MEGAPIXELS)
    if not said.isdecimal() or not int(said):
        raise PetrieveError(f"{VARIABLE} is {said!r}", f"set it to a number, such as {2 * MEGAPIXELS}, or to nothing")
    return int(said)


def max_bytes() -> int:
    """How many bytes a photo may have: more than its largest pixels take uncompressed, 1 GiB for 200 megapixels."""
    return (max_megapixels() << 30) // MEGAPIXELS


def max_ratio() -> int:
    """The largest ratio of unpacked to packed bytes of a large photo in an archive: zlib's highest is 1,032."""
    return max_megapixels()
