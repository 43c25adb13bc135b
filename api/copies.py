"""The result of `duplicates`."""

import os
from dataclasses import dataclass, field

from petrieve.api.results import Picture, Row, Shown, columns_of, located
from petrieve.gallery import answers, cards
from petrieve.index.duplicates import find
from petrieve.index.duplicates.groups import Copy


@dataclass(frozen=True, repr=False)
class Duplicates(Shown, find.Duplicates):
    """Groups of near-copies, of each the best first; a notebook shows them."""

    picture: Picture | None = field(compare=False)
    say = staticmethod(answers.duplicates)

    def document(self) -> Row:
        """What the command prints with `--json`."""
        return answers.duplicated(super().document())

    def _table(self) -> list[Row]:
        numbered = enumerate(self.groups, 1)
        return [{"group": n, "kind": group.kind, **located(one)} for n, group in numbered for one in group.photos]

    def _columns(self) -> list[str]:
        return ["group", "kind", *columns_of(Copy)]

    def _repr_html_(self) -> str:
        tiles = [(one.photo, group.kind, os.path.basename(one.photo)) for group in self.groups for one in group.photos]
        first = {group.photos[0].photo for group in self.groups}
        return cards.cards(tiles, self.picture, framed=first)
