"""A store's folder: where in it what lies, and the card that says what all of it depends on.

STORE/store.json                              the card
STORE/photos.lance                            which photos there are, and what is known of each
STORE/forgotten.lance                         what a CSV said of photos that were forgotten
STORE/archives.json                           what files that photos are in held when they were listed
STORE/densenet121-0123abcd/vectors.lance      what a trunk makes of their contents; beside it head, index, map, ranges
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from petrieve.store.errors import PetrieveError
from petrieve.store.files import write_file
from petrieve.store.key import Key, Where, where

FORMAT = 4  # of everything in a store; raised when an older release could misread it
OLD_FORMATS = (1, 2, 3)  # one table of photos with their embeddings; `embed` brings them up to date
NONE_YET = "run `petrieve embed FOLDER` first, or name the store with `--store`"
UPDATE = "run `petrieve embed FOLDER`: it brings the store up to date, and embeds nothing anew"
_NAME = re.compile(r"[a-z0-9]+")  # a kind's name becomes a folder's


@dataclass(frozen=True)
class Made:
    """What a trunk has made: a store may hold that of several, each in a folder of its own."""

    kind: str  # `densenet121`
    fingerprint: str  # of weights and views
    weights: str  # `imagenet`, `bundled` or a file
    views: int = 0  # augmented ones of each photo
    recipe: str = ""  # theirs

    @property
    def name(self) -> str:
        """The kind and the first digits of the fingerprint: two trunks of a kind are told apart by their weights."""
        return f"{self.kind}-{self.fingerprint[:8]}"


@dataclass(frozen=True)
class Card:
    """What a store's card says."""

    format: int
    trunks: tuple[Made, ...]  # the first is what commands take unless told otherwise
    manifests: Mapping[str, str] = field(default_factory=dict)  # digests of the tables' newest, by their paths

    def trunk(self, name: str | None, store: Where) -> Made:
        """The trunk that is called so by its kind or its whole name, or the first.

        Raises:
            PetrieveError: the store has none of that name.
        """
        found = [made for made in self.trunks if name in (None, made.kind, made.name)]
        if not found:
            there = ", ".join(made.name for made in self.trunks)
            raise PetrieveError(
                f"the store {store} holds nothing of a trunk {name!r}, only of {there}",
                f"name one of those, or run `petrieve embed FOLDER --trunk {name}` first",
            )
        return found[0]

    def with_trunk(self, made: Made) -> "Card":
        """The card with what it says of a trunk replaced or added."""
        names = [one.name for one in self.trunks]
        others = tuple(made if one.name == made.name else one for one in self.trunks)
        return Card(self.format, others if made.name in names else (*others, made), self.manifests)


@dataclass(frozen=True)
class Folder:
    """A trunk's folder in a store. Nothing is made or opened by naming one."""

    path: Where

    @property
    def vectors(self) -> Where:
        """The table of embeddings."""
        return self.path / "vectors.lance"

    @property
    def head(self) -> Where:
        """The head."""
        return self.path / "head.safetensors"

    @property
    def index(self) -> Where:
        """The index, where there are too many photos to compare each."""
        return self.path / "index.safetensors"

    @property
    def map(self) -> Where:
        """The embeddings as points in the plane, where they were laid out."""
        return self.path / "map.safetensors"

    @property
    def ranges(self) -> Where:
        """What the trunk's maps reach, for int8."""
        return self.path / "int8.safetensors"


@dataclass(frozen=True)
class Store:
    """A store's folder, on a disk or in a bucket. Nothing is made or opened by naming one."""

    path: Where

    @classmethod
    def at(cls, place: str | os.PathLike[str] | Key) -> "Store":
        """The store at a path or an address.

        Raises:
            PetrieveError: no store can be there.
        """
        return cls(where(place))

    @property
    def place(self) -> str:
        """What other processes call it: its address, or its path from the root."""
        return str(self.path) if isinstance(self.path, Key) else os.path.abspath(self.path)

    @property
    def photos(self) -> Where:
        """The table of photos."""
        return self.path / "photos.lance"

    @property
    def forgotten(self) -> Where:
        """The table of what was said of photos that were forgotten; not there where nothing was."""
        return self.path / "forgotten.lance"

    @property
    def card(self) -> Where:
        """What the whole store depends on."""
        return self.path / "store.json"

    @property
    def listings(self) -> Where:
        """What files that photos are in held when they were listed."""
        return self.path / "archives.json"

    @property
    def lock(self) -> Where:
        """What a run that writes holds; it names the last one that did."""
        return self.path / ".lock"

    def folder(self, made: Made) -> Folder:
        """Where what a trunk has made lies."""
        return Folder(self.path / made.name)

    def tables(self, trunks: Sequence[Made]) -> list[Where]:
        """The tables of photos and those of these trunks' embeddings."""
        return [self.photos, self.forgotten, *(self.folder(made).vectors for made in trunks)]


def read_card(store: Store) -> Card | None:
    """The store's card, of this format or an old one; None where there is no store yet.

    Raises:
        PetrieveError: the card is damaged, or in no folder; the store has a format of a later release, or tables cannot
            lie there.
    """
    _check_name(store)
    try:
        said = dict(json.loads(store.card.read_bytes()))
        format_ = int(said["format"])
        if format_ == FORMAT or format_ in OLD_FORMATS:
            return _card(said, format_)
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise PetrieveError(f"{store.path} is a file, and no store", "name the store's folder") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PetrieveError(
            f"{store.card} is damaged", "bring it back from a copy, or run `petrieve embed` with a new `--store`"
        ) from error
    mend = "update Petrieve" if format_ > FORMAT else "embed the photos anew"
    raise PetrieveError(
        f"store {store.path} has format {format_}, this release reads {OLD_FORMATS[0]} to {FORMAT}",
        f"{mend}, or name another `--store`",
    )


def _check_name(store: Store) -> None:
    """Lance opens no table below a folder whose name has a line break or the like, or bytes that are not text."""
    if isinstance(store.path, Key):  # where such characters are refused already
        return
    odd = [c for c in os.path.abspath(store.path) if c < " " or c == "\x7f" or "\udc80" <= c <= "\udcff"]
    if odd:
        raise PetrieveError(
            f"a store cannot lie in {store.path}: the path holds {odd[0]!r}, which its tables cannot be opened with",
            "name a `--store` whose path has no such character",
        )


def _card(said: dict[str, Any], format_: int) -> Card:
    if said.pop("digest", None) not in (None, _digest(said)):  # those of early releases have none
        raise ValueError("it says something else than was written")
    trunks = said["trunks"] if format_ == FORMAT else [{"kind": "densenet121", **said}]
    return Card(format_, tuple(map(_made, trunks)), {str(k): str(v) for k, v in said.get("manifests", {}).items()})


def _made(said: Mapping[str, Any]) -> Made:
    made = Made(
        kind=str(said["kind"]),
        fingerprint=str(said["fingerprint"]),
        weights=str(said["weights"]),
        views=int(said.get("views", 0)),
        recipe=str(said.get("recipe", "")),
    )
    if not _NAME.fullmatch(made.kind) or "/" in made.name:
        raise ValueError(f"{made.name!r} is not a name")
    return made


def write_card(store: Store, trunks: Sequence[Made], manifests: Mapping[str, str]) -> None:
    """Say what the store's embeddings come from; with its card a store is complete."""
    said = {"format": FORMAT, "trunks": [asdict(made) for made in trunks], "manifests": dict(manifests)}
    write_file(store.card, json.dumps({**said, "digest": _digest(said)}, indent=1).encode())


def _digest(card: dict[str, Any]) -> str:
    """Changes with everything that a card says."""
    return hashlib.blake2b(json.dumps(card).encode(), digest_size=8).hexdigest()
