"""Embeddings as tables, and heads and embeddings for use elsewhere, and back."""

from typing import TYPE_CHECKING

from petrieve.api.opened import Opened
from petrieve.api.photos import Place, path
from petrieve.api.results import Exported, Imported, pandas
from petrieve.gallery import words
from petrieve.store.photo import path_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from petrieve.api.dataset import EmbeddingDataset


class Tables(Opened):
    """What leaves a store, and comes into one."""

    def to_arrow(self) -> "pa.Table":
        """A row for each embedded photo: where it is, in `path`, then what an export has; `embedding` is D float32.

        A column `path` of your own stays yours.

        Polars, DuckDB and NumPy take it without copying: it is in one chunk, or where photos are more than 65,536 in
        several. All is in memory: 4 kB a photo of 1,024 numbers.

        Raises:
            PetrieveError: there is no store, or it cannot be read.
        """
        import pyarrow as pa

        from petrieve.extractor.exchange.rows import parts, with_embeddings

        cache = self.cache()
        return pa.concat_tables([_with_path(with_embeddings(cache, *part)) for part in parts(cache)])

    def to_numpy(self) -> "tuple[np.ndarray, np.ndarray]":
        """The paths (n,) of the embedded photos, and their embeddings (n, D) float32 of view 0, as the trunk made them.

        Raises:
            PetrieveError: there is no store, or it cannot be read.
        """
        import numpy as np

        cache, paths = self.cache(), list[str]()
        made = np.empty((len(cache), cache.dimension), np.float32)  # once: joining parts would hold all twice
        for photos, embeddings in cache.embeddings(["root", "uri"]):
            made[len(paths) : len(paths) + len(embeddings)] = embeddings
            paths += map(path_of, photos["root"].to_pylist(), photos["uri"].to_pylist())
        return np.array(paths, dtype=np.str_), made[: len(paths)]

    def dataset(self, split: str | None = None, *, where: str | None = None) -> "EmbeddingDataset":
        """The labelled photos for torch's loaders, in the order of their paths: all, or those of a `split`.

        `where` is a condition in SQL that holds, of label, split and your own columns. All is in memory: 4 kB a photo
        of 1,024 numbers.

        Raises:
            PetrieveError: there is no store or no such photo, or the condition cannot be used.
        """
        from petrieve.api.dataset import dataset_of

        return dataset_of(self.cache(), split, where)

    def to_pandas(self) -> "pd.DataFrame":
        """A row for each embedded photo; in `embedding` an array of D float32, in `path` where it is.

        A column `path` of your own stays yours.

        Raises:
            PetrieveError: there is no store, or it cannot be read; or pandas is not installed.
        """
        pandas()
        return self.to_arrow().to_pandas()

    def export(self, where: Place) -> Exported:
        """What was written of the head or of the embeddings, for use elsewhere: the file's name says which.

        Raises:
            PetrieveError: the name says nothing, there is no head that is wanted, or the file cannot be written.
        """
        from petrieve.api import exports

        file = path(where)
        return Exported(str(file), exports.write(file, self.cache()))

    def import_(self, where: Place, *, photos: Place | None = None) -> Imported:
        """How many photos' embeddings were read that an export wrote, into a new store or one of the same weights.

        `photos` is the folder that held them all, if it has moved.

        Raises:
            PetrieveError: it is not an export, or of other weights, or cannot be read.
        """
        from petrieve.extractor.exchange.imports import import_embeddings
        from petrieve.index.codes import update

        count, cache = import_embeddings(path(where), self.path, photos=path(photos) if photos else None)
        update.update(cache, patient=True, tell=words.note)
        return Imported(self.path, count)


def _with_path(table: "pa.Table") -> "pa.Table":
    """A part of the table with the photos' paths before all else, unless the user has a column of that name."""
    import pyarrow as pa

    if "path" in table.column_names:
        return table
    paths = map(path_of, table["root"].to_pylist(), table["photo"].to_pylist())
    return table.add_column(0, "path", pa.array(paths, pa.string()))
