"""The photos of a store that a condition in SQL chooses, and the contents that they have."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from petrieve.store.chosen import Bits, Chosen
from petrieve.store.contents import SCAN, Contents
from petrieve.store.filters import filtered, is_lasting
from petrieve.store.rows import row_ids
from petrieve.store.tables import readable

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# Columns beside label, split and the user's own that a filter can be made of.
OTHERS = ("uri", "root", "size", "modified", "width", "height", "caveat", "gone")
REMEMBERED = 16  # conditions; of ten million photos 2.5 MB each


class Choosing(Contents):
    """A store's photos and one trunk's embeddings of them, of which a condition in SQL chooses some."""

    def where(self, condition: str, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        """Batches of photos with these columns for which a condition in SQL on their columns holds.

        Raises:
            PetrieveError: it is not a condition, or names a column that is not there.
        """
        wanted = [*columns, *({"digest"} - set(columns))]
        with readable(self.store):
            for batch in filtered(self._photos, condition, wanted, known=self._words, batch=SCAN):
                yield batch.filter(batch["digest"].is_valid())

    def chosen(self, condition: str) -> Chosen:
        """The photos for which a condition in SQL on their columns holds: looked for once, then remembered.

        Raises:
            PetrieveError: it is not a condition, or names a column that is not there.
        """
        import numpy as np

        found = self._conditions.pop(condition, None)
        if found is None:
            with readable(self.store):
                batches = filtered(self._photos, condition, [], known=self._words, batch=SCAN)
                found = self.chosen_of(np.concatenate([np.zeros(0, np.int64), *map(row_ids, batches)]))
        if is_lasting(condition):
            self._conditions[condition] = found
            for old in list(self._conditions)[:-REMEMBERED]:
                self._conditions.pop(old, None)
        return found

    def chosen_of(self, rows: "np.ndarray") -> Chosen:
        """Those of the photos with these row ids (n,) that are embedded, and their contents."""
        import numpy as np

        photos, contents = self._of_photos, self._of_contents
        chosen = np.isin(photos.ids, rows)
        held = np.zeros(len(contents.marks) + 1, bool)
        held[self._content_places[chosen]] = True
        held = held[:-1]
        if (contents.marks[1:] == contents.marks[:-1]).any():  # each of those that share a mark
            held = np.isin(contents.marks, contents.marks[held])
        return Chosen(Bits.of(photos.ids[chosen]), Bits.of(contents.ids[held]))

    @property
    def _words(self) -> list[str]:
        """The columns that a condition can be made of."""
        return [*self.columns(), *(name for name in OTHERS if name in self._photos.schema.names)]

    @cached_property
    def _conditions(self) -> dict[str, Chosen]:
        """The last conditions that were asked with, the latest at the end."""
        return {}

    @cached_property
    def _content_places(self) -> "np.ndarray":
        """Of each photo in `_of_photos` the place of its content in `_of_contents`; behind the last, where it has none.

        Of contents that share a mark, the place of the first.
        """
        import numpy as np

        photos, contents = self._of_photos.marks, self._of_contents.marks
        places = np.searchsorted(contents, photos).astype(np.int32)
        found = contents[np.minimum(places, len(contents) - 1)] == photos if len(contents) else False
        return np.where(found, places, np.int32(len(contents)))

    def _changed(self) -> None:
        super()._changed()
        for name in ("_conditions", "_content_places"):
            self.__dict__.pop(name, None)
