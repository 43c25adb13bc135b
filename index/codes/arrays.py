"""A file of arrays with a card, in safetensors: what an index and a map are kept in.

It is written whole, and read only where every bit is as it was written. Its digest tells damage, not forgery: whoever
reads one checks its numbers too.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError, first_line
from petrieve.store.key import Where
from petrieve.store.near import local

if TYPE_CHECKING:
    import numpy as np

Card = TypeVar("Card")


class Damaged(PetrieveError):
    """The file cannot be read, and making it anew mends that."""


@dataclass(frozen=True)
class FileKind:
    """What messages say of a file: "the index … was built …", "run `petrieve build-index`"."""

    name: str
    made: str
    remedy: str


@contextmanager
def reading(file: Where, kind: FileKind) -> Iterator[str]:
    """Where the file is on this machine. What is raised while it is read and checked is said as trouble with it.

    Raises:
        FileNotFoundError: it is not there.
        Damaged: it cannot be read.
        PetrieveError: nobody here may read it.
    """
    from safetensors import SafetensorError

    here = str(local(file))
    try:
        yield here
    except FileNotFoundError:
        raise
    except OSError as error:
        what = f"cannot read the {kind.name} {file}: {first_line(error)}"
        raise PetrieveError(what, "make it readable, or remove it") from error
    except (SafetensorError, KeyError, ValueError, TypeError, IndexError, PetrieveError) as error:
        raise Damaged(f"the {kind.name} {file} is damaged, or of another release", kind.remedy) from error


def read_arrays(here: str, card: type[Card]) -> "tuple[Card, dict[str, np.ndarray]]":
    """Card and arrays of a file, which is closed again: its pages in memory are free for what is made of them.

    Raises:
        ValueError, KeyError, TypeError: they are not those that were written.
    """
    from safetensors import safe_open

    with safe_open(here, "numpy") as opened:
        metadata = opened.metadata() or {}
        arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    if metadata["digest"] != digest_of(metadata["card"], arrays):
        raise ValueError("the digest is another's")
    return card_of(metadata, card), arrays


def card_of(metadata: dict[str, Any], card: type[Card]) -> Card:
    """The card in a file's metadata.

    Raises:
        ValueError, KeyError, TypeError: it has other fields.
    """
    made = card(**json.loads(metadata["card"]))
    for name, type_ in card.__annotations__.items():
        if not isinstance(getattr(made, name), type_):
            raise TypeError(f"{name} is not a {type_}")
    return made


def check_weights(fingerprint: str, cache: Cache, kind: FileKind) -> None:
    """Refuse what was made of another trunk's embeddings.

    Raises:
        PetrieveError: the fingerprint is not the cache's.
    """
    if fingerprint != cache.fingerprint:
        raise PetrieveError(
            f"the {kind.name} was {kind.made} from embeddings of other weights ({fingerprint[:8]}) "
            f"than the store's ({cache.fingerprint[:8]})",
            kind.remedy,
        )


def digest_of(card: str, arrays: "dict[str, np.ndarray]") -> str:
    """Changes with every bit of a card and its arrays."""
    digest = hashlib.blake2b(card.encode(), digest_size=16)
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}\n".encode())
        digest.update(arrays[name].data)
    return digest.hexdigest()


def differences(
    kept: "np.ndarray", kept_marks: "np.ndarray", ids: "np.ndarray", marks: "np.ndarray"
) -> "tuple[np.ndarray, np.ndarray]":
    """Ids in the cache that the file lacks, and ids in the file that the cache lacks: or holds with other content."""
    import numpy as np

    if not len(ids):
        return ids, kept
    places = np.minimum(np.searchsorted(ids, kept), len(ids) - 1)
    same = (ids[places] == kept) & (marks[places] == kept_marks)
    lacking = np.ones(len(ids), bool)
    lacking[places[same]] = False
    return ids[lacking], kept[~same]
