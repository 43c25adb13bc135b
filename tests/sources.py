"""What stores that were made of other sources have in common with the store of the unpacked folder."""

from pathlib import Path
from typing import Any

from embedding import Run, again

from store.cache import Cache
from store.photo import path_of

Seen = tuple[bytes, bytes, str | None, str | None]  # digest, embedding's bits, label, split


def seen(store: Path, root: Path | str) -> dict[str, Seen]:
    """What a store has of each photo, by its path below a folder or a file."""
    found: dict[str, Seen] = {}
    for photos, embeddings in Cache.open(store).embeddings():
        for row, vector in zip(photos.to_pylist(), embeddings, strict=True):
            name = path_of(row["root"], row["uri"]).removeprefix(f"{root}/")
            assert name not in found, f"{name} has two rows"
            found[name] = (row["digest"], vector.tobytes(), row["label"], row["split"])
    return found


def embedded(run: Run, store: Path, source: Path | str) -> dict[str, Seen]:
    """What the store of a source has of each photo, by its path below the source."""
    again(run, store, source)
    return seen(store, source)


def pictures(folder: Path) -> list[dict[str, Any]]:
    """The photos of a folder as `datasets` keeps them in a column: bytes beside a path."""
    files = sorted(folder.rglob("*.*"))
    return [{"bytes": file.read_bytes(), "path": str(file.relative_to(folder))} for file in files]
