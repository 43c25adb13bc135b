"""The store that `petrieve.open` gives, with all that a command can do one call away."""

import os

from petrieve.api.alike import Alike
from petrieve.api.embedding import Embedding
from petrieve.api.heads import Heads
from petrieve.api.photos import Place, path
from petrieve.api.results import Sample
from petrieve.api.tables import Tables
from petrieve.gallery.advice import DEFAULT_STORE
from petrieve.store.errors import PetrieveError

OXFORD = "oxford-iiit-pet"


class Store(Embedding, Heads, Alike, Tables):
    """Embeddings of photos, the head that was fitted on them, and the index over them, in one place."""


def open(path: str | os.PathLike[str] = DEFAULT_STORE, *, trunk: str | None = None) -> Store:
    """The store at a path or an address, which `embed` makes where there is none; with the first of its trunks, or one.

    >>> store = petrieve.open("pets.petrieve")
    """
    return Store(path, trunk)


def sample(folder: Place, *, photos: int = 120, seed: int = 0, origin: str | None = None) -> Sample:
    """Where labelled pictures of cats and dogs were drawn, or real ones put, `oxford-iiit-pet`, to try things with.

    Raises:
        PetrieveError: there is no such origin, or the folder cannot be written to.
    """
    from petrieve.extractor.sources.sample import draw_sample, fetch_oxford_pets

    if origin not in (None, OXFORD):
        raise PetrieveError(f"no photos can be had from {origin!r}", f'use `origin="{OXFORD}"`')
    made = fetch_oxford_pets(path(folder)) if origin else draw_sample(path(folder), photos=photos, seed=seed)
    return Sample(str(folder), made)
