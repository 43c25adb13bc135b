"""Copies of used trunks' weights on this machine, which are read without torch: a look-up needs no more.

Only torch reads the files that torchvision publishes. So loading a trunk leaves a copy of its tensors, named by its
fingerprint, beside the copies of files in buckets. Each use computes the fingerprint again: a copy of other weights, or
a damaged one, is removed and not used. The bundled weights need no copy.
"""

from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from petrieve.extractor.trunks.arrays import ArrayNet
from petrieve.extractor.trunks.kinds import KINDS, NUMPY
from petrieve.extractor.trunks.weights import BUNDLED, fingerprint
from petrieve.store.folder import Made
from petrieve.store.near import keep, kept

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


def keep_weights(tensors: "dict[str, Tensor]", made: Made) -> None:
    """Leave a copy of a trunk's tensors, unless there is one; if it cannot be written, look-ups go on to use torch."""
    from safetensors.torch import save

    if KINDS[made.kind].family in NUMPY and not (file := _file(made)).exists():
        keep(file, save({name: tensor.contiguous() for name, tensor in tensors.items()}))


@lru_cache(maxsize=2)
def array_net(made: Made) -> ArrayNet | None:
    """The trunk that made a store's embeddings, on NumPy alone; None if no sound copy of its weights is at hand."""
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load

    file, kind = _file(made), KINDS.get(made.kind)
    if kind and kind.family not in NUMPY:
        return None
    try:
        tensors = {name: array.astype(np.float32, copy=False) for name, array in load(file.read_bytes()).items()}
    except (OSError, SafetensorError, KeyError):
        tensors = {}
    if kind is None or fingerprint(tensors, kind.recipe) != made.fingerprint:
        if file != BUNDLED:
            with suppress(OSError):
                file.unlink()
        return None
    return ArrayNet(kind, {name.removeprefix("features."): array for name, array in tensors.items()})


def _file(made: Made) -> "Path":
    """Where a trunk's tensors are read without torch."""
    return BUNDLED if made.weights == "bundled" else kept(f"{made.fingerprint}.safetensors")
