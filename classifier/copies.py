"""Near-copies: photos that are the same picture, so that none may be on both sides of a split."""

from collections.abc import Callable, Iterable
from itertools import product
from typing import TYPE_CHECKING

from petrieve.classifier.cores import Piece, on_cores
from petrieve.store.rows import lengths, unit_length

if TYPE_CHECKING:
    import numpy as np

# Cosine of standardised embeddings from which on two photos count as one picture. Measured: of 800 of Kaggle's photos,
# with the bundled trunk, no two that differ reach 0.951, and half of those at half size or in a worse JPEG are above
# 0.98; with an ImageNet trunk, of 2,459 photos the one pair of copies has 0.984, the next look-alikes have 0.80.
SAME = 0.96
# Numbers of an embedding's sketch in the first pass, 32 with the rest's length; and pairs checked at a time. Of a
# million pairs of look-alikes 3 to 7 are checked, and 1 or 2 after 64 numbers, which take twice the time.
SKETCH, PAIRS = 31, 1 << 12
BLOCK = 512  # sketches that are multiplied with as many others: products of 1 MB stay in a core's cache


def pairs(embeddings: "np.ndarray", digests: "np.ndarray") -> "np.ndarray":
    """The pairs (P, 2) of near-copies, of embeddings (N, D); photos of equal digests (N,) each beside the first one."""
    import numpy as np

    units = standardised(embeddings)
    units /= lengths(units)[:, None]  # in place: of a million photos a copy takes 4 GB
    return np.concatenate([np.stack(ends, axis=1) for ends in (_alike(units), _equal(digests))])


def standardised(embeddings: "np.ndarray") -> "np.ndarray":
    """Embeddings (N, D) of which every number has mean 0 and deviation 1."""
    import numpy as np

    made = np.asarray(embeddings - embeddings.mean(axis=0))
    made /= deviations(np.einsum("nd,nd->d", made, made) / max(len(made), 1))
    return made


def deviations(variances: "np.ndarray") -> "np.ndarray":
    """The deviations (D,); 1 for a number that never changes: it says nothing, and must not be blown up."""
    import numpy as np

    scale = np.sqrt(np.maximum(variances, 0))
    scale[scale < 1e-6] = 1
    return np.asarray(scale)


def copied(
    queries: "np.ndarray", pieces: Iterable[Piece], standardised_of: "Callable[[Piece], np.ndarray]"
) -> "np.ndarray":
    """Which of `queries` (Q, D), standardised, have a near-copy in the pieces: (Q,).

    `standardised_of` gives a piece's embeddings (n, D), standardised as the queries are; several threads call it at
    once.
    """
    import numpy as np

    units = unit_length(queries)
    basis = _basis(units)
    sketches, found = _sketched(units, basis), np.zeros(len(units), bool)

    def places(piece: Piece) -> "np.ndarray":
        others = unit_length(standardised_of(piece))
        return _same(units, others, sketches, _sketched(others, basis))[0]

    for some in on_cores(places, pieces):
        found[some] = True
    return found


def _alike(units: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """All pairs whose cosine reaches `SAME`: the places of the first and of the second."""
    import numpy as np

    sketches = _sketched(units, _basis(units))

    def later(start: int) -> "np.ndarray":
        own = slice(start, start + BLOCK)
        one, other = _same(units[own], units[start:], sketches[own], sketches[start:])
        return np.stack([one, other])[:, one < other] + start

    one, other = np.concatenate([np.zeros((2, 0), int), *on_cores(later, range(0, len(units), BLOCK))], axis=1)
    return one, other


def _same(
    units: "np.ndarray", others: "np.ndarray", sketches: "np.ndarray", other_sketches: "np.ndarray"
) -> "tuple[np.ndarray, np.ndarray]":
    """Places in both of the pairs whose cosine reaches `SAME`.

    In an orthonormal basis the product of two embeddings is that of their first numbers plus that of the rest, which is
    at most the product of the rests' lengths: a pair that stays below `SAME` with those is not checked.
    """
    import numpy as np

    found = [np.zeros((2, 0), int)]
    for start, at in product(range(0, len(units), BLOCK), range(0, len(others), BLOCK)):
        bound = sketches[start : start + BLOCK] @ other_sketches[at : at + BLOCK].T
        likely = np.flatnonzero((bound >= SAME - 1e-4).ravel())
        for part in range(0, len(likely), PAIRS):
            one, other = np.divmod(likely[part : part + PAIRS], bound.shape[1])
            one, other = one + start, other + at
            same = np.einsum("pd,pd->p", units[one], others[other]) >= SAME
            found.append(np.stack([one[same], other[same]]))
    one, other = np.concatenate(found, axis=1)
    return one, other


def _basis(units: "np.ndarray") -> "np.ndarray":
    """The basis (D, `SKETCH` or fewer), orthonormal, that holds most of the rows (N, D)."""
    import numpy as np

    drawn = np.random.default_rng(0).normal(size=(units.shape[1], SKETCH)).astype(np.float32)
    spread = (units.T @ (units @ drawn)).astype(np.float64)  # Halko, Martinsson and Tropp 2011
    squares, turn = np.linalg.eigh(spread.T @ spread)  # numpy's QR takes 3 s beside other load, this 10 ms
    kept = squares > squares[-1] * 1e-10
    return np.asarray((spread @ (turn[:, kept] / np.sqrt(squares[kept]))).astype(np.float32))


def _sketched(units: "np.ndarray", basis: "np.ndarray") -> "np.ndarray":
    """The numbers of each row in a basis, and the length of the rest."""
    import numpy as np

    first = units @ basis
    rest = np.sqrt(np.maximum(np.einsum("nd,nd->n", units, units) - (first**2).sum(axis=1), 0))
    return np.concatenate([first, rest[:, None]], axis=1)


def _equal(digests: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """The first photo with each photo's bytes, and that photo, where these are two."""
    import numpy as np

    _, first, which = np.unique(digests, return_index=True, return_inverse=True)
    later = np.flatnonzero(first[which] != np.arange(len(digests)))
    return first[which][later], later
