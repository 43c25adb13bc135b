"""Embeddings in the layout of clip-retrieval, autofaiss and embedding-reader, and back again.

FOLDER/img_emb/img_emb_0000.npy             float16 (n, D), of unit length
FOLDER/metadata/metadata_0000.parquet       a row for each, in the same order: `image_path`, and what the cache knows
FOLDER/embeddings.parquet                   all of it in one table, embeddings as they are: for DuckDB
FOLDER/petrieve.json                        what the embeddings depend on: trunk, fingerprint, weights
"""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extractor.sources.labels import check_columns
from extractor.trunks.kinds import KINDS, kind
from store.cache import Cache
from store.errors import PetrieveError, first_line
from store.files import write_file
from store.folder import Made, Store, read_card
from store.known import Known, known
from store.lock import writing
from store.photo import Photo, path_of
from store.rows import LATER, RESERVED, Embedded, lengths, unit_length
from store.upgrade import upgrade

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# Photos of one .npy file: 128 MB.
PART = 65_536
CARD = "petrieve.json"
COMMIT = 4096  # photos at a time
LARGEST_ROW = 1 << 16  # bytes of metadata of one photo, unpacked
# What a row of the metadata needs, beside the user's own columns, to become a row of a cache again.
NAMED = ("imagenet", "bundled")  # weights that are the same everywhere
NEEDED = ("root", "uri", "digest", "size", "modified", "width", "height", "length")


def export_embeddings(cache: Cache, folder: Path) -> int:
    """How many photos' embeddings were written to a folder, which is new or empty.

    Raises:
        PetrieveError: the folder holds something, or cannot be written to.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PetrieveError(f"{folder} is there already", "name a folder that is new or empty")
    try:
        for name in ("img_emb", "metadata"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        count = _write(cache, folder)
        made = {"trunk": cache.made.kind, "fingerprint": cache.fingerprint, "weights": cache.weights}
        card = {**made, "photos": count}
        write_file(folder / CARD, json.dumps(card, indent=1).encode())  # with its card an export is complete
    except OSError as error:
        raise PetrieveError(
            f"cannot write to {folder}: {error.strerror or first_line(error)}", "make room, or name another folder"
        ) from error
    return count


def _columns(cache: Cache) -> list[str]:
    """What is written of each photo."""
    left_out = LATER | {"checksum", "reason", "gone", "version"}
    return [name for name in cache.photo_schema.names if name not in left_out]


def _write(cache: Cache, folder: Path) -> int:
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    count, part = 0, 0
    table: Any = None
    for photos, embeddings in _parts(cache):
        np.save(folder / "img_emb" / f"img_emb_{part:04}.npy", unit_length(embeddings).astype(np.float16))
        metadata = _metadata(photos).append_column("length", pa.array(lengths(embeddings), pa.float32()))
        parquet.write_table(metadata, folder / "metadata" / f"metadata_{part:04}.parquet")
        whole = metadata.append_column(
            "embedding", pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), cache.dimension)
        )
        table = table or parquet.ParquetWriter(folder / "embeddings.parquet", whole.schema)
        table.write_table(whole)
        count, part = count + len(embeddings), part + 1
    if table:
        table.close()
    return count


def _parts(cache: Cache) -> "Iterator[tuple[pa.Table, np.ndarray]]":
    """PART photos at a time, beside their embeddings (n, D) float32."""
    import numpy as np
    import pyarrow as pa

    photos: list[pa.RecordBatch] = []
    vectors: list[np.ndarray] = []
    for batch, embeddings in cache.embeddings(_columns(cache)):
        photos.append(batch)
        vectors.append(embeddings)
        if sum(map(len, vectors)) >= PART:
            yield pa.Table.from_batches(photos), np.concatenate(vectors)
            photos, vectors = [], []
    if photos:
        yield pa.Table.from_batches(photos), np.concatenate(vectors)


def _metadata(photos: "pa.Table") -> "pa.Table":
    import pyarrow as pa

    roots, uris = (photos[name].to_pylist() for name in ("root", "uri"))
    paths = [path_of(*photo) for photo in zip(roots, uris, strict=True)]
    safe = [os.fsencode(path).decode(errors="replace") for path in paths]  # names may hold bytes that are no text
    digests = [digest.hex() for digest in photos["digest"].to_pylist()]
    rest = photos.drop_columns(["digest", "_rowid"])
    return rest.add_column(0, "image_path", pa.array(safe)).append_column("digest", pa.array(digests))


def import_embeddings(folder: Path, store: Path, *, photos: Path | None = None) -> tuple[int, Cache]:
    """How many photos' embeddings were read from a folder that `export_embeddings` wrote, and the cache they are in.

    A store that is there must be of the same trunk; what it holds of the same photos is replaced. `photos` is where
    they are now, if all were in one folder and have moved. Embeddings come back to float16's rounding. All is looked at
    before any of it is written.

    Raises:
        PetrieveError: the folder has no card or another trunk's, or is damaged; a photo's path leads outside its root.
    """
    card = _card(folder)
    place = Store(store)
    parts = _checked_parts(folder, card["photos"], kind(card["trunk"]).dimension)
    columns = _checked_rows(folder, parts, photos)
    with writing(place):
        upgrade(place)
        cache = _cache(place, card)
        cache.check(card["fingerprint"], card["weights"])
        cache.add_columns(columns)
        there = known(cache)
        written = set[bytes]()
        for rows in _rows_of(parts, photos):
            cache.commit([_new(row, there, written) for row in rows], there)
        cache.tidy()
        cache.sign()
    return card["photos"], Cache.open(store, cache.made.name)


def _cache(store: Store, card: dict[str, Any]) -> Cache:
    """The store's cache of the trunk that made an export, else its first; a new one where there is no store."""
    made = Made(card["trunk"], card["fingerprint"], card["weights"])
    there = read_card(store)
    if there is None:
        return Cache.create(store, made, dimension=kind(made.kind).dimension)
    return Cache.open(store.path, made.name if made.name in [one.name for one in there.trunks] else None)


def _new(row: Embedded, there: Known, written: set[bytes]) -> Embedded:
    """A photo without its embedding where the cache has that of its content."""
    if row.digest in written or there.embeddings.of(row.digest):
        return replace(row, views=row.views[:0], first=1)
    written.add(row.digest)
    return row


def _card(folder: Path) -> dict[str, Any]:
    """What the folder's card says: `fingerprint`, `weights`, `photos`."""
    try:
        card = json.loads((folder / CARD).read_bytes())
        told = {"fingerprint": str(card["fingerprint"]), "weights": str(card["weights"]), "photos": int(card["photos"])}
        told["trunk"] = str(card.get("trunk", next(iter(KINDS))))  # earlier exports are all of the first
    except FileNotFoundError as error:
        raise PetrieveError(
            f"{folder} has no {CARD}, so nothing says which network made its embeddings",
            "name a folder that `cli.py export` wrote, or embed the photos with `cli.py embed`",
        ) from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise _damaged(folder, f"{CARD} cannot be read") from error
    if told["weights"] not in NAMED:  # a path that somebody else wrote is not opened
        raise PetrieveError(
            f"{folder} was made with weights from a file, {told['weights']}",
            "copy the store itself, or embed the photos with `cli.py embed --weights FILE`",
        )
    return told


def _checked_parts(folder: Path, photos: int, dimension: int) -> "list[tuple[np.ndarray, Path]]":
    """The embeddings, not yet read, beside the file of their metadata; as many as the card says."""
    import numpy as np
    from pyarrow import parquet

    parts = []
    for file in sorted((folder / "img_emb").glob("img_emb_*.npy")):
        beside = folder / "metadata" / f"metadata_{file.stem.removeprefix('img_emb_')}.parquet"
        try:
            if not file.stat().st_size:  # a pipe, too, which would be waited for
                raise ValueError("it is empty")
            embeddings = np.load(file, mmap_mode="r", allow_pickle=False)
            metadata = parquet.ParquetFile(beside)
        except (OSError, ValueError, OverflowError) as error:
            raise _damaged(folder, f"{file.name} or {beside.name} cannot be read: {first_line(error)}") from error
        if embeddings.ndim != 2 or embeddings.shape[1] != dimension:
            raise _damaged(folder, f"{file.name} is {' × '.join(map(str, embeddings.shape))}, not photos × {dimension}")
        if embeddings.dtype != np.float16 or len(embeddings) != metadata.metadata.num_rows:
            raise _damaged(folder, f"{file.name} and {beside.name} do not fit each other")
        missing = sorted({*NEEDED, "image_path"} - set(metadata.schema_arrow.names))
        if missing:
            raise _damaged(folder, f"{beside.name} has no column {missing[0]}")
        groups = [metadata.metadata.row_group(group) for group in range(metadata.num_row_groups)]
        if sum(group.total_byte_size for group in groups) > LARGEST_ROW * (len(embeddings) + 1):
            raise _damaged(folder, f"{beside.name} unpacks to more than {LARGEST_ROW} bytes a photo")
        parts.append((embeddings, beside))
    if sum(len(embeddings) for embeddings, _ in parts) != photos:
        raise _damaged(folder, f"it holds {sum(len(one) for one, _ in parts)} photos, and its card says {photos}")
    return parts


def _checked_rows(folder: Path, parts: "list[tuple[np.ndarray, Path]]", photos: Path | None) -> "pa.Schema":
    """The columns of the user's own CSV, once every photo has been looked at: each is named once."""
    import pyarrow as pa

    schemas = [_own(_read(file)) for _, file in parts]
    if any(one != schemas[0] for one in schemas):
        raise _damaged(folder, "its parts have different columns")
    seen = set[str]()
    for row in chain.from_iterable(_rows_of(parts, photos)):
        if row.photo.path in seen:
            raise _damaged(folder, "it names a photo twice")
        seen.add(row.photo.path)
    return schemas[0] if schemas else pa.schema([])


def _rows_of(parts: "list[tuple[np.ndarray, Path]]", photos: Path | None) -> Iterator[list[Embedded]]:
    """The photos of all parts beside their embeddings, COMMIT at a time."""
    for embeddings, file in parts:
        metadata = _read(file)
        for start in range(0, len(embeddings), COMMIT):
            yield _rows(embeddings[start : start + COMMIT], metadata.slice(start, COMMIT), photos)


def _read(file: Path) -> "pa.Table":
    from pyarrow import parquet

    try:
        return parquet.read_table(file)
    except (OSError, ValueError) as error:
        raise PetrieveError(f"{file} cannot be read: {first_line(error)}", "export it again") from error


def _rows(embeddings: "np.ndarray", metadata: "pa.Table", photos: Path | None) -> list[Embedded]:
    """Photos beside their embeddings; lengths as they were."""
    import numpy as np

    made = []
    for unit, row in zip(np.asarray(embeddings, np.float32), _cast(metadata).to_pylist(), strict=True):
        with np.errstate(all="ignore"):  # what comes of it is looked at here
            vector = unit * np.float32(row.pop("length"))
            finite = bool(np.isfinite(vector.astype(np.float16)).all())
        if not finite or not vector.any():
            raise PetrieveError(f"the embedding of {row['uri']} holds no numbers, or zeros alone", "export it again")
        root, uri = str(photos.absolute()) if photos else row.pop("root"), row.pop("uri")
        row.pop("root", None)
        _check_inside(root, uri)
        digest, width, height = bytes.fromhex(row.pop("digest")), row.pop("width"), row.pop("height")
        size, modified, label, split = (row.pop(name) for name in ("size", "modified", "label", "split"))
        made.append(Embedded(Photo(root, uri, size, modified, label, split, row), digest, width, height, vector[None]))
    return made


def _cast(metadata: "pa.Table") -> "pa.Table":
    """The metadata with the types of the cache's columns, without `image_path`, which says again what others do."""
    import pyarrow as pa

    fields = [("root", pa.string()), ("uri", pa.string()), ("digest", pa.string()), ("size", pa.int64())]
    fields += [("modified", pa.timestamp("us", "UTC")), ("width", pa.int32()), ("height", pa.int32())]
    fields += [("length", pa.float32()), ("label", pa.string()), ("split", pa.string())]
    try:
        own = [(name, metadata.schema.field(name).type) for name in _own(metadata).names]
        table = metadata.select([name for name, _ in [*fields, *own]]).cast(pa.schema([*fields, *own]))
        numbers = table.set_column(4, "modified", table["modified"].cast(pa.int64()))
        if any(numbers[name].null_count for name, _ in fields[:-2]):
            raise ValueError("a value is missing")
        if not all(len(digest) == 32 and bytes.fromhex(digest) for digest in numbers["digest"].to_pylist()):
            raise ValueError("a digest is none")
    except (ValueError, KeyError) as error:
        raise PetrieveError(f"the metadata cannot be used: {first_line(error)}", "export it again") from error
    return numbers


def _own(metadata: "pa.Table") -> "pa.Schema":
    """The columns of the user's own CSV."""
    import pyarrow as pa

    others = RESERVED | {"image_path", "length", "label", "split"}
    own = [field for field in metadata.schema if field.name not in others]
    check_columns("the metadata", [field.name for field in own])
    return pa.schema([pa.field(field.name, field.type) for field in own])


def _check_inside(root: str, uri: str) -> None:
    """A photo lies in its root: what a stranger's file says must lead nowhere else."""
    if not uri or not os.path.isabs(root) or os.path.isabs(uri) or "\0" in root + uri or os.pardir in Path(uri).parts:
        raise PetrieveError(f"{uri!r} in {root!r} is no path inside a folder", "export it again")


def _damaged(folder: Path, why: str) -> PetrieveError:
    return PetrieveError(f"{folder} cannot be imported: {why}", "write it again with `cli.py export`")
