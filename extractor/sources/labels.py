"""What a photo's name, its folders and the user's own CSV say of it: label, split and further columns."""

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from extractor.sources.names import SPLITS
from store.errors import PetrieveError, first_line
from store.rows import RESERVED, by_hand

if TYPE_CHECKING:
    import pyarrow as pa

    from store.photo import Photo

_COLUMN = re.compile(r"[^\W\d_][\w -]*")  # Lance keeps names with a first _ to itself


@dataclass(frozen=True)
class Labels:
    """The rows of a labels CSV by photo (a uri, or an absolute path)."""

    file: str
    rows: dict[str, dict[str, Any]]
    columns: "pa.Schema"  # the user's own, beyond label and split

    def of(self, photo: "Photo") -> dict[str, Any]:
        """What the CSV says of a photo, by column; nothing if it does not name it."""
        return self.rows.get(photo.uri) or self.rows.get(photo.path) or {}

    def apply(self, photos: Mapping[str, "Photo"]) -> dict[str, "Photo"]:
        """The same photos (by path) with what the CSV says of them.

        Raises:
            PetrieveError: the CSV names photos that are not among them.
        """
        names = Counter(name for path, photo in photos.items() for name in (photo.uri, path) if name in self.rows)
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise PetrieveError(
                f"{self.file} names {twice[0]!r}, which more than one source holds", "write its absolute path"
            )
        unknown = set(self.rows) - set(names)
        if unknown:
            raise PetrieveError(
                f"{self.file} names {len(unknown)} photo(s) that the source does not hold, first {min(unknown)!r}",
                "write each as its path relative to the source, or remove the row",
            )
        return {path: self._applied(photo) for path, photo in photos.items()}

    def _applied(self, photo: "Photo") -> "Photo":
        own = dict(self.of(photo))
        label, split = own.pop("label", photo.label), own.pop("split", photo.split)
        return replace(photo, label=label, split=split, columns=own)


def read_labels(file: str | os.PathLike[str]) -> Labels:
    """The labels in a CSV with a column `photo`; `label`, `split` and any others, typed by their content.

    Raises:
        PetrieveError: no such file, no CSV, no column `photo`, a photo twice, a column that is the cache's own.
    """
    import pyarrow as pa
    from pyarrow import csv

    text = {name: pa.string() for name in ("photo", "label", "split")}
    options = csv.ConvertOptions(column_types=text, strings_can_be_null=True, null_values=[""])
    try:
        table = csv.read_csv(file, convert_options=options)
        names = table.column_names
    except (OSError, ValueError) as error:  # Arrow's errors and those of decoding are ValueErrors
        raise PetrieveError(
            f"cannot read labels from {file}: {first_line(error)}",
            "give a CSV in UTF-8 with commas, a header and a column `photo`",
        ) from error
    if "photo" not in names:
        raise PetrieveError(
            f"{file} has no column `photo`, only {', '.join(names)}",
            "name the column that holds each photo's path `photo`, and separate columns by commas",
        )
    check_columns(str(file), names)
    # A column without a single value has no type yet.
    own = [column for column in table.schema if column.name not in text and not pa.types.is_null(column.type)]
    table = table.select([name for name in names if name in text] + [column.name for column in own])
    rows: dict[str, dict[str, Any]] = {}
    for row in table.to_pylist():
        if row["photo"] is None:
            raise PetrieveError(f"{file} has a row without a photo", "write its path, or remove the row")
        photo = os.path.normpath(row.pop("photo"))
        if photo in rows:
            raise PetrieveError(f"{file} names {photo!r} twice", "keep one row for each photo")
        if row.get("split"):
            row["split"] = SPLITS.get(row["split"].lower(), row["split"])
        rows[photo] = by_hand(row)
    return Labels(str(file), rows, pa.schema(own))


def check_columns(file: str, names: list[str]) -> None:
    """Refuse columns that cannot be stored.

    Raises:
        PetrieveError: a name is the cache's own, no word, or there twice.
    """
    for position, name in enumerate(names):
        if name in RESERVED or not _COLUMN.fullmatch(name) or name in names[:position]:
            raise PetrieveError(f"{file} has a column {name!r} that cannot be stored", "rename or remove it")
