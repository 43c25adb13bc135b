"""Where two photos are alike.

A. Stylianou, R. Souvenir, R. Pless: "Visualizing Deep Similarity Networks", WACV 2019. An embedding is the average of a
map's 49 places, so the inner product of two is a sum over the 49 × 49 pairs of their places, exactly.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from petrieve.extractor.pixels.decode import decode_small
from petrieve.extractor.pixels.view import canonical_view
from petrieve.extractor.trunks.trunk import Trunk

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


def seen(data: bytes) -> "Tensor":
    """What the trunk sees of a photo: its view 0, uint8 (3, 224, 224), or smaller where the photo is.

    Raises:
        Undecodable: it cannot be decoded.
    """
    return canonical_view(decode_small(data, keep_damaged=True).pixels)


def places(trunk: Trunk, views: "Sequence[Tensor]") -> "np.ndarray":
    """What the trunk finds at each place of these views, row by row: float32 (N, 49, D), all 0 or more.

    The average over the places is the view's embedding.
    """
    import torch

    return trunk.maps(torch.stack(list(views))).flatten(2).transpose(1, 2).numpy()


def likeness(one: "np.ndarray", other: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """How much of the cosine of two embeddings comes from each place (7, 7) of the one and of the other.

    Each map adds up to the cosine. `one` and `other` (49, D) are as `places` has them.
    """
    import numpy as np

    means = one.mean(0), other.mean(0)
    scale = max(float(np.linalg.norm(means[0]) * np.linalg.norm(means[1])), np.finfo(np.float32).tiny)
    side = int(len(one) ** 0.5)
    first, second = one @ means[1] / len(one) / scale, other @ means[0] / len(other) / scale
    return first.reshape(side, side), second.reshape(side, side)
