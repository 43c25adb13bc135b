"""Embeddings in the layout of clip-retrieval, autofaiss and embedding-reader.

FOLDER/img_emb/img_emb_0000.npy             float16 (n, D), of unit length
FOLDER/metadata/metadata_0000.parquet       a row for each, in the same order: `image_path`, and what the cache knows
FOLDER/embeddings.parquet                   all of it in one table, embeddings as they are: for DuckDB, and for `import`
FOLDER/petrieve.json                        what the embeddings depend on, and which columns are the user's own
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.cache import Cache
from store.errors import PetrieveError, first_line
from store.files import write_file
from store.photo import path_of
from store.rows import lengths, own, unit_length

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# Photos of one .npy file: 128 MB.
PART = 65_536
GROUP = 4096  # photos that a reader of the table unpacks at a time: 16 MB
CARD, TABLE = "petrieve.json", "embeddings.parquet"


def export_embeddings(cache: Cache, folder: Path) -> int:
    """How many photos' embeddings, of view 0, were written to a folder, which is new or empty.

    A photo that was not found where it was has since when in `gone`. What fails leaves nothing behind.

    Raises:
        PetrieveError: the folder holds something, or cannot be written to.
    """
    new = not os.path.lexists(folder)
    if not new and (not folder.is_dir() or any(folder.iterdir())):
        raise PetrieveError(f"{folder} is there already", "name a folder that is new or empty")
    try:
        for name in ("img_emb", "metadata"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        count = _write(cache, folder)
        made = {"trunk": cache.made.kind, "fingerprint": cache.fingerprint, "weights": cache.weights}
        card = {**made, "photos": count, "columns": own(cache.photo_schema)}
        write_file(folder / CARD, json.dumps(card, indent=1).encode())  # with its card an export is complete
    except BaseException as error:
        _clear(folder, new)
        if not isinstance(error, OSError):
            raise
        raise PetrieveError(
            f"cannot write to {folder}: {error.strerror or first_line(error)}", "make room, or name another folder"
        ) from error
    return count


def _clear(folder: Path, new: bool) -> None:
    """Take away an export that is not whole."""
    for name in ("img_emb", "metadata"):
        shutil.rmtree(folder / name, ignore_errors=True)
    with suppress(OSError):
        (folder / TABLE).unlink(missing_ok=True)
        if new:
            folder.rmdir()


def _write(cache: Cache, folder: Path) -> int:
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    count = 0
    with (folder / TABLE).open("wb") as file:  # by its path, Arrow would take run:1 for an address
        table: Any = None
        for part, (photos, embeddings) in enumerate(_parts(cache)):
            np.save(folder / "img_emb" / f"img_emb_{part:04}.npy", unit_length(embeddings).astype(np.float16))
            metadata = _metadata(photos, embeddings)
            with (folder / "metadata" / f"metadata_{part:04}.parquet").open("wb") as beside:
                parquet.write_table(metadata, beside)
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), cache.dimension)
            whole = metadata.append_column("embedding", vectors)
            table = table or parquet.ParquetWriter(file, whole.schema)
            table.write_table(whole, row_group_size=GROUP)
            count += len(embeddings)
        if table:
            table.close()
    if not count:
        (folder / TABLE).unlink()
    return count


def _parts(cache: Cache) -> "Iterator[tuple[pa.Table, np.ndarray]]":
    """PART photos at a time, beside their embeddings (n, D) float32."""
    import numpy as np
    import pyarrow as pa

    photos: list[pa.RecordBatch] = []
    vectors: list[np.ndarray] = []
    for batch, embeddings in cache.embeddings([name for name in cache.photo_schema.names if name != "checksum"]):
        photos.append(batch)
        vectors.append(embeddings)
        if sum(map(len, vectors)) >= PART:
            yield pa.Table.from_batches(photos), np.concatenate(vectors)
            photos, vectors = [], []
    if photos:
        yield pa.Table.from_batches(photos), np.concatenate(vectors)


def _metadata(photos: "pa.Table", embeddings: "np.ndarray") -> "pa.Table":
    """What is known of photos, with the path of each and the length of its embedding.

    A column of the user's own that is called like these is itself.
    """
    import pyarrow as pa

    roots, uris = (photos[name].to_pylist() for name in ("root", "uri"))
    paths = [path_of(*photo) for photo in zip(roots, uris, strict=True)]
    safe = [os.fsencode(path).decode(errors="replace") for path in paths]  # names may hold bytes that are no text
    digests = [digest.hex() for digest in photos["digest"].to_pylist()]
    made = photos.drop_columns(["digest", "_rowid"]).append_column("digest", pa.array(digests))
    if "image_path" not in made.column_names:
        made = made.add_column(0, "image_path", pa.array(safe))
    if "length" not in made.column_names:
        made = made.append_column("length", pa.array(lengths(embeddings), pa.float32()))
    return made
