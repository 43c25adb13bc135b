"""What lies beside photos in archives, as WebDataset and img2dataset write it: `1.cls`, `1.txt`, `1.json` of `1.jpg`.

A photo's siblings are the files that are called as it is but for the last ending; or, as WebDataset's own rule has it,
as far as the first dot. `.cls` is the label. `.json` is an object: its `label` or `class` is the label where no `.cls`
says it, all else are columns. `.txt` is the label where nothing else says it and the texts are names of classes, which
they show by coming again; else it is the column `txt`.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from petrieve.extractor.sources.annotations.annotations import Annotations, Texts, annotations_of
from petrieve.extractor.sources.annotations.labels import COLUMN_NAMES
from petrieve.extractor.sources.entry_names import ending_of
from petrieve.store.errors import warn
from petrieve.store.photo import Photo

ENDINGS = frozenset({".cls", ".txt", ".json"})
MAX_FILE_BYTES = 1 << 20  # bytes of one file: captions and metadata have some hundred
MAX_ARCHIVE_BYTES = 1 << 30  # bytes of all of one archive: they are held until all photos are listed
MAX_LABEL_LENGTH = 60  # characters that the name of a class may have: ImageNet's longest common one has 31
MAX_COLUMNS = 256  # of an archive: an object whose keys are ids would make one for each


@dataclass
class Siblings:
    """The files beside the photos of one archive: gathered while it is listed, then given to its photos."""

    _held: dict[str, dict[str, bytes]] = field(default_factory=dict)  # by name without ending, then by ending
    _size: int = 0  # bytes that are held
    _bad: list[str] = field(default_factory=list)  # what is passed over and why, in words
    _texts: dict[str, dict[str, str | None]] = field(default_factory=dict)  # by path of a photo

    def room_for(self, uri: str, size: int) -> bool:
        """Whether a file of this name and size is to be added; if so, its room is taken."""
        if size > MAX_FILE_BYTES or self._size + size > MAX_ARCHIVE_BYTES:
            self.pass_over(uri, "it is too large")
            return False
        self._size += size
        return True

    def pass_over(self, uri: str, reason: str) -> None:
        """Note why a file says nothing."""
        self._bad.append(f"{uri}: {reason}")

    def add(self, uri: str, data: bytes) -> None:
        """Hold a file with one of ENDINGS."""
        ending = ending_of(uri)
        self._held.setdefault(uri[: -len(ending)], {})[ending] = data

    def settle(self, photos: Iterable[Photo], before: str, passed: Counter[str]) -> None:
        """Give the files to these photos, whose uris begin with `before`; files of no photo are passed over."""
        used = set[str]()
        for photo in photos:
            names = [name for name in names_beside(photo.uri[len(before) :]) if name in self._held]
            if names:
                used.update(names)
                files = {ending: (name, data) for name in names for ending, data in self._held[name].items()}
                self._texts[photo.path] = self._told(files)
        passed.update(ending for name in self._held.keys() - used for ending in self._held[name])
        self._held.clear()
        _settle_texts(self._texts.values())

    def annotations(self, source: str) -> Annotations | None:
        """The annotations of the photos that they were given to; None if there are none. Notes name bad files."""
        if self._bad:
            more = f", and {len(self._bad) - 1} more" if len(self._bad) > 1 else ""
            warn(f"{source} has annotations that are passed over: {self._bad[0]}{more}")
        return annotations_of(source, _within(source, self._texts)) if self._texts else None

    def _told(self, files: Mapping[str, tuple[str, bytes]]) -> dict[str, str | None]:
        """What the files beside a photo say of it, by column; `.txt` is a column still."""
        row: dict[str, str | None] = {}
        for ending, (name, data) in sorted(files.items()):  # first `.cls`
            try:
                text = data.decode("utf-8-sig").strip()
                told = _object(text) if ending == ".json" else {"label" if ending == ".cls" else "txt": text}
                if len(told.get("label") or "") > MAX_LABEL_LENGTH:
                    raise ValueError("no name of a class is so long")
                row = {**told, **row}
            except (ValueError, RecursionError) as error:
                self.pass_over(f"{name}{ending}", _reason(error))
        if row.get("txt") == row.get("caption"):  # img2dataset says it twice
            row.pop("txt", None)
        return row


def names_beside(uri: str) -> list[str]:
    """What the siblings of a photo may be called without their ending; the later goes before the earlier."""
    folder = uri.rfind("/") + 1
    first, last = uri.find(".", folder), uri.rfind(".", folder)
    return list(dict.fromkeys((uri[:first], uri[:last]))) if first >= 0 else [uri]


def _object(text: str) -> dict[str, str | None]:
    """The columns of a JSON object.

    Raises:
        ValueError: it is not a JSON object, or holds what is not text.
    """
    read = json.loads(text)
    if not isinstance(read, dict):
        raise ValueError("it is not a JSON object")
    told = {key: _cell(value) for key, value in read.items()}
    "".join([*told, *(value for value in told.values() if value)]).encode()  # half of a character is not text
    keys = [key for name in COLUMN_NAMES["label"] for key in told if key.casefold() == name]
    labels = [told.pop(key) for key in keys if not isinstance(read[key], list | dict)]
    return {**told, "label": labels[0]} if labels else told


def _cell(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return "it is not UTF-8"
    return f"it is not a JSON object ({error})" if isinstance(error, json.JSONDecodeError) else str(error)


def _settle_texts(rows: Iterable[dict[str, str | None]]) -> None:
    """Make the texts labels, where nothing else is one and they are names of classes."""
    every = list(rows)
    texts = [text for row in every if (text := row.get("txt"))]
    short = all(len(text) <= MAX_LABEL_LENGTH and "\n" not in text for text in texts)
    if short and 2 * len(set(texts)) <= len(texts) and not any(row.get("label") for row in every):
        for row in every:
            row["label"] = row.pop("txt", None)


def _within(source: str, texts: Mapping[str, Texts]) -> Mapping[str, Texts]:
    """The texts in MAX_COLUMNS at most."""
    names = list(dict.fromkeys(name for row in texts.values() for name in row))
    if len(names) <= MAX_COLUMNS:
        return texts
    warn(f"{source} has {len(names)} columns: those after the first {MAX_COLUMNS} are passed over")
    kept = {"label", *names[:MAX_COLUMNS]}
    return {path: {name: text for name, text in row.items() if name in kept} for path, row in texts.items()}
