"""A number for each text, by which texts are found among very many, and then compared.

The bytes are the coefficients of a polynomial, modulo 2^64: R. Karp, M. Rabin: "Efficient randomized pattern-matching
algorithms", IBM Journal of Research and Development 31, 1987. A whole column's come from one running sum.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse
SOME = 8192  # texts at a time: of paths some 500 kB, and eight times as much in numbers


def marks_of_texts(texts: "pa.LargeStringArray") -> "np.ndarray":
    """A number for each text, (n,) uint64, which another may have too."""
    import numpy as np

    found = np.zeros(len(texts), np.uint64)
    ends = np.frombuffer(texts.buffers()[1] or bytes(8), np.int64)[texts.offset :][: len(texts) + 1]
    letters = np.frombuffer(texts.buffers()[2] or b"", np.uint8)
    for first in range(0, len(texts), SOME):
        some = ends[first : first + SOME + 1]
        data, places = letters[some[0] : some[-1]], some - some[0]
        powers, inverses = (table[: len(data) + 1] for table in _tables(len(data).bit_length()))
        sums = np.zeros(len(data) + 1, np.uint64)
        np.cumsum(data * powers[:-1], out=sums[1:])
        found[first : first + SOME] = (sums[places[1:]] - sums[places[:-1]]) * inverses[places[:-1]]
    return found


def mark_of_text(text: str) -> "np.uint64":
    """The same of one text."""
    import numpy as np

    data = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    powers, _ = _tables(len(data).bit_length())
    return (data * powers[: len(data)]).sum(dtype=np.uint64)  # type: ignore[no-any-return]


@lru_cache(maxsize=32)
def _tables(bits: int) -> "tuple[np.ndarray, np.ndarray]":
    """The powers of BASE from the 0th to the one of `bits` bits, and those of its inverse."""
    import numpy as np

    found = []
    for base in (BASE, pow(BASE, -1, 1 << 64)):
        powers = np.full((1 << bits) + 1, base, np.uint64)
        powers[0] = 1
        found.append(np.cumprod(powers))
    return found[0], found[1]
