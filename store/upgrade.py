"""A store of an old format, brought up to date: one table of photos with their embeddings becomes two.

The old tables are read and the new ones written beside them; then the card says so, and the old ones go. Killed
anywhere, the store is one of the two, and the next run goes on.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from petrieve.store.errors import PetrieveError, warn
from petrieve.store.folder import OLD_FORMATS, Made, Store, read_card, write_card
from petrieve.store.key import Key, Where
from petrieve.store.photo import path_of
from petrieve.store.pieces import PIECE
from petrieve.store.rows import (
    CHECKSUM,
    PASSING,
    RESERVED,
    may_pass,
    microseconds,
    photo_schema,
    photo_table,
    vector_checksums,
    vector_schema,
    vectors,
)
from petrieve.store.tables import check_manifests, manifests, opened, readable, writable, write_table

if TYPE_CHECKING:
    import lance
    import numpy as np
    import pyarrow as pa

BATCH = 4096
WITHOUT_CHECKSUMS = 1
DAMAGED = f"{PASSING}its row in the store was damaged"
OWN = frozenset("uri root digest size modified view width height embedding checksum label split".split())
# What lies beside the card in old formats, and moves into the trunk's folder or is made anew.
KEPT, DROPPED = ("head.safetensors", "int8.safetensors"), ("index.safetensors", "index.faiss", "index.json")


@dataclass(frozen=True)
class Old:
    """A store of an old format."""

    store: Store
    made: Made
    format: int

    @property
    def embeddings(self) -> Where:
        """A row for each view of each photo."""
        return self.store.path / "embeddings.lance"

    @property
    def unreadable(self) -> Where:
        """The photos that could not be embedded."""
        return self.store.path / "unreadable.lance"

    @property
    def dimension(self) -> int:
        """Of its embeddings."""
        return int(opened(self.embeddings).schema.field("embedding").type.list_size)


def upgrade(store: Store) -> None:
    """Bring a store of an old format up to date. Nothing is embedded anew, and what it holds stays.

    Raises:
        PetrieveError: the store cannot be read or written to.
    """
    card = read_card(store)
    if card is None:
        return
    if isinstance(store.path, Key):
        if card.format in OLD_FORMATS:
            raise PetrieveError(
                f"the store {store.path} has the old format {card.format}, and lies in a bucket",
                "copy it to a disk, run `petrieve embed` there, and copy it back",
            )
        return
    if card.format in OLD_FORMATS:
        old = Old(store, card.trunks[0], card.format)
        with readable(store):
            check_manifests(store, (old.embeddings, old.unreadable), card.manifests)
            _rewrite(old, opened(old.embeddings), opened(old.unreadable))
        with writable(store):
            write_card(store, (old.made,), manifests(store, store.tables((old.made,))))
    with writable(store):
        _clear(Old(store, card.trunks[0], card.format))


def _rewrite(old: Old, photos: "lance.LanceDataset", unreadable: "lance.LanceDataset") -> None:
    """The new tables, made anew should a run have been killed while it made them."""
    import pyarrow as pa

    folder = old.store.folder(old.made)
    names = _columns(photos.schema.names)
    said = [photos.schema.field(name).with_name(new) for name, new in names.items()]
    schema = pa.schema([*photo_schema(), *said])
    for table in (old.store.photos, folder.vectors):
        shutil.rmtree(str(table), ignore_errors=True)
    sound: set[int] = set()
    vectors_ = pa.RecordBatchReader.from_batches(vector_schema(old.dimension), _vectors(old, photos, sound))
    rows = pa.RecordBatchReader.from_batches(schema, _photos(photos, unreadable, schema, names, sound))
    with writable(old.store):
        for path, reader in ((folder.vectors, vectors_), (old.store.photos, rows)):
            write_table(path, reader, mode="create", enable_stable_row_ids=True, max_rows_per_file=PIECE)
        if len(sound) < photos.count_rows():  # of a photo with a damaged row, other views may be left
            opened(folder.vectors).delete("view > 0")


def _vectors(old: Old, photos: "lance.LanceDataset", sound: set[int]) -> "Iterator[pa.RecordBatch]":
    """The embeddings of the old table, each content's once; `sound` learns which rows are not damaged."""
    import numpy as np
    import pyarrow as pa

    seen: set[tuple[bytes, int]] = set()
    for batch in _sound(old, photos):
        sound.update(batch["_rowid"].to_pylist())
        keys = list(zip(batch["digest"].to_pylist(), batch["view"].to_pylist(), strict=True))
        new = {key: place for place, key in reversed(list(enumerate(keys))) if key not in seen}
        seen.update(new)
        if not new:
            continue
        some = batch.take(pa.array(sorted(new.values()), pa.int64()))
        halves = vectors(some).astype(np.float16)
        sums = vector_checksums(some["digest"].to_pylist(), some["view"].to_pylist(), halves)
        columns = [some["digest"], some["view"], some["embedding"], pa.array(sums, pa.binary(CHECKSUM))]
        yield pa.RecordBatch.from_arrays(columns, schema=vector_schema(halves.shape[1]))


def _columns(names: list[str]) -> dict[str, str]:
    """The columns of the user's own CSV, and what each is called from now on: some names are the store's own now."""
    own = [name for name in names if name not in OWN]
    made = {name: name for name in own}
    for name in own:
        if name in RESERVED:
            made[name] = next(new for number in count(2) if (new := f"{name}_{number}") not in own)
            warn(f"column {name!r} is called {made[name]!r} from now on: {name!r} is the store's own")
    return made


def _photos(
    photos: "lance.LanceDataset",
    unreadable: "lance.LanceDataset",
    schema: "pa.Schema",
    names: dict[str, str],
    sound: set[int],
) -> "Iterator[pa.RecordBatch]":
    """The photos of both old tables. One in both was embedded after it could not be read, unless it may be again."""
    failed = {path_of(row["root"], row["uri"]): row for row in unreadable.to_table().to_pylist()}
    read = [name for name in photos.schema.names if name not in ("embedding", "checksum", "view")]
    for batch in photos.to_batches(columns=read, filter="view = 0", with_row_id=True, batch_size=BATCH):
        rows = []
        for old in batch.to_pylist():
            row = {names.get(name, name): value for name, value in old.items()}
            bad = failed.pop(path_of(row["root"], row["uri"]), None)
            if row.pop("_rowid") not in sound:
                row |= {"digest": None, "width": None, "height": None, "reason": DAMAGED}
            elif bad and may_pass(bad["reason"]):
                row["reason"] = bad["reason"]
            rows.append(row)
        yield from photo_table(rows, schema).to_batches()
    if failed:
        yield from photo_table(list(failed.values()), schema).to_batches()


def _sound(old: Old, photos: "lance.LanceDataset") -> "Iterator[pa.RecordBatch]":
    """The rows of the old table whose checksums are right; in the first format there are none."""
    import pyarrow as pa

    for batch in photos.to_batches(with_row_id=True, batch_size=BATCH):
        if old.format == WITHOUT_CHECKSUMS:
            yield batch
            continue
        sums = _old_checksums(batch, vectors(batch))
        right = [one == other for one, other in zip(batch["checksum"].to_pylist(), sums, strict=True)]
        yield batch if all(right) else batch.filter(pa.array(right))


def _old_checksums(photos: "pa.RecordBatch", embeddings: "np.ndarray") -> list[bytes]:
    """What the checksum of each row of formats 2 and 3 must be."""
    names = sorted(set(photos.schema.names) - {"embedding", "checksum", "modified", "_rowid"})
    moments = [microseconds(one) for one in photos["modified"].to_pylist()]
    made = []
    rows = photos.select(names).to_pylist()
    for row, moment, vector in zip(rows, moments, embeddings.astype("float16"), strict=True):
        words = "\0".join(f"{name} {value!s}" for name, value in row.items() if value is not None)
        data = f"{words}\0modified {moment}\0".encode() + vector.tobytes()
        made.append(hashlib.blake2b(data, digest_size=CHECKSUM).digest())
    return made


def _clear(old: Old) -> None:
    """Take away what the new tables have taken the place of."""
    folder = old.store.folder(old.made).path
    for name in KEPT:
        if (old.store.path / name).exists():
            os.replace(str(old.store.path / name), str(folder / name))
    for name in DROPPED:
        (old.store.path / name).unlink(missing_ok=True)
    for table in (old.embeddings, old.unreadable):
        shutil.rmtree(str(table), ignore_errors=True)
