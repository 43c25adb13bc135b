"""The result of `duplicates`."""

import os
from dataclasses import dataclass, field

from petrieve.api.results import Many, Picture, Row, columns_of, located
from petrieve.gallery import answers, cards
from petrieve.index.duplicates import find
from petrieve.index.duplicates.groups import Copy, Group


@dataclass(frozen=True, repr=False)
class Duplicates(Many[Group], find.Duplicates):
    """Groups of near-copies, as a sequence; a notebook shows them.

    Each group has its `kind` (`same bytes`, `same picture` or `same scene`), the path of its `best` photo, and its
    `photos`, the best first, each with `path`, `label`, `width`, `height` and `size` in bytes.

    - `photos`: how many were looked for copies of: those that are not gone
    - `compared`: pairs that were looked at
    - `links`: further names of files that are there under one name already, in no group
    - `changed`: photos that are gone or have changed since they were embedded, in no group
    - `others`: which pairs the thresholds were tried on that are not copies
    - `groups`: the groups as a list
    - `fitted`: of each kind the `threshold`, the share `found` of each kind of copies made of your photos, how many
      `others` it was tried on, and how many of them it has `taken` for copies
    """

    picture: Picture | None = field(compare=False)
    say = staticmethod(answers.duplicates)

    @property
    def rows(self) -> tuple[Group, ...]:  # type: ignore[override]
        """The groups."""
        return tuple(self.groups)

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
