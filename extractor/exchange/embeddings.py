"""Embeddings for use elsewhere: a Parquet file, a folder of them that is a data set, or what clip-retrieval reads.

NAME.parquet                        a row for each photo: what is known of it, and its embedding as it is

FOLDER/data/photos-0000.parquet     the same, 65,536 photos a file
FOLDER/README.md                    a data set card, as Hugging Face's datasets read it
FOLDER/petrieve.json                what the embeddings depend on, how many there are, and which columns are the user's

NAME.clip-retrieval/img_emb/img_emb_0000.npy            float16 (n, D), of unit length
NAME.clip-retrieval/metadata/metadata_0000.parquet      a row for each, in the same order, with its `image_path`
NAME.clip-retrieval/petrieve.json                       as above
"""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petrieve.extractor.exchange.card import CARD, card, check_own
from petrieve.extractor.exchange.data_set_card import data_set_card
from petrieve.extractor.exchange.rows import parts, signed, with_embeddings
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError, first_line
from petrieve.store.files import named, write_file
from petrieve.store.photo import path_of
from petrieve.store.rows import unit_length

if TYPE_CHECKING:
    import pyarrow as pa

GROUP = 4096  # photos that a reader of a table unpacks at a time: 16 MB
DATA = "data"


def export_table(cache: Cache, file: Path) -> int:
    """How many photos' embeddings, of view 0, were written to a Parquet file.

    A photo that was not found where it was has since when in `gone`.

    Raises:
        PetrieveError: the file is there and no export, or cannot be written.
    """
    from pyarrow import parquet

    check_own(file)
    count, writer = 0, None
    with named(file) as opened:
        for told, embeddings in parts(cache):
            table = with_embeddings(cache, told, embeddings)
            writer = writer or parquet.ParquetWriter(opened, table.schema)
            writer.write_table(table, row_group_size=GROUP)
            count += len(embeddings)
        if writer:
            writer.close()
    return count


def export_data_set(cache: Cache, folder: Path) -> int:
    """How many photos' embeddings, of view 0, were written to a folder, which is new or empty.

    What fails leaves nothing behind.

    Raises:
        PetrieveError: the folder holds something, or cannot be written to.
    """

    def write() -> int:
        count = 0
        for part, (told, embeddings) in enumerate(parts(cache)):
            _write_table(with_embeddings(cache, told, embeddings), folder / DATA / f"photos-{part:04}.parquet")
            count += len(embeddings)
        write_file(folder / "README.md", data_set_card(cache, count).encode())
        return count

    return _export(folder, (DATA,), write, card(cache))


def export_clip_retrieval(cache: Cache, folder: Path) -> int:
    """How many photos' embeddings were written to a folder as clip-retrieval, autofaiss and embedding-reader read them.

    Raises:
        PetrieveError: as by `export_data_set`.
    """

    def write() -> int:
        import numpy as np

        count = 0
        for part, (told, embeddings) in enumerate(parts(cache)):
            np.save(folder / "img_emb" / f"img_emb_{part:04}.npy", unit_length(embeddings).astype(np.float16))
            table = signed(cache, _with_paths(told), unit_length=True)
            _write_table(table, folder / "metadata" / f"metadata_{part:04}.parquet")
            count += len(embeddings)
        return count

    return _export(folder, ("img_emb", "metadata"), write, card(cache, unit_length=True))


def _export(folder: Path, below: tuple[str, ...], write: Callable[[], int], said: dict[str, Any]) -> int:
    """The result of `write`, which fills the folders `below` this one; the card, written last, makes it complete."""
    new = not os.path.lexists(folder)
    if not new and (not folder.is_dir() or any(folder.iterdir())):
        raise PetrieveError(f"{folder} is there already", "name a folder that is new or empty")
    try:
        for name in below:
            (folder / name).mkdir(parents=True, exist_ok=True)
        count = write()
        write_file(folder / CARD, json.dumps({**said, "photos": count}, indent=1).encode())
    except BaseException as error:
        _clear(folder, below, new)
        if not isinstance(error, OSError):
            raise
        raise PetrieveError(
            f"cannot write to {folder}: {error.strerror or first_line(error)}", "make room, or name another folder"
        ) from error
    return count


def _clear(folder: Path, below: tuple[str, ...], new: bool) -> None:
    """Remove an incomplete export."""
    for name in below:
        shutil.rmtree(folder / name, ignore_errors=True)
    with suppress(OSError):
        (folder / "README.md").unlink(missing_ok=True)
        if new:
            folder.rmdir()


def _write_table(table: "pa.Table", file: Path) -> None:
    from pyarrow import parquet

    with file.open("wb") as opened:  # by its path, Arrow would take run:1 for an address
        parquet.write_table(table, opened, row_group_size=GROUP)


def _with_paths(told: "pa.Table") -> "pa.Table":
    """Rows with the path of each photo first, unless the user has a column of that name."""
    import pyarrow as pa

    if "image_path" in told.column_names:
        return told
    photos = zip(*(told[name].to_pylist() for name in ("root", "photo")), strict=True)
    # names may hold bytes that are not text
    paths = [os.fsencode(path_of(*photo)).decode(errors="replace") for photo in photos]
    return told.add_column(0, "image_path", pa.array(paths, pa.string()))
