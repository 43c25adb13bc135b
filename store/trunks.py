"""The trunks of a store: what they are called, and how one is let go."""

import os
from collections.abc import Sequence

from petrieve.store.errors import PetrieveError
from petrieve.store.files import remove_folder
from petrieve.store.folder import NONE_YET, Store, read_card, write_card
from petrieve.store.key import Key
from petrieve.store.tables import manifests, writable


def trunks_of(path: str | os.PathLike[str] | Key, names: Sequence[str] | None = None) -> list[str]:
    """The names of the trunks of a store, or of those that are named by their kinds or names.

    Raises:
        PetrieveError: there is no store, or one of these names stands for no trunk of it, or for two.
    """
    store = Store.at(path)
    card = read_card(store)
    if card is None:
        raise PetrieveError(f"there are no embeddings in {store.path}", NONE_YET)
    if not names:
        return [made.name for made in card.trunks]
    for name in names:
        of_kind = [made.name for made in card.trunks if made.kind == name]
        if len(of_kind) > 1:
            raise PetrieveError(f"{name} stands for {len(of_kind)} trunks", f"name one: {', '.join(of_kind)}")
    return [card.trunk(name, store.path).name for name in names]


def drop(store: Store, name: str) -> None:
    """Let a trunk go: what it has made, its head and its index; the photos and the other trunks stay.

    Raises:
        PetrieveError: there is none of that name or kind, it is the only one, or the store cannot be written to.
    """
    (name,) = trunks_of(store.path, [name])
    card = read_card(store)
    assert card
    made, others = card.trunk(name, store.path), [one for one in card.trunks if one.name != name]
    if not others:
        raise PetrieveError(
            f"{name} is the only trunk of the store {store.path}",
            "embed with another `--trunk` first, or remove the store",
        )
    with writable(store):
        write_card(store, others, manifests(store, store.tables(others)))
        remove_folder(store.folder(made).path)
