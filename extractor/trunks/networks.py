"""What computes the embeddings of each family of trunks, and what its tensors are."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from petrieve.extractor.trunks.kinds import Kind

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def shapes(kind: Kind) -> dict[str, tuple[int, ...]]:
    """Every tensor of a trunk by torchvision's name, without `num_batches_tracked`."""
    from petrieve.extractor.trunks import densenet

    return {f"features.{name}": shape for name, shape in densenet.shapes(kind).items()}


def network(
    kind: Kind, tensors: "Mapping[str, Tensor]", device: "torch.device", dtype: "torch.dtype"
) -> "Callable[[Tensor], Tensor]":
    """The trunk of this kind, which has these tensors (as in `shapes`, on the CPU): views → embeddings, on its device.

    Views are uint8 (N, 3, 224, 224), embeddings float32 (N, D): the averages of what its `maps` gives, (N, D, 7, 7).
    """
    from petrieve.extractor.trunks import densenet
    from petrieve.extractor.trunks.weights import plain

    return densenet.DenseNet(kind, plain(tensors), device=device, dtype=dtype)
