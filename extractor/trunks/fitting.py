"""The trunk that made what a store holds, and the one that a new store begins with."""

import warnings

from petrieve.extractor.trunks import kinds
from petrieve.extractor.trunks.ranges import quantised
from petrieve.extractor.trunks.trunk import Trunk, load_trunk
from petrieve.extractor.trunks.weights import at_hand, resolve
from petrieve.store.cache import Cache
from petrieve.store.folder import Made

BUNDLED = "bundled"


def fitting_trunk(cache: Cache, weights: str | None, device: str, precision: str) -> Trunk:
    """The trunk that made what `cache` holds; for int8 the float32 one, to be quantised.

    Raises:
        PetrieveError: it cannot be had, or is another than the cache's.
    """
    trunk = load_trunk(weights or cache.weights, device, _plain(precision), cache.made.kind)
    cache.check(trunk.fingerprint, trunk.weights)
    return trunk


def asking_trunk(cache: Cache, weights: str | None, device: str, precision: str) -> Trunk:
    """The trunk that made what `cache` holds, for photos that stay outside it; int8's ranges are those of the store.

    Raises:
        PetrieveError: it cannot be had, is another than the cache's, or the store has no ranges.
    """
    trunk = fitting_trunk(cache, weights, device, precision)
    return quantised(trunk, cache.folder.ranges) if precision == "int8" else trunk


def new_trunk(name: str | None, weights: str | None, device: str, precision: str) -> Trunk:
    """The trunk of a kind, by default the first, with the weights that are at hand unless some are named.

    Raises:
        PetrieveError: there is no such kind, or its weights cannot be had.
    """
    kind = kinds.kind((name or kinds.FIRST.name).partition("-")[0])
    chosen = weights or at_hand(kind)
    if weights is None and chosen == BUNDLED:
        warnings.warn(
            "ImageNet's weights are not on this disk and cannot be had within seconds: the bundled trunk is used, "
            "which knows cats and dogs",
            stacklevel=2,
        )
    return load_trunk(chosen, device, _plain(precision), kind.name)


def made_by(trunk: Trunk) -> Made:
    """What a store says of a trunk's embeddings."""
    return Made(trunk.kind, trunk.fingerprint, trunk.weights)


def asks(cache: Cache, weights: str | None, device: str, precision: str) -> bool:
    """Whether somebody asks for what must be checked even when there is nothing to embed."""
    other = weights is not None and resolve(weights) != cache.weights
    return other or (device, precision) != ("auto", "auto")


def _plain(precision: str) -> str:
    """What a network is loaded in that is to be in this precision: int8's is made from float32."""
    return "float32" if precision == "int8" else precision
