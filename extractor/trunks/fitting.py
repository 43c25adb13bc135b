"""The trunk that made what a store holds."""

from collections.abc import Sequence

from extractor.trunks.ranges import quantised
from extractor.trunks.trunk import Trunk, load_trunk
from extractor.trunks.weights import resolve
from store.cache import Cache
from store.folder import Store
from store.photo import Photo


def fitting_trunk(
    cache: Cache | None, store: Store, weights: str, device: str, precision: str, photos: Sequence[Photo] = ()
) -> Trunk:
    """The trunk, which made what `cache` holds; for int8 with the store's ranges, measured on `photos` if it has none.

    Raises:
        PetrieveError: it cannot be had, is another than the cache's, or lacks ranges.
    """
    trunk = load_trunk(weights, device, "float32" if precision == "int8" else precision)
    if cache is not None:
        cache.check(trunk.fingerprint, trunk.weights)
    return quantised(trunk, store, photos) if precision == "int8" else trunk


def asks(cache: Cache, weights: str | None, device: str, precision: str) -> bool:
    """Whether somebody asks for what must be checked even when there is nothing to embed."""
    other = weights is not None and resolve(weights) != cache.weights
    return other or (device, precision) != ("auto", "auto")
