"""Near-copies: photos that are the same picture, so that none may be on both sides of a split."""

from collections.abc import Iterable, Iterator
from itertools import product
from typing import TYPE_CHECKING

from petrieve.store.linked import joined as joined
from petrieve.store.rows import lengths, unit_length

if TYPE_CHECKING:
    import numpy as np

# Cosine of standardised embeddings from which on two photos count as one picture. Measured: of 800 of Kaggle's photos,
# with the bundled trunk, no two that differ reach 0.951, and half of those at half size or in a worse JPEG are above
# 0.98; with an ImageNet trunk, of 2,459 photos the one pair of copies has 0.984, the next look-alikes have 0.80.
SAME = 0.96
# Numbers that stand for an embedding in the first pass, and pairs of it that are looked at again in one go.
SKETCH, PAIRS = 64, 1 << 14
BLOCK, OTHERS = 1024, 1 << 14  # sketches that are held against so many others at a time: 80 MB


def pairs(embeddings: "np.ndarray", digests: "np.ndarray") -> "np.ndarray":
    """The pairs (P, 2) of near-copies, of embeddings (N, D); photos of equal digests (N,) each beside the first one."""
    import numpy as np

    units = standardised(embeddings)
    units /= lengths(units)[:, None]  # in its place: of a million photos a copy takes 4 GB
    found = [*_alike(units), _equal(digests)]
    return np.concatenate([np.stack(ends, axis=1) for ends in found])


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


def copied(queries: "np.ndarray", blocks: "Iterable[np.ndarray]") -> "np.ndarray":
    """Which of `queries` (Q, D) have a near-copy in the blocks (n, D): (Q,). All are standardised alike."""
    import numpy as np

    units = unit_length(queries)
    basis = _basis(units)
    sketches, found = _sketched(units, basis), np.zeros(len(units), bool)
    for block in blocks:
        others = unit_length(block)
        for one, _ in _same(units, others, sketches, _sketched(others, basis)):
            found[one] = True
    return found


def _alike(units: "np.ndarray") -> "Iterator[tuple[np.ndarray, np.ndarray]]":
    """The pairs whose cosine reaches `SAME`, all of them."""
    sketches = _sketched(units, _basis(units))
    for start in range(0, len(units), BLOCK):
        own = slice(start, start + BLOCK)
        for one, other in _same(units[own], units[start:], sketches[own], sketches[start:]):
            apart = one < other
            yield one[apart] + start, other[apart] + start


def _same(
    units: "np.ndarray", others: "np.ndarray", sketches: "np.ndarray", other_sketches: "np.ndarray"
) -> "Iterator[tuple[np.ndarray, np.ndarray]]":
    """Places in both of the pairs whose cosine reaches `SAME`.

    In an orthonormal basis the product of two embeddings is that of their first numbers plus that of the rest, which
    is no more than the product of the rests' lengths: what stays below `SAME` with those is not looked at again.
    """
    import numpy as np

    for start, at in product(range(0, len(units), BLOCK), range(0, len(others), OTHERS)):
        near = sketches[start : start + BLOCK] @ other_sketches[at : at + OTHERS].T >= SAME - 1e-4
        likely = np.flatnonzero(near.ravel())
        for part in range(0, len(likely), PAIRS):
            one, other = np.divmod(likely[part : part + PAIRS], near.shape[1])
            one, other = one + start, other + at
            same = np.einsum("pd,pd->p", units[one], others[other]) >= SAME
            yield one[same], other[same]


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
