"""The trunks that there are: each a kind with a dimension, a recipe of its views and the shapes of its weights.

G. Huang, Z. Liu, L. van der Maaten, K. Q. Weinberger: "Densely Connected Convolutional Networks", CVPR 2017, table 1;
for 161 torchvision's, whose layers add half as many channels again.
"""

from dataclasses import dataclass

from petrieve.extractor.pixels.view import RECIPE
from petrieve.store.errors import PetrieveError

WEIGHTS = "https://download.pytorch.org/models"
MEAN = (0.485, 0.456, 0.406)  # of ImageNet's training photos, as torchvision gives them
STD = (0.229, 0.224, 0.225)


FAMILIES = {"densenet": "DenseNet"}  # as people write them; `networks` has what computes with each
NUMPY = INT8 = ONNX = frozenset({"densenet"})  # families that have these ways beside torch's own


@dataclass(frozen=True)
class Kind:
    """A trunk, by its family and the numbers in which its members differ."""

    name: str
    layers: tuple[int, ...]  # of each dense block
    growth: int  # channels that each layer adds
    stem: int  # channels before the first block
    imagenet: str  # the file of torchvision's IMAGENET1K_V1; its name ends in how the SHA-256 begins
    family: str = "densenet"
    starts: tuple[str, ...] = ("features.",)  # prefixes of the trunk's tensors in that file; the others are a head's
    recipe: str = RECIPE  # of view 0
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD

    @property
    def bottleneck(self) -> int:
        """Channels between a layer's two convolutions."""
        return 4 * self.growth

    @property
    def dimension(self) -> int:
        """Numbers of an embedding: the channels behind the last block; a transition halves them."""
        channels = 2 * self.stem
        for layers in self.layers:
            channels = channels // 2 + self.growth * layers
        return channels

    @property
    def title(self) -> str:
        """As people write it."""
        return f"{FAMILIES[self.family]}-{self.name.removeprefix(self.family)}"

    @property
    def url(self) -> str:
        """Where its ImageNet weights are."""
        return f"{WEIGHTS}/{self.imagenet}"


KINDS = {
    one.name: one
    for one in (
        Kind("densenet121", (6, 12, 24, 16), 32, 64, "densenet121-a639ec97.pth"),
        Kind("densenet161", (6, 12, 36, 24), 48, 96, "densenet161-8d451a50.pth"),
        Kind("densenet169", (6, 12, 32, 32), 32, 64, "densenet169-b2777c0a.pth"),
        Kind("densenet201", (6, 12, 48, 32), 32, 64, "densenet201-c1103571.pth"),
    )
}
FIRST = next(iter(KINDS.values()))  # of a new store, unless another is asked for


def kind(name: str) -> Kind:
    """The trunk of this name.

    Raises:
        PetrieveError: there is none.
    """
    if name not in KINDS:
        raise PetrieveError(f"there is no trunk {name!r}", f"use one of {', '.join(KINDS)}")
    return KINDS[name]
