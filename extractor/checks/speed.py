"""What a trunk costs: seconds and bytes per photo."""

import time
from itertools import chain

from petrieve.extractor.engines.local import pool
from petrieve.extractor.pixels.view import CROP
from petrieve.extractor.trunks.choice import Compute, asking_trunk
from petrieve.store.cache import Cache
from petrieve.store.files import size_bytes

ROUNDS = 2  # batches that each worker is timed with


def seconds_a_photo(cache: Cache, compute: Compute) -> float:
    """Seconds that a cache's trunk takes per view, with all workers busy.

    Raises:
        PetrieveError: the weights or the device cannot be used.
    """
    import torch

    trunk = asking_trunk(cache, compute)
    chance = torch.Generator().manual_seed(0)
    views = torch.randint(0, 256, (trunk.batch, 3, CROP, CROP), dtype=torch.uint8, generator=chance)
    with pool(trunk.workers, "embed") as embedders:
        list(embedders.map(trunk, [views] * trunk.workers))  # the first call sets things up
        started = time.perf_counter()
        made = list(chain.from_iterable(embedders.map(trunk, [views] * trunk.workers * ROUNDS)))
        return (time.perf_counter() - started) / len(made)


def bytes_a_photo(cache: Cache) -> float:
    """Bytes on disk of a photo's embeddings."""
    return size_bytes(cache.folder.vectors) / max(1, cache.contents)
