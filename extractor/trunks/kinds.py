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


# Families as people write them; `networks` has what computes with each.
FAMILIES = {"densenet": "DenseNet"}
NUMPY = INT8 = ONNX = frozenset({"densenet"})  # families that have these ways beside torch's own


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A trunk: its family, and the numbers in which the members of a family differ."""

    name: str
    family: str = "densenet"
    dimension: int  # numbers of an embedding
    layers: tuple[int, ...]  # in each block, or stage
    stem: int  # channels before the first block
    growth: int = 0  # of a DenseNet alone: channels that each layer adds
    imagenet: str  # the file of torchvision's IMAGENET1K_V1; its name ends in how the SHA-256 begins
    starts: tuple[str, ...] = ("features.",)  # prefixes of the trunk's tensors in that file; the others are a head's
    head: str = "classifier"  # what torchvision calls the head
    recipe: str = RECIPE  # of view 0
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD

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
        Kind(
            name="densenet121",
            dimension=1024,
            layers=(6, 12, 24, 16),
            stem=64,
            growth=32,
            imagenet="densenet121-a639ec97.pth",
        ),
        Kind(
            name="densenet161",
            dimension=2208,
            layers=(6, 12, 36, 24),
            stem=96,
            growth=48,
            imagenet="densenet161-8d451a50.pth",
        ),
        Kind(
            name="densenet169",
            dimension=1664,
            layers=(6, 12, 32, 32),
            stem=64,
            growth=32,
            imagenet="densenet169-b2777c0a.pth",
        ),
        Kind(
            name="densenet201",
            dimension=1920,
            layers=(6, 12, 48, 32),
            stem=64,
            growth=32,
            imagenet="densenet201-c1103571.pth",
        ),
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
