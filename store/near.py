"""What a store in a bucket holds, kept on this machine too, so that it is fetched once.

A copy is named by what the server calls the state of the file, or stands for one that never changes: a piece of a
table. So none can be stale, and all of them may be removed at any time. One that is not what was fetched, because it
was cut off or its disk is failing, is fetched again: nobody is to mend a store that is well.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from petrieve.store.errors import PetrieveError
from petrieve.store.files import write_file
from petrieve.store.key import Key, Where

# A larger table is read where it is: 100,000 embeddings of 1,024 numbers, up to which every search compares each.
MOST_BYTES = 256 << 20
AT_ONCE = 8  # files that are fetched at the same time; pieces of a table have up to 8 MB
UNUSED_SECONDS = 7 * 86_400  # after which a copy goes


def local(file: Where) -> Path:
    """A file on this machine with what `file` holds: itself, or a copy.

    Raises:
        FileNotFoundError: it is not there.
        PetrieveError: it cannot be fetched or kept.
    """
    if isinstance(file, Path):
        return file
    tag = file.tag()
    if tag is None:
        raise FileNotFoundError(str(file))
    return _kept(file, _folder(file.parent) / f"{_digest(str(tag))}-{file.name}")


def kept(name: str) -> Path:
    """Where on this machine something lies that belongs to no store alone, by a name that stands for what it holds."""
    file = _root() / "kept" / _digest(name)
    with suppress(OSError):
        os.utime(file)  # it is of use
    return file


def keep(file: Path, data: bytes) -> None:
    """Put something where `kept` finds it; where that cannot be, it is not there."""
    _let_go()
    with suppress(OSError):
        _root().mkdir(mode=0o700, parents=True, exist_ok=True)
        file.parent.mkdir(exist_ok=True)
        write_file(file, data)


def scratch(store: Where) -> Path:
    """A folder on this machine for large files that a command needs while it runs: the store's own, if it is here."""
    if isinstance(store, Path):
        return store
    folder = _folder(store)
    with _keeping(store, folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def copied(newest: Key) -> "Path | None":
    """A copy of a table on this machine, of the version that this manifest is of; None where it is too large.

    Raises:
        PetrieveError: it cannot be fetched or kept.
    """
    table = newest.parent.parent
    here = _folder(table)
    version = copied_manifest(newest).parent.parent
    with _keeping(table, here):
        for name in ("data", "_deletions"):
            (here / name).mkdir(exist_ok=True)
            with suppress(FileExistsError):
                (version / name).symlink_to(f"../{name}")
    pieces = _pieces(version)
    if pieces is None:
        return None
    with ThreadPoolExecutor(AT_ONCE) as fetchers:
        list(fetchers.map(lambda piece: _kept(table / piece, here / piece), pieces))
    return version


def copied_manifest(manifest: Key) -> Path:
    """A copy of the manifest of a table's version, which has been listed, in a folder that stands for that version."""
    version = _folder(manifest.parent.parent) / _digest(f"{manifest.name} {manifest.bucket.tags[manifest.path]}")
    copy = version / "_versions" / manifest.name
    if not copy.exists():
        _let_go()
    return _kept(manifest, copy)


def _pieces(version: Path) -> "list[str] | None":
    """The files of a table's one version; None where they are too large, or other than we know."""
    import lance

    found, size = list[str](), 0
    for fragment in lance.dataset(str(version)).get_fragments():
        metadata = fragment.metadata
        if metadata.overlays or any(
            file.file_size_bytes is None or file.base_id is not None for file in metadata.files
        ):
            return None
        size += sum(file.file_size_bytes or 0 for file in metadata.files)
        found += [f"data/{file.path}" for file in metadata.files]
        deleted = fragment.deletion_file()
        found += [deleted] if deleted else []
    return found if size <= MOST_BYTES else None


def _kept(file: Key, copy: Path) -> Path:
    """The copy of a file, made if it is not there or damaged; its time says when it was of use last."""
    checksum = _root() / "checksums" / copy.relative_to(_root())
    if file.bucket.near and _is_whole(copy, checksum):
        for one in (copy, checksum):
            with suppress(OSError):
                os.utime(one)
        return copy
    data = file.read_bytes()
    with _keeping(file, copy.parent):
        _root().mkdir(mode=0o700, parents=True, exist_ok=True)
        for one, what in ((copy, data), (checksum, hashlib.blake2b(data).digest())):
            one.parent.mkdir(parents=True, exist_ok=True)
            write_file(one, what)
    return copy


def _is_whole(copy: Path, checksum: Path) -> bool:
    """Whether a copy is there, and holds what was fetched."""
    try:
        with copy.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest() == checksum.read_bytes()
    except OSError:
        return False


@contextmanager
def _keeping(what: Key, folder: Path) -> Iterator[None]:
    """Trouble with keeping a copy, said as ours.

    Raises:
        PetrieveError: the disk is full, say.
    """
    try:
        yield
    except OSError as error:
        raise PetrieveError(
            f"cannot keep a copy of {what} in {folder}: {error.strerror}",
            "make room there, or set `XDG_CACHE_HOME` to another folder",
        ) from error


def _let_go() -> None:
    """Remove the copies of any store that were not of use for a week."""
    until = time.time() - UNUSED_SECONDS
    for file in _root().glob("**/*"):
        with suppress(OSError):
            if file.is_file() and file.stat().st_mtime < until:
                file.unlink()


def _root() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "petrieve"


def _folder(key: Key) -> Path:
    """Where copies of what lies below `key` are kept."""
    return _root() / _digest(str(key))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
