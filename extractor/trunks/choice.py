"""Which trunk a run uses: the one that made a store's embeddings, or the first of a new store."""

from dataclasses import dataclass

from petrieve.extractor.trunks import kinds
from petrieve.extractor.trunks.ranges import quantised
from petrieve.extractor.trunks.trunk import Trunk, load_trunk
from petrieve.extractor.trunks.weights import at_hand, resolve
from petrieve.store.cache import Cache
from petrieve.store.errors import warn
from petrieve.store.folder import Made

BUNDLED = "bundled"


@dataclass(frozen=True)
class Compute:
    """How to compute embeddings: as asked for, or else as fits the store and the machine."""

    weights: str | None = None  # `imagenet`, `bundled` or a file
    device: str = "auto"
    precision: str = "auto"

    @property
    def plain(self) -> str:
        """The precision in which the network is loaded: int8's is made from float32."""
        return "float32" if self.precision == "int8" else self.precision


def fitting_trunk(cache: Cache, compute: Compute) -> Trunk:
    """The trunk that made a cache's embeddings; for int8 the float32 one, to be quantised.

    Raises:
        PetrieveError: it cannot be had, or is another than the cache's.
    """
    trunk = load_trunk(compute.weights or cache.weights, compute.device, compute.plain, cache.made.kind)
    cache.check(trunk.fingerprint, trunk.weights)
    return trunk


def asking_trunk(cache: Cache, compute: Compute) -> Trunk:
    """The trunk that made a cache's embeddings, for photos that stay outside it; int8's ranges are the store's.

    Raises:
        PetrieveError: it cannot be had, is another than the cache's, or the store has no ranges.
    """
    trunk = fitting_trunk(cache, compute)
    return quantised(trunk, cache.folder.ranges) if compute.precision == "int8" else trunk


def new_trunk(name: str | None, compute: Compute) -> Trunk:
    """The trunk of a kind, by default the first, with the weights that are at hand unless some are named.

    Raises:
        PetrieveError: there is no such kind, or its weights cannot be had.
    """
    kind = kinds.kind((name or kinds.FIRST.name).partition("-")[0])
    chosen = compute.weights or at_hand(kind)
    if compute.weights is None and chosen == BUNDLED:
        warn(
            "ImageNet's weights are not on this disk and cannot be had within seconds: the bundled trunk is used, "
            "which knows cats and dogs"
        )
    return load_trunk(chosen, compute.device, compute.plain, kind.name)


def made_by(trunk: Trunk) -> Made:
    """A store's record of a trunk."""
    return Made(trunk.kind, trunk.fingerprint, trunk.weights)


def asks(cache: Cache, compute: Compute) -> bool:
    """Whether weights, device or precision are given, which are checked even if there is nothing to embed."""
    other = compute.weights is not None and resolve(compute.weights) != cache.weights
    return other or (compute.device, compute.precision) != ("auto", "auto")
