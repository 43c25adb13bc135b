"""Tars as tests make them, and what a source lists and reads, without a trunk."""

import gzip
import io
import tarfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from petrieve.extractor.sources.places import source_at
from petrieve.store.rows import Unreadable

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
PACKINGS = ("", ".gz", ".zst", ".bz2")
Files = Mapping[str, bytes] | Iterable[tuple[str, bytes]]


def entry(name: str, data: bytes, time: int = 1_700_000_000, **others: object) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.size, made.mtime = len(data), time
    for key, value in others.items():
        setattr(made, key, value)
    return made, data


def tarred(entries: Iterable[tuple[tarfile.TarInfo, bytes]], kind: str = "gnu") -> bytes:
    """The bytes of a tar with these entries."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=FORMATS[kind], errors="surrogateescape") as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return made.getvalue()


def tar_of(files: Files, kind: str = "gnu") -> bytes:
    """The bytes of a tar of these files, each a second later than the one before."""
    named = files.items() if isinstance(files, Mapping) else files
    return tarred((entry(name, data, 1_700_000_000 + number) for number, (name, data) in enumerate(named)), kind)


def packed(data: bytes, ending: str) -> bytes:
    """The bytes of a file with this ending that holds others."""
    if ending in ("", ".gz"):
        return gzip.compress(data, 1) if ending else data
    made = pa.BufferOutputStream()
    with pa.CompressedOutputStream(made, {".zst": "zstd", ".bz2": "bz2"}[ending]) as stream:
        stream.write(data)
    return bytes(made.getvalue().to_pybytes())


def tar_in(folder: Path) -> bytes:
    """The bytes of a tar of what lies in a folder."""
    return tar_of({str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.*"))})


def held(place: Path) -> tuple[dict[str, bytes | str], Counter[str]]:
    """What a source holds: of each photo the bytes, or why they cannot be read, by uri; and what is passed over."""
    source = source_at(str(place))
    found: dict[str, bytes | str] = {}
    for part in list(source.parts()):
        wanted = {photo.uri for photo in part.photos}
        for one in part.read(wanted):
            photo, told = (one.photo, one.reason) if isinstance(one, Unreadable) else one
            assert photo.uri in wanted
            assert photo.uri not in found
            found[photo.uri] = told
        assert wanted <= found.keys()
    return found, source.passed
