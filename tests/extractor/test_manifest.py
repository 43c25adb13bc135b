"""Listed photos: given out in the parts that hold them, wherever they are, and found again in the store."""

import pickle
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sources import as_tar, as_zip, pictures, written

from petrieve.extractor.find import find_all, is_under, overlap, under_any
from petrieve.extractor.labelling import Annotator
from petrieve.extractor.manifest import Listed, Manifest
from petrieve.extractor.plan import plan
from petrieve.extractor.sources.folder import Files
from petrieve.store.cache import Cache
from petrieve.store.folder import Made, Store
from petrieve.store.known import known, nothing
from petrieve.store.marks import BASE, mark_of_text, marks_of_texts
from petrieve.store.photo import Photo
from petrieve.store.rows import row_of

FORMS: dict[str, Callable[[Path, Path], object]] = {
    "pets.zip": as_zip,
    "pets.tar": as_tar,
    "pets.tar.gz": as_tar,
    "pets.parquet": lambda folder, file: written(file, {"image": pictures(folder)}),
}


@pytest.mark.parametrize("form", ["", *FORMS, "pets.zip/cat", "pets.tar/cat"])
def test_a_part_that_was_sent_elsewhere_gives_what_was_asked_for_with_its_words(
    pets: Path, tmp_path: Path, form: str
) -> None:
    file = tmp_path / form.partition("/")[0] if form else pets
    if form:
        FORMS[file.name](pets, file)
    source = str(tmp_path / form) if form else str(pets)
    with closing(Manifest()) as manifest:
        found = find_all([source], manifest)
        made = plan(manifest, found, [source], nothing(), views=0, retry=False, keep_damaged=False)
        asked = [photo.path for photo in found[0].photos][1:3]
        annotate = Annotator(annotations={path: {"label": "lynx", "age": 3} for path in asked})
        work = [(pickle.loads(pickle.dumps(part)), photos) for part, photos in made.work(annotate)]
    photos = {one.path: one for _, some in work for one in some}
    read = [one for part, some in work for one in part.read({photo.uri for photo in some if photo.path in asked})]
    assert [photo.path for photo, _ in read] == asked
    assert all(photo == replace(photos[photo.path], size=len(data)) for photo, data in read)
    assert {(photo.label, photo.columns["age"]) for photo, _ in read} == {("lynx", 3)}


@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(0, 40), st.integers(0, 40))
def test_photos_are_read_from_any_place_to_any_other(lengths: list[int], first: int, end: int) -> None:
    every: list[Photo] = []
    with closing(Manifest()) as manifest:
        for length in lengths:
            photos = [Photo("/p", f"{len(every) + one}.jpg", one, -one, version=str(one)) for one in range(length)]
            manifest.add(Files(tuple(photos)))
            manifest.write()  # a slice each
            every += photos
        listed = Listed(manifest, 0, len(manifest))
        assert (list(listed[first:end]), len(listed)) == (every[first:end], len(every))


def test_paths_that_share_a_mark_are_told_apart(store: Path) -> None:
    there = known(Cache.open(store))
    paths = list(there)
    for path in (paths[0], paths[-1], "/somewhere/else.jpg"):
        # As if all had the mark of this one.
        same = replace(there, marks=np.full(len(there), mark_of_text(path)))
        expected = paths.index(path) if path in paths else -1
        assert same.places_of([path]).tolist() == [expected]
        assert (path in same) == (expected >= 0)
    assert there.places_of([*paths, "/somewhere/else.jpg"]).tolist() == [*range(len(paths)), -1]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_the_mark_of_a_text_is_the_same_wherever_it_stands(texts: list[str]) -> None:
    marks = marks_of_texts(pa.array(["before", *texts], pa.large_string())[1:])
    assert marks.tolist() == [
        sum(byte * pow(BASE, place, 2**64) for place, byte in enumerate(text.encode())) % 2**64 for text in texts
    ]
    assert marks.tolist() == [int(mark_of_text(text)) for text in texts]


ROOTS = ["/", "/p", "/p/it's", "/p/100%_", "/p/caf\uf7e9", "s3://b", "s3://b/p", "s3://b/p/"]
URIS = ["x.jpg", "x.jpg/y.jpg", "it's/x.jpg", "%_/x.jpg", "caf\uf7e9/ü.jpg", "d/", "d/e/x.jpg", "de/x.jpg"]


def test_what_lies_below_some_sources_is_known_by_itself(tmp_path: Path) -> None:
    made = Made("densenet121", "0" * 32, "bundled")
    cache = Cache.create(Store.at(tmp_path / "s"), made, dimension=1024)
    photos = {one.path: one for root in ROOTS for uri in URIS for one in [Photo(root, uri, 1, 2)]}
    cache.take_in({path: row_of(photo) for path, photo in photos.items()}, [], known(cache))
    there = known(cache)
    assert sorted(there) == sorted(photos)
    places = {path[:end] for path in photos for end in range(1, 1 + len(path)) if path[end : end + 1] in "/"}
    for source in places - {"s3:", "s3:/"}:
        below = known(cache, [source])
        expected = [path for path in there if is_under(path, source.rstrip("/"))]
        assert list(below) == expected
        assert [path for path in there if below.asked_for(path)] == expected
        assert [below.row(path) for path in expected] == [there.row(path) for path in expected]
    assert set(known(cache, ["/p/it's", "s3://b/p/d"])) == {
        path for path in there if is_under(path, "/p/it's") or is_under(path, "s3://b/p/d")
    }


NAMES = st.lists(st.sampled_from(["a", "b", "ab", "ü"]), max_size=3)
PLACES = st.builds(lambda top, names: top + "/".join(names), st.sampled_from(["/", "s3://b/"]), NAMES)


@given(st.lists(PLACES.map(lambda one: one.rstrip("/") or "/"), min_size=1, max_size=3), PLACES)
def test_what_lies_in_many_sources_is_what_lies_in_one_of_them(sources: list[str], path: str) -> None:
    for one in (path, f"{path}/"):
        if not one.endswith("//") and one not in ("/", "s3://b/"):
            assert under_any(sources)(one) == any(is_under(one, source) for source in sources)
    pairs = [(one, two) for place, one in enumerate(sources) for two in sources[:place] + sources[place + 1 :]]
    assert overlap(sources) == any(is_under(one, two) for one, two in pairs)
