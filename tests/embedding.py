"""Runs of `embed`, and the store that they leave."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Done
from PIL import Image
from planting import whole
from reference import reference_trunk

from petrieve.store.cache import Cache

Run = Callable[..., Done]


COUNTS = ("found", "embedded", "cached", "copied", "unreadable", "missing")


def again(run: Run, store: Path | str, *words: object) -> dict[str, int]:
    """The counts of a run that did something, zeros left out."""
    done = run("embed", *words, "--store", store, "--json", "--weights", "bundled")
    assert done.status == 0, done.err
    return {key: done.json[key] for key in COUNTS if done.json[key]}


def vectors(store: Path) -> dict[str, np.ndarray]:
    """Embeddings by path."""
    return {path: one.embedding for path, one in whole(Cache.open(store)).items()}


def rows(store: Path) -> dict[str, Any]:
    """Photos by uri."""
    return {one.photo.uri: one.photo for one in whole(Cache.open(store)).values()}


def repaint(path: Path, colour: str) -> None:
    Image.new("RGB", (300, 260), colour).save(path)


NEW = ("--weights", "bundled", "--json", "--store")


def torture(quick: int, long: int) -> list[object]:
    """The rounds of a test: few in `make test`, many in `make torture`."""
    return [quick, pytest.param(long, marks=pytest.mark.torture)]


def listed(store: Path) -> dict[str, str]:
    """Reasons of the unreadable photos by path."""
    return {path: bad.reason for path, bad in Cache.open(store).unreadable().items()}


def state() -> dict[str, Any]:
    return {f"features.{name}": tensor for name, tensor in reference_trunk().state_dict().items()}


def told(run: Run, drawn: Path, store: Path, text: str | bytes, *words: object) -> Done:
    """A run on photos that are known, with a CSV of this text."""
    file = store.parent / "l.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
    return run("embed", drawn, "--store", store, "--labels", file, *words)


def column(store: Path, name: str) -> dict[str, Any]:
    """What photos have in a column of the user's own, by uri, those without it left out."""
    found = {uri: photo.columns.get(name) for uri, photo in rows(store).items()}
    return {uri: value for uri, value in found.items() if value is not None}


def uris(drawn: Path, count: int) -> list[str]:
    return [str(file.relative_to(drawn)) for file in sorted(drawn.rglob("*.*"))[:count]]
