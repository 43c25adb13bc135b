"""What can be done with photos that were chosen: a list of them, their files, a word about all of them."""

import os
import tempfile
import zipfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

from petrieve.extractor.sources.annotations.labels import labels_of
from petrieve.extractor.sources.annotations.sheets import read_sheet, table_of
from petrieve.extractor.sources.reading import Reader
from petrieve.gallery.spreadsheet import as_csv, write
from petrieve.gallery.web.desk import content
from petrieve.store.cache import Cache
from petrieve.store.columns import joined
from petrieve.store.digests import as_array
from petrieve.store.errors import PetrieveError
from petrieve.store.photo import path_of

LABELS = "labels.csv"  # in the store
MOST_FILES, MOST_BYTES = 2000, 2 << 30  # in a zip
PART = 20_000  # lines of a list that are made at a time
WAIT = 30  # seconds for another process that writes


def listed(cache: Cache, contents: Sequence[bytes], *, shared: bool = False) -> Iterator[bytes]:
    """A CSV, in parts, of the photos with these contents and all that is said of them: `embed --labels` takes it.

    A `shared` one, which others get, has each photo's path from its source.
    """
    names = cache.columns()
    yield as_csv([["photo", *names]])
    for start in range(0, len(contents), PART):
        rows = _rows(cache, contents[start : start + PART], names)
        named = ((row["uri"] if shared else path, row) for path, row in rows.items())
        yield as_csv([photo, *(_text(row[name]) for name in names)] for photo, row in named)


def zipped(cache: Cache, contents: Sequence[bytes]) -> IO[bytes]:
    """A file that holds the photos' own files, one for each content, from its start; who asked for it closes it.

    Raises:
        PetrieveError: these are more than MOST_FILES, or than MOST_BYTES.
    """
    rows = _rows(cache, contents, ["size", "gone"])
    paths = {row["digest"]: path for path, row in sorted(rows.items(), key=lambda one: one[1]["gone"] is None)}
    size = sum(max(0, rows[path]["size"]) for path in paths.values())
    if len(paths) > MOST_FILES or size > MOST_BYTES:
        what = f"these are {len(paths):,} files of {size >> 20:,} MB"
        raise PetrieveError(what, f"choose {MOST_FILES:,} and {MOST_BYTES >> 30} GB at most, or take the list")
    file, names, left = tempfile.TemporaryFile(), set[str](), list[str]()  # noqa: SIM115 - who asked closes it
    read = Reader(cache)
    with zipfile.ZipFile(file, "w") as made:
        for digest, path in paths.items():
            if (data := content(read, path, digest)) is None:
                left.append(rows[path]["uri"])
            else:
                made.writestr(_name(rows[path]["uri"], names), data)
        if left:
            made.writestr("not-there.txt", "".join(f"{uri}\n" for uri in left).encode("utf-8", "surrogateescape"))
    file.seek(0)
    return file


def say(cache: Cache, contents: Collection[bytes], column: str, value: str) -> Path:
    """The CSV in the store in which these photos now have this value; `embed --labels` takes it.

    What it says of other photos, and in other columns, stays.

    Raises:
        PetrieveError: the column or the value cannot be stored, or the store is in a bucket, or the file not written.
    """
    from filelock import FileLock, Timeout

    contents = frozenset(contents)
    if not isinstance(cache.store.path, Path):
        where = cache.store.path
        raise PetrieveError(f"{where} is in a bucket", "write a CSV, and give it to `petrieve embed --labels`")
    file = cache.store.path / LABELS
    try:
        with FileLock(file.with_name(f".{LABELS}.lock"), timeout=WAIT):
            header, table = _before(file)
            cells = {row[0]: dict(zip(header, row, strict=True)) for row in table}
            header += [column] if column not in header else []
            named = {row["digest"] for row in cache.known_of(dict.fromkeys(cells)) if row["digest"]} if cells else set()
            there = _rows(cache, [*named.union(contents)], [name for name in cache.columns() if name in header])
            for path, row in there.items():  # an empty cell would say that there is none: what is not said here stays
                if path in cells or row["digest"] in contents:
                    said = {column: value} if row["digest"] in contents else {}
                    cells[path] = {**row, **cells.get(path, {}), **said}
            rows = [[path, *(_text(row.get(name)) for name in header[1:])] for path, row in sorted(cells.items())]
            _check(cache, str(file), header, rows)
            write(file, header, rows)
    except (OSError, Timeout) as error:
        raise PetrieveError(f"cannot write {file}", "is another process writing it, or the disk full?") from error
    return file


def roots(cache: Cache, contents: Sequence[bytes]) -> list[str]:
    """Where these photos were found: what `embed` is to be given."""
    return sorted({row["root"] for row in _rows(cache, contents, []).values()})


def _before(file: Path) -> tuple[list[str], list[list[str]]]:
    if not file.exists():
        return ["photo"], []
    return table_of(str(file), read_sheet(str(file)), ["photo"])


def _check(cache: Cache, file: str, header: list[str], rows: list[list[str]]) -> None:
    """Refuse what `embed` would refuse, or would take for words where the store has numbers, say."""
    for field in labels_of(file, header, rows).columns:
        there = cache.photo_schema.field(field.name) if field.name in cache.photo_schema.names else field
        if joined(there, field).type != there.type:
            raise PetrieveError(
                f"the column {field.name} holds {there.type}, and this is not one", "write it another way"
            )


def _rows(cache: Cache, contents: Collection[bytes], columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The photos with these contents, by their paths, in the order of these."""
    found = cache.photos_of(as_array(contents), ["root", "uri", *columns]).to_pylist() if contents else []
    return dict(sorted((path_of(row["root"], row["uri"]), row) for row in found))


def _name(uri: str, taken: set[str]) -> str:
    """A name in a zip: the uri without what would lead out of a folder, and of no other file."""
    parts = [part for part in PurePosixPath(uri.replace("\\", "/").replace(":", "_")).parts if part.strip("./ ")]
    stem, ending = os.path.splitext("/".join(parts) or "photo")
    name, number = stem + ending, 1
    while name.casefold() in taken:
        number += 1
        name = f"{stem}-{number}{ending}"
    taken.add(name.casefold())
    return name.encode(errors="replace").decode()


def _text(value: object) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
