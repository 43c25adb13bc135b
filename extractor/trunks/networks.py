"""What computes the embeddings of each family of trunks, and what its tensors are."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from petrieve.extractor.trunks.kinds import Kind

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Family(Protocol):
    """What the module of each family has."""

    def shapes(self, kind: Kind) -> dict[str, tuple[int, ...]]:
        """Every tensor of a trunk by torchvision's name, without `num_batches_tracked` and the head."""

    def network(
        self, kind: Kind, tensors: "Mapping[str, Tensor]", device: "torch.device", dtype: "torch.dtype"
    ) -> "Callable[[Tensor], Tensor]":
        """The trunk that has these tensors (as in `shapes`, on the CPU): views → embeddings, on its device.

        Views are uint8 (N, 3, 224, 224), embeddings float32 (N, D): averages of what its `maps` gives, (N, D, 7, 7).
        """


def family(kind: Kind) -> Family:
    """The module that computes with a kind."""
    from petrieve.extractor.trunks import densenet

    families: dict[str, Family] = {"densenet": densenet}
    return families[kind.family]
