"""What the user's own CSV says of photos: label, split and further columns."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from petrieve.extractor.sources.annotations.names import SPLITS
from petrieve.extractor.sources.annotations.sheets import cell_text, check_text, read_sheet, table_of
from petrieve.extractor.sources.annotations.spellings import Photos, photos_meant
from petrieve.store.columns import carried, typed
from petrieve.store.errors import PetrieveError, listed, warn
from petrieve.store.known import Known
from petrieve.store.photo import path_of
from petrieve.store.rows import RESERVED, by_hand

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# The names of columns, in any case; those after our own word count where that is missing.
COLUMN_NAMES = {
    "photo": ("photo", "path", "file", "filepath", "file_name", "filename", "image", "image_path"),
    "label": ("label", "class", "ground_truth", "choice"),
    "split": ("split",),
}
# Columns that `predict --csv` and `audit --csv` write beside photo and label; p(cat) and the like too.
HEAD_COLUMNS = {"probability", "error", "unsure", "unfamiliar"}, {"suggested", "reason", "score"}
ROOT = "root"  # of `predict --csv`
SHARE = re.compile(r"p\(.*\)")
TASKS = {"annotation_id", "annotator"}  # of Label Studio's exports
COLUMN = re.compile(r"[^\W\d_][\w -]*")  # Lance keeps names with a first _ to itself


@dataclass(frozen=True)
class Labels:
    """The rows of a labels CSV by photo, as it is named there."""

    file: str
    rows: dict[str, dict[str, Any]]
    columns: "pa.Schema"  # the user's own, beyond label and split

    def into(self, columns: "pa.Schema") -> "Labels":
        """The same, in wider columns."""
        rows = carried(self.rows.values(), self.columns, columns)
        return replace(self, rows=dict(zip(self.rows, rows, strict=True)), columns=columns)

    def by_path(self, photos: Photos, known: Known, seen: "np.ndarray") -> dict[str, dict[str, Any]]:
        """The CSV's rows by path, for photos that are found and that the store knows; a note names the rest.

        `seen` (bool, of all photos that the store knows) marks those that are found.

        Raises:
            PetrieveError: a name stands for two photos, two names for one, or no name for any.
        """
        meant = photos_meant(self.file, self.rows, photos, known)
        places = dict(zip(meant, known.places_of(list(meant.values())).tolist(), strict=True))
        absent = [name for name in self.rows if name not in meant or (places[name] >= 0 and not seen[places[name]])]
        if absent:
            what = f"{self.file} names {len(absent)} photo(s) that the source does not hold, first {min(absent)!r}"
            if not meant:
                raise PetrieveError(
                    what, "write each as its path from the source, or from where you stand; or remove the row"
                )
            warn(what)
        return {path: by_hand(self.rows[name]) for name, path in meant.items()}


def read_labels(file: str | os.PathLike[str], *, photo: str | None = None, label: str | None = None) -> Labels:
    """The labels in a CSV: `label`, `split` and any other columns, each a number, a date … where all its values are.

    `photo` and `label` name the columns of path and label; by default COLUMN_NAMES finds them.

    Raises:
        PetrieveError: no such file, not a CSV, no column of the photo or several, a photo twice, a column that cannot
            be stored, an unknown split.
    """
    source = str(file)
    header, table = table_of(source, read_sheet(source), COLUMN_NAMES["photo"] if photo is None else [photo.casefold()])
    is_the_pages = os.path.exists(os.path.join(os.path.dirname(source), "store.json"))  # it has what was noted, no more
    places = (_place(source, header, word, label if word == "label" else None) for word in ("label", "split"))
    if not is_the_pages and all(place is None for place in places):
        what = f"{source} has no column `label`, so photos are labelled as without it"
        warn(f"{what}; `label_column=…` says which column it is")
    return labels_of(source, header, table, photo=photo, label=label)


def labels_of(
    source: str,
    header: Sequence[str],
    table: Sequence[Sequence[str]],
    *,
    photo: str | None = None,
    label: str | None = None,
) -> Labels:
    """The labels in a table with this header, as by `read_labels`.

    Raises:
        PetrieveError: as there.
    """
    import pyarrow as pa

    names = _names(source, header, {"photo": photo, "label": label})
    cells = {name: [row[place] for row in table] for place, name in enumerate(names) if name}
    photos = cells.pop("photo")
    if ROOT in head_columns(header):  # `predict` names the photos below it
        roots = [row[header.index(ROOT)] for row in table]
        photos = [_below(*place) for place in zip(roots, photos, strict=True)]
    columns, values = list[pa.Field](), dict[str, list[Any]]()
    for name, column in cells.items():
        check_text(source, column)
        words = [cell_text(cell) or None for cell in column]
        if name in COLUMN_NAMES:
            values[name] = words if name == "label" else [_split(source, word) for word in words]
            continue
        field, held = typed(name, words)
        if field is not None:  # without a single value it has no type yet
            columns.append(field)
            values[name] = held
    told = zip(*values.values(), strict=True) if values else (() for _ in photos)
    rows = [dict(zip(values, row, strict=True)) for row in told]
    return Labels(source, _by_photo(source, photos, rows, header), pa.schema(columns))


def check_columns(file: str, names: Sequence[str]) -> None:
    """Refuse columns that cannot be stored.

    Raises:
        PetrieveError: a name is the cache's own, not a word, or there twice.
    """
    for position, name in enumerate(names):
        if name in RESERVED or not COLUMN.fullmatch(name) or name in names[:position]:
            raise PetrieveError(f"{file} has a column {name!r} that cannot be stored", "rename or remove it")


def _names(file: str, header: Sequence[str], chosen: Mapping[str, str | None]) -> list[str | None]:
    """What each column is kept as: `photo`, `label`, `split`, its own name, or nothing."""
    places = {word: _place(file, header, word, chosen.get(word)) for word in COLUMN_NAMES}
    if places["photo"] is None:
        raise PetrieveError(
            f"{file} has no column `photo`, only {listed(header, 10)}",
            "name the column that holds each photo's path `photo`, or say which it is with `photo_column=…`",
        )
    if places["photo"] == places["label"]:
        raise PetrieveError(f"{file} cannot have photo and label in one column", "name two")
    over = head_columns(header) | {name for name in header if name.casefold() in COLUMN_NAMES}
    of_place = {place: word for word, place in places.items()}
    names = [of_place.get(place, None if name in over else name) for place, name in enumerate(header)]
    if left := [name for name, kept in zip(header, names, strict=True) if kept is None]:
        warn(f"{file} has columns that are passed over: {listed(left, 10)}")
    check_columns(file, [name for name in names if name is not None])
    return names


def _place(file: str, header: Sequence[str], word: str, chosen: str | None) -> int | None:
    """The place of the column that one of our words means."""
    own, *others = COLUMN_NAMES[word]
    for names in ([chosen],) if chosen else ([own], others):
        found = [place for place, name in enumerate(header) if (name if chosen else name.casefold()) in names]
        if len(found) > 1:
            ask = f", or say which it is with `{word}_column=…`" if others else ""
            raise PetrieveError(
                f"{file} has the columns {' and '.join(header[place] for place in found)}: each may be the {word}",
                f"rename the others{ask}",
            )
        if found:
            return found[0]
    if chosen:
        raise PetrieveError(f"{file} has no column {chosen!r}, only {listed(header, 10)}", "name one of these")
    return None


def head_columns(header: Sequence[str]) -> set[str]:
    """The columns of a head's results, if one of our commands has written this header."""
    shares = {name for name in header if SHARE.fullmatch(name)}
    told, audited = HEAD_COLUMNS
    found = {name for some in (told, audited) if some <= set(header) for name in some}
    found |= {ROOT} & set(header) if told <= set(header) else set()
    return found | shares | (told if shares else set())


def _below(root: str, photo: str) -> str:
    """A photo's path below a root; as it is, if a user has added the row without a root."""
    if not root or not photo.strip() or os.path.isabs(photo):
        return photo
    return path_of(root, photo.removeprefix("./"))


def _split(file: str, word: str | None) -> str | None:
    if word and word.lower() not in SPLITS:
        raise PetrieveError(f"{file} has a split {word!r}", "write train, val or test, or nothing")
    return SPLITS[word.lower()] if word else None


def _by_photo(
    file: str, photos: Sequence[str], rows: Sequence[dict[str, Any]], header: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The rows by photo; a row without a label says nothing if a tool has written it."""
    by_tool = bool(head_columns(header)) or set(header) >= TASKS
    found: dict[str, dict[str, Any]] = {}
    for photo, row in zip(photos, rows, strict=True):
        if not photo.strip():
            raise PetrieveError(f"{file} has a row without a photo", "write its path, or remove the row")
        if photo in found:
            raise PetrieveError(f"{file} names {photo!r} twice", "keep one row for each photo")
        if by_tool and str(row.get("label")).startswith('{"choices"'):
            raise PetrieveError(f"{file} gives {photo!r} several labels", "keep one")
        if not by_tool or row.get("label"):  # a photo that could not be read, a task that was skipped
            found[photo] = row
    return found
