"""What the columns of a table of photos are: photos, their names and their annotations."""

import base64
import binascii
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from petrieve.extractor.sources.annotations.annotations import Annotations, annotations_in, has_room
from petrieve.extractor.sources.annotations.labels import COLUMN_NAMES as NAMED
from petrieve.extractor.sources.formats import is_photo
from petrieve.extractor.sources.tables.texts import is_text, is_whole, is_word, texts_of
from petrieve.store.errors import Undecodable, listed, warn
from petrieve.store.photo import as_text

if TYPE_CHECKING:
    import pyarrow as pa

HEAD = 64  # bytes of a photo, which tell that it is one
PICTURES = ("image", "img", "photo", "picture")  # columns of texts in which photos are looked for
IDS = ("image_id", "id", "key", "__key__")  # columns that name photos where nothing has their path
LABELS = (*NAMED["label"], "labels")
LONG_TEXT = 4096  # characters, from which on a text is more than words
MAX_QUOTED = 200  # characters of a text in a reason
MAX_NAMED = 10  # columns that a line names
Column = Callable[[str], "pa.ChunkedArray"]  # the values of a column, or of a field in it: `image.path`
Peek = Callable[[str], "Sequence[pa.Scalar]"]  # some of the first values of a column that are not null


@dataclass(frozen=True)
class Layout:
    """What the columns of a table are, by their names."""

    photo: str | None = None  # None where none holds photos
    names: Sequence[str] = ()  # in which names of the photos may stand, the best first
    label: str | None = None
    split: str | None = None
    own: Sequence[str] = ()  # the user's own
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)  # what numbers stand for, by column
    notes: Sequence[str] = ()  # notes about the table
    instead: str = ""  # what its rows are where none has a photo


def layout(schema: "pa.Schema", peek: Peek) -> Layout:
    """What the columns of a table with this schema are."""
    features = _features(schema)
    types = {name: schema.field(name).type for name, count in Counter(schema.names).items() if count == 1}
    photos = list(_photos(types, features, peek))
    if not photos:
        several = [name for name, kind in types.items() if _holds_several(kind, features.get(name))]
        return Layout(
            instead=f"rows with several photos each in {several[0]}"
            if several
            else f"rows of {listed([*types], MAX_NAMED)}"
        )
    words = [
        name for name, kind in types.items() if name != photos[0] and is_word(kind) and _is_short(kind, name, peek)
    ]
    classes = {name: found for name in words if is_whole(types[name]) and (found := _classes(features.get(name)))}
    label = _called(words, LABELS) or next(iter(classes), None)
    split = _called(words, NAMED["split"])
    own = _own(words, {label, split})
    over = [name for name in schema.names if name not in (*photos, label, split, *own)]
    return Layout(
        photo=photos[0],
        names=list(_names(photos[0], types, words)),
        label=label,
        split=split,
        own=own,
        classes=classes,
        notes=[
            *([f"has photos in {listed(photos, MAX_NAMED)}: those in {photos[0]} are taken"] if photos[1:] else []),
            *([f"has columns that are passed over: {listed(over, MAX_NAMED)}"] if over else []),
        ],
    )


def name_column(made: Layout, column: Column) -> tuple[str | None, list[str] | None]:
    """The column that names photos, and the names; None if no column has a name of its own for each.

    A name becomes a part of a path, and must not lead elsewhere.
    """
    for name in made.names:
        texts = texts_of(column(name))
        if len(set(texts)) == len(texts) and all(text and _is_name(text) for text in texts):
            return name, [as_text(text) for text in texts if text]
    return None, None


def column_annotations(source: str, made: Layout, by: str | None, paths: Sequence[str], column: Column) -> Annotations:
    """The annotations in a table of its photos, which have these paths, row by row; column `by` names them.

    Notes say which columns are passed over.
    """
    chosen = {"label": made.label, "split": made.split}
    chosen |= {name: name for name in made.own if name != by or by.casefold() in IDS}
    unread: list[str] = []

    def texts() -> Iterator[tuple[str, list[str | None]]]:
        for ours, theirs in chosen.items():
            if theirs:
                values = column(theirs)
                if len(values) != len(paths):
                    raise Undecodable(f"{theirs} has {len(values)} of {len(paths)} rows")
                try:
                    found = texts_of(values, made.classes.get(theirs, ()))
                except (ValueError, OverflowError):
                    unread.append(theirs)
                else:
                    yield ours, found

    words = annotations_in(paths, texts())
    notes = [*made.notes, *([f"has columns with invalid dates: {listed(unread, MAX_NAMED)}"] if unread else [])]
    for note in notes:
        warn(f"{source} {note}")
    return words


def photo_in(value: "pa.Scalar") -> bytes:
    """The bytes of the photo that a value of a column holds: as they are, in a list of numbers, or in base64.

    Raises:
        Undecodable: it holds none.
    """
    import pyarrow as pa
    import pyarrow.types as types

    if not value.is_valid:
        raise Undecodable("its row holds no photo")
    if types.is_struct(value.type):
        inner, path = (value[name] if _has(value.type, name) else None for name in ("bytes", "path"))
        if path is not None and path.is_valid and not (inner is not None and inner.is_valid):
            raise Undecodable(f"its row holds only a path, and not the photo: {str(path)[:MAX_QUOTED]!r}")
        return photo_in(pa.scalar(None) if inner is None else inner)
    if is_text(value.type):
        return _in_text(value.as_py())
    if _is_bytes_in_list(value.type):
        if value.values.null_count:
            raise Undecodable("its row holds a list with gaps, and no photo")
        return bytes(value.values.to_numpy().tobytes())
    if _is_bytes(value.type):
        return bytes(value.as_py())
    raise Undecodable(f"its row holds no photo, but {value.type}")


def _is_name(text: str) -> bool:
    return "\0" not in text and not {"", ".", ".."}.intersection(text.split("/"))


def _in_text(text: str) -> bytes:
    """The photo in a base64 text, with or without a web page's prefix `data:`."""
    try:
        data = base64.b64decode(text.partition(";base64,")[2] or text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not is_photo(data[:HEAD]):
        raise Undecodable(f"its row holds a text and no photo: {text[:MAX_QUOTED]!r}")
    return data


def _photos(types: "Mapping[str, pa.DataType]", features: Mapping[str, Any], peek: Peek) -> Iterator[str]:
    """The columns of photos: those declared as such, else those of a photo's type, else those that have photos."""
    told = [name for name in types if _kind(features.get(name)) == "Image"]
    pairs = [name for name, kind in types.items() if _has(kind, "bytes") and _has(kind, "path")]
    if told or pairs:
        yield from told or pairs
        return
    found = False
    for name, kind in types.items():
        if (_is_bytes(kind) or _is_bytes_in_list(kind)) and any(map(_begins_as_photo, peek(name))):
            found = True
            yield name
    if not found:
        yield from (name for name, kind in types.items() if is_text(kind) and name.casefold() in PICTURES)


def _is_short(kind: "pa.DataType", name: str, peek: Peek) -> bool:
    return not is_text(kind) or all(len(value.as_py()) <= LONG_TEXT for value in peek(name))


def _begins_as_photo(value: "pa.Scalar") -> bool:
    try:
        return is_photo(photo_in(value)[:HEAD])
    except Undecodable:
        return False


def _names(photo: str, types: "Mapping[str, pa.DataType]", words: Sequence[str]) -> Iterator[str]:
    """Where names of the photos may stand: beside their bytes, in a column of paths, in one of ids."""
    if _has(types[photo], "path"):
        yield f"{photo}.path"
    for word in (*NAMED["photo"], *IDS):
        for name in words:
            kind = types[name]
            if name.casefold() == word and (is_text(kind) or (word in IDS and is_whole(kind))):
                yield name


def _called(names: Sequence[str], words: Sequence[str]) -> str | None:
    """The name that is the first found of these words, in any case."""
    return next((name for word in words for name in names if name.casefold() == word), None)


def _own(words: Sequence[str], taken: set[str | None]) -> list[str]:
    """Columns that a store has room for, each name in one case."""
    own: dict[str, str] = {}
    for name in words:
        if (
            name not in taken
            and name.casefold() not in ("label", "split")
            and has_room(name)
            and has_room(name.lower())
        ):
            own.setdefault(name.casefold(), name)
    return list(own.values())


def _features(schema: "pa.Schema") -> Mapping[str, Any]:
    """What Hugging Face's `datasets` says of columns, in the schema's metadata."""
    try:
        told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _kind(feature: object) -> str | None:
    return feature.get("_type") if isinstance(feature, dict) else None


def _classes(feature: Any) -> list[str]:
    """The words that the numbers of a column stand for."""
    names = feature.get("names") if _kind(feature) == "ClassLabel" else None
    return [str(name) for name in names] if isinstance(names, list) else []


def _holds_several(kind: "pa.DataType", feature: Any) -> bool:
    """Whether each value is a list of photos."""
    import pyarrow.types as types

    if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
        return False
    inner = feature[0] if isinstance(feature, list) and feature else feature
    inner = inner.get("feature") if isinstance(inner, dict) and "feature" in inner else inner
    return _kind(inner) == "Image" or _is_bytes(kind.value_type) or _has(kind.value_type, "bytes")


def _has(kind: "pa.DataType", name: str) -> bool:
    import pyarrow.types as types

    return bool(types.is_struct(kind)) and kind.get_field_index(name) >= 0


def _is_bytes(kind: "pa.DataType") -> bool:
    import pyarrow.types as types

    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def _is_bytes_in_list(kind: "pa.DataType") -> bool:
    import pyarrow.types as types

    lists = types.is_list(kind) or types.is_large_list(kind)
    return bool(lists) and bool(types.is_uint8(kind.value_type) or types.is_int8(kind.value_type))
