"""Units of work: what they hold is what was cut, however it is cut and sent."""

import zipfile
from datetime import date
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from petrieve.extractor.engines.units import Unit, cut, halves
from petrieve.extractor.sources.folder import Files
from petrieve.extractor.sources.places import source_at
from petrieve.store.photo import Photo, in_columns
from petrieve.store.rows import annotated

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
WORDS = st.dictionaries(TEXT, st.one_of(TEXT, st.integers(), st.just(date(2020, 1, 1)), st.none()), max_size=2)
PHOTO = st.builds(
    Photo,
    root=TEXT,
    uri=TEXT,
    size=st.integers(-1, 1 << 40),
    modified=st.integers(0, 1 << 60),
    label=st.none() | TEXT,
    split=st.none() | TEXT,
    columns=WORDS,
    version=st.none() | TEXT,
)


@settings(deadline=None)
@given(st.lists(PHOTO, max_size=8))
def test_photos_come_out_of_columns_as_they_went_in(photos: list[Photo]) -> None:
    assert in_columns(photos).photos() == photos


def content(units: list[Unit]) -> list[Photo]:
    for unit in units:
        assert all(part.photos == photos for part, photos in unit.pieces)
        assert [photo for _, photos in unit.pieces for photo in photos] == unit.photos
    return [photo for unit in units for photo in unit.photos]


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 12))
def test_a_photo_is_in_one_unit_of_the_size_that_was_asked_for(counts: list[int], size: int) -> None:
    pieces = [
        (Files(photos), photos)
        for source, count in enumerate(counts)
        for photos in [tuple(Photo("/r", f"{source}/{number}", 1, 2, "cat") for number in range(count))]
    ]
    every = [photo for _, photos in pieces for photo in photos]
    known = frozenset(photo.path for photo in every[::2])
    units = list(cut(pieces, known.intersection, lambda: size))
    assert content(units) == every
    assert {path for unit in units for path in unit.known} == known
    assert [len(unit) for unit in units[:-1]] == [size] * len(units[:-1])
    for unit in units:
        if len(unit) > 1:
            assert content(list(halves(unit))) == content([unit])


def test_what_is_read_of_a_folder_in_a_zip_says_what_is_said_of_the_photo(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as made:
        made.writestr("a/b/one.jpg", b"\xff\xd8\xff one")
    (part,) = source_at(str(tmp_path / "some.zip/a")).parts()
    photo = annotated(part.photos[0], {"label": "cat", "breed": "Manx"})
    (unit,) = cut([(part, [photo])], frozenset().intersection, lambda: 8)
    ((sent, _),) = unit.pieces
    assert list(sent.read({photo.uri})) == [(photo, b"\xff\xd8\xff one")]
