"""The store: the folder that holds the cache and the head; and how its files are written."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store.errors import PetrieveError
from store.files import write_file

FORMAT = 2  # of everything in a store; raised when an older release could misread it
WITH_VIEWS = 3  # the same with augmented views, which an older release would take for photos
OLD_FORMAT = 1  # without checksums; `embed` brings it up to date
FORMATS = (OLD_FORMAT, FORMAT, WITH_VIEWS)


@dataclass(frozen=True)
class Store:
    """A store's folder. Nothing is made or opened by naming one."""

    path: Path

    @property
    def embeddings(self) -> Path:
        """The table of embeddings."""
        return self.path / "embeddings.lance"

    @property
    def unreadable(self) -> Path:
        """The table of photos that could not be embedded."""
        return self.path / "unreadable.lance"

    @property
    def index(self) -> Path:
        """The index, where there are too many photos to compare each."""
        return self.path / "index.safetensors"

    @property
    def head(self) -> Path:
        """The head."""
        return self.path / "head.safetensors"

    @property
    def ranges(self) -> Path:
        """What the trunk's maps reach, for int8."""
        return self.path / "int8.safetensors"

    @property
    def card(self) -> Path:
        """What the whole store depends on: format, fingerprint, weights, augmented views."""
        return self.path / "store.json"

    @property
    def lock(self) -> Path:
        """What a run that writes holds; it names the last one that did."""
        return self.path / ".lock"


def read_card(store: Store) -> dict[str, Any] | None:
    """The store's card: `format`, `fingerprint`, `weights`, `manifests`, `views` (augmented ones a photo), `recipe`.

    None where there is no store yet.

    Raises:
        PetrieveError: the card is damaged, or the store has another format.
    """
    try:
        card = dict(json.loads(store.card.read_bytes()))
        format_ = int(card["format"])
        if format_ in FORMATS:
            _check(card)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise PetrieveError(
            f"{store.card} is damaged", f"remove the store {store.path} and run `cli.py embed` again"
        ) from error
    if format_ not in FORMATS:
        mend = "update Petrieve" if format_ > FORMAT else "embed the photos anew"
        raise PetrieveError(
            f"store {store.path} has format {format_}, this release reads {FORMAT} and {WITH_VIEWS}",
            f"{mend}, or name another `--store`",
        )
    return card


def _check(card: dict[str, Any]) -> None:
    if card.pop("digest", None) not in (None, _digest(card)):  # those of earlier releases have none
        raise ValueError("it says something else than was written")
    card["fingerprint"], card["weights"] = str(card["fingerprint"]), str(card["weights"])
    card["manifests"] = dict(card.get("manifests", {}))
    card["views"], card["recipe"] = int(card.get("views", 0)), str(card.get("recipe", ""))


def write_card(
    store: Store,
    *,
    fingerprint: str,
    weights: str,
    manifests: dict[str, str] | None = None,
    views: int = 0,
    recipe: str = "",
) -> None:
    """Say what the store's embeddings come from; with its card a store is complete.

    `manifests` are digests of the files that name the pieces of its tables, by their paths in the store.
    """
    card: dict[str, Any] = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "weights": weights,
        "manifests": manifests or {},
    }
    if views:
        card |= {"format": WITH_VIEWS, "views": views, "recipe": recipe}
    write_file(store.card, json.dumps({**card, "digest": _digest(card)}, indent=1).encode())


def _digest(card: dict[str, Any]) -> str:
    """Changes with everything that a card says."""
    return hashlib.blake2b(json.dumps(card).encode(), digest_size=8).hexdigest()
