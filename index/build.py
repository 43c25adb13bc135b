"""A cache → a FAISS index, built when first needed and again when the cache has changed."""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extractor.cache import Cache
from extractor.rows import DIMENSION
from extractor.store import write_file

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Card:
    """What an index was made from; `digest` is that of the index file it belongs to."""

    kind: str
    photos: int
    fingerprint: str
    version: str
    digest: str


@dataclass(frozen=True, eq=False)
class Index:
    """Unit-length embeddings by their rows' ids in the cache; searched by inner product, which is then the cosine."""

    faiss: Any  # IndexIDMap2 of IndexFlatIP
    cache: Cache
    card: Card


def load(cache: Cache) -> Index:
    """The index in the cache's store, built anew where it is missing, damaged or of another state of the cache."""
    card = read_card(cache)
    if card is None or not fits(card, cache):
        return build(cache)
    found = _read(cache.store.index, card)
    return Index(found, cache, card) if found else build(cache)


def build(cache: Cache) -> Index:
    """An exact index of all embeddings in the cache, kept in its store."""
    import faiss

    made = faiss.IndexIDMap2(faiss.IndexFlatIP(DIMENSION))
    for photos, embeddings in cache.embeddings():
        made.add_with_ids(unit_length(embeddings), photos["_rowid"].cast("int64").to_numpy())
    data = faiss.serialize_index(made).tobytes()
    card = Card("flat", made.ntotal, cache.fingerprint, cache.version, _digest(data))
    # Where the store cannot be written to, the index serves this once. The card goes last: it always speaks of an
    # index that is there, or its digest does not match.
    with suppress(OSError):
        write_file(cache.store.index, data)
        write_file(_card_file(cache), json.dumps(asdict(card), indent=1).encode())
    return Index(made, cache, card)


def read_card(cache: Cache) -> Card | None:
    """The card of the index in the cache's store; None where there is none that can be read."""
    try:
        return Card(**json.loads(_card_file(cache).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def describe(cache: Cache) -> dict[str, Any] | None:
    """Kind and size of the index in the cache's store and whether it `fits`; None where there is no index."""
    card = read_card(cache)
    return {"kind": card.kind, "photos": card.photos, "fits": fits(card, cache)} if card else None


def fits(card: Card, cache: Cache) -> bool:
    """Whether the index is of the cache as it is now."""
    return (card.fingerprint, card.version) == (cache.fingerprint, cache.version)


def unit_length(embeddings: "np.ndarray") -> "np.ndarray":
    """Embeddings (N, 1024) scaled to length 1, float32."""
    import numpy as np

    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.ascontiguousarray(embeddings / np.maximum(lengths, 1e-12), dtype=np.float32)


def _read(file: Path, card: Card) -> Any:
    """The index in the file, if that is the one that the card was written for."""
    import faiss
    import numpy as np

    try:
        data = file.read_bytes()
    except OSError:
        return None
    return faiss.deserialize_index(np.frombuffer(data, np.uint8)) if _digest(data) == card.digest else None


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _card_file(cache: Cache) -> Path:
    return cache.store.index.with_suffix(".json")
