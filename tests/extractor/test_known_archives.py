"""An archive that has not changed is not opened again: the store knows what it holds."""

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from embedding import Run, again, listed
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageStat
from sources import as_tar, as_zip, pictures, seen

from petrieve.extractor.sources.blob import blob_at
from petrieve.extractor.sources.unchanged import Listings, UnchangedArchive
from petrieve.store.cache import Cache
from petrieve.store.folder import Store
from petrieve.store.known import known
from petrieve.store.listings import read_listings
from petrieve.store.rows import microseconds

OLD = 1_760_000_000  # seconds: long enough ago that a change must show


def packed(folder: Path, file: Path, *, time: int = OLD) -> Path:
    """A zip of a folder, last changed a while ago."""
    as_zip(folder, file)
    os.utime(file, (time, time))
    return file


def blank(file: Path) -> None:
    """The file has other bytes with the same size and time: opened, it would not be a zip."""
    time, size = file.stat().st_mtime_ns, file.stat().st_size
    file.write_bytes(bytes(size))
    os.utime(file, ns=(time, time))


@pytest.fixture
def pets_zip(pets: Path, tmp_path: Path) -> Path:
    """A zip of three cats and three dogs."""
    return packed(pets, tmp_path / "pets.zip")


def test_an_unchanged_archive_is_not_opened(run: Run, pets_zip: Path, tmp_path: Path) -> None:
    store = tmp_path / "s"
    again(run, store, pets_zip)
    before = seen(store, pets_zip)
    blank(pets_zip)
    assert again(run, store, pets_zip) == {"found": 6, "cached": 6}
    assert again(run, store, pets_zip / "cat") == {"found": 3, "cached": 3}
    assert again(run, store, pets_zip, "--prune") == {"found": 6, "cached": 6}
    assert seen(store, pets_zip) == before


def as_parquet(folder: Path, file: Path) -> None:
    pq.write_table(pa.table({"image": pictures(folder)}), file)


@pytest.mark.parametrize(
    ("name", "pack"), [("pets.tar", as_tar), ("pets.tar.gz", as_tar), ("pets.parquet", as_parquet)]
)
def test_an_unchanged_archive_of_each_kind_is_not_opened_and_read_where_it_must_be(
    run: Run, pets: Path, tmp_path: Path, name: str, pack: Callable[[Path, Path], None]
) -> None:
    store, file = tmp_path / "s", tmp_path / name
    (pets / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    pack(pets, file)
    os.utime(file, (OLD, OLD))
    assert again(run, store, file) == {"found": 7, "embedded": 6, "unreadable": 1}
    data, before = file.read_bytes(), seen(store, file)
    blank(file)
    assert again(run, store, file) == {"found": 7, "cached": 6, "unreadable": 1}
    file.write_bytes(data)
    os.utime(file, (OLD, OLD))
    assert again(run, store, file, "--retry", "--views", 1) == {"found": 7, "embedded": 6, "unreadable": 1}
    assert seen(store, file) == before


def test_what_was_passed_over_is_told_again(run: Run, pets: Path, tmp_path: Path) -> None:
    (pets / "notes.txt").write_text("no photo")
    pets_zip = packed(pets, tmp_path / "pets.zip")
    for _ in range(2):
        done = run("embed", pets_zip, "--store", tmp_path / "s", "--weights", "bundled", "--json")
        assert done.json["sources"][str(pets_zip)]["passed_over"] == {".txt": 1}


def test_archives_are_known_from_the_folder_above_and_in_a_folder_of_archives(
    run: Run, pets: Path, tmp_path: Path
) -> None:
    shards, store = tmp_path / "shards", tmp_path / "s"
    shards.mkdir()
    files = [packed(pets / kind, shards / f"{number:05}.zip") for number, kind in enumerate(("cat", "dog"))]
    again(run, store, files[0])
    again(run, store, shards)
    for file in files:
        time = file.stat().st_mtime_ns
        file.write_bytes(file.read_bytes()[:4].ljust(file.stat().st_size, b"\0"))  # what a folder looks at
        os.utime(file, ns=(time, time))
    for source in (shards, files[0], shards / "{00000..00001}.zip", shards):
        assert "embedded" not in again(run, store, source)


def test_an_archive_that_has_changed_is_listed(run: Run, pets: Path, pets_zip: Path, tmp_path: Path) -> None:
    store = tmp_path / "s"
    again(run, store, pets_zip)
    next((pets / "cat").iterdir()).unlink()
    packed(pets, pets_zip, time=OLD + 1)
    counts = again(run, store, pets_zip, "--prune")
    assert (counts["found"], counts["missing"]) == (5, 1)
    blank(pets_zip)
    assert again(run, store, pets_zip) == {"found": 5, "cached": 5}


def test_an_archive_that_comes_back_as_it_was_is_what_it_was(
    run: Run, pets: Path, pets_zip: Path, tmp_path: Path
) -> None:
    store = tmp_path / "s"
    again(run, store, pets_zip)
    before, kept = seen(store, pets_zip), pets_zip.read_bytes()
    first, second, *_ = sorted((pets / "cat").iterdir())
    shutil.copy(second, first)
    packed(pets, pets_zip, time=OLD + 1)
    again(run, store, pets_zip)
    assert seen(store, pets_zip) != before
    pets_zip.write_bytes(kept)
    os.utime(pets_zip, (OLD, OLD))
    again(run, store, pets_zip)
    assert seen(store, pets_zip) == before


def test_an_archive_that_has_just_been_written_is_listed_again(run: Run, pets: Path, tmp_path: Path) -> None:
    store, pets_zip = tmp_path / "s", tmp_path / "pets.zip"
    packed(pets, pets_zip)
    os.utime(pets_zip)
    again(run, store, pets_zip)
    assert read_listings(Store(store)) == {}
    os.utime(pets_zip, (OLD, OLD))
    again(run, store, pets_zip)
    assert list(read_listings(Store(store))) == [str(pets_zip)]


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_text("{")])
def test_a_list_that_is_lost_is_made_again(
    run: Run, pets_zip: Path, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    store = tmp_path / "s"
    again(run, store, pets_zip)
    damage(store / "archives.json")
    assert again(run, store, pets_zip) == {"found": 6, "cached": 6}
    blank(pets_zip)
    assert again(run, store, pets_zip) == {"found": 6, "cached": 6}


def test_a_list_of_which_a_letter_has_changed_is_not_believed(run: Run, pets_zip: Path, tmp_path: Path) -> None:
    store = tmp_path / "s"
    again(run, store, pets_zip)
    file = store / "archives.json"
    file.write_text(file.read_text().replace('"photos": 6', '"photos": 5'))
    assert read_listings(Store(store)) == {}


def test_more_views_and_another_trunk_read_a_known_archive(
    run: Run, pets: Path, pets_zip: Path, tmp_path: Path
) -> None:
    store, beside = tmp_path / "s", tmp_path / "b"
    again(run, store, pets_zip)
    assert again(run, store, pets_zip, "--views", 1) == {"found": 6, "embedded": 6}
    again(run, beside, pets, "--views", 1)
    assert seen(store, pets_zip) == seen(beside, pets)


def test_labels_reach_photos_of_a_known_archive(run: Run, pets_zip: Path, tmp_path: Path) -> None:
    store = tmp_path / "s"
    again(run, store, pets_zip)
    blank(pets_zip)
    name = min(seen(store, pets_zip))
    (tmp_path / "l.csv").write_text(f"photo,label\npets.zip/{name},tiger\n")
    again(run, store, pets_zip, "--labels", tmp_path / "l.csv")
    assert seen(store, pets_zip)[name][2] == "tiger"
    again(run, store, pets_zip, "--label-level", -1)
    assert {one[2] for one in seen(store, pets_zip).values()} == {"cat", "dog", "tiger"}


def test_an_unreadable_photo_of_a_known_archive_is_tried_again_when_asked(run: Run, pets: Path, tmp_path: Path) -> None:
    store = tmp_path / "s"
    (pets / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    pets_zip = packed(pets, tmp_path / "pets.zip")
    assert again(run, store, pets_zip) == {"found": 7, "embedded": 6, "unreadable": 1}
    reason = listed(store)[f"{pets_zip}/cat/broken.jpg"]
    assert again(run, store, pets_zip, "--retry") == {"found": 7, "cached": 6, "unreadable": 1}
    assert listed(store)[f"{pets_zip}/cat/broken.jpg"] == reason
    blank(pets_zip)
    assert again(run, store, pets_zip) == {"found": 7, "cached": 6, "unreadable": 1}


def test_names_in_another_encoding_are_listed_anew(run: Run, pets: Path, tmp_path: Path) -> None:
    store, file = tmp_path / "s", tmp_path / "pets.zip"
    first = next((pets / "cat").iterdir())
    first.rename(first.with_name("ab.png"))
    packed(pets, file)
    file.write_bytes(file.read_bytes().replace(b"cat/ab.png", b"cat/\x8e\x8e.png"))
    os.utime(file, (OLD, OLD))
    again(run, store, file, "--zip-encoding", "cp437")
    assert "cat/ÄÄ.png" in seen(store, file)
    assert again(run, store, file, "--zip-encoding", "shift-jis")["missing"] == 1
    assert "cat/試.png" in seen(store, file)


def test_a_picture_of_an_archive_is_read_without_its_list(run: Run, pets_zip: Path, tmp_path: Path) -> None:
    """Of the zip is left what lies before its directory."""
    store = tmp_path / "s"
    again(run, store, pets_zip)
    data = pets_zip.read_bytes()
    pets_zip.write_bytes(data[: data.index(b"PK\1\2")])
    name = min(seen(store, pets_zip))
    done = run("similar", pets_zip / name, "--store", store, "--sheet", tmp_path / "n.jpg")
    assert done.status == 0, done.err
    with Image.open(tmp_path / "n.jpg") as sheet:
        assert max(ImageStat.Stat(sheet.crop((12, 12, 232, 232))).stddev) > 10


def test_a_run_that_was_stopped_lists_the_archive_again(run: Run, pets_zip: Path, tmp_path: Path) -> None:
    store = tmp_path / "s"
    again(run, store, pets_zip / "cat")
    assert again(run, store, pets_zip) == {"found": 6, "cached": 3, "embedded": 3}


@pytest.fixture(scope="module")
def made(drawn: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a zip of 40 photos and the store of it."""
    folder = tmp_path_factory.mktemp("made")
    again(run, folder / "store", packed(drawn, folder / "pets.zip"))
    return folder


WORDS = {
    "size": st.integers(0, 1 << 40),
    "modified": st.datetimes(timezones=st.just(UTC)).filter(lambda one: one.year > 1980),
    "version": st.none() | st.text("zip 0123456789abcdef@", max_size=20),
    "gone": st.none() | st.just(datetime(2026, 1, 1, tzinfo=UTC)),
    "label": st.none() | st.sampled_from(["cat", "tiger"]),
    "dropped": st.just(True),
}
CHANGE = st.one_of(*(st.tuples(st.just(name), st.integers(0, 39), of) for name, of in WORDS.items()))


@settings(max_examples=20, deadline=None)
@given(st.lists(CHANGE, max_size=3))
def test_a_file_is_taken_as_it_was_only_where_the_rows_are_what_was_listed(
    made: Path, changes: list[tuple[str, int, object]]
) -> None:
    with TemporaryDirectory() as folder:
        store = Path(shutil.copytree(made / "store", Path(folder) / "s"))
        cache = Cache.open(store)
        there = known(cache)
        paths, before = sorted(there), _rows(cache)
        for name, place, value in changes:
            if name != "dropped":
                cache.change({paths[place]: {name: value}}, there)
        cache.drop_rows(sorted({paths[place] for name, place, _ in changes if name == "dropped"}), there)
        listings = Listings(read_listings(Store(store)), known(cache))
        blob = blob_at(str(made / "pets.zip"))
        assert blob
        found = listings.archive(blob, str(made / "pets.zip"))
        assert found
        assert isinstance(found, UnchangedArchive) == (_rows(cache) == before)
        assert {photo.stamp for part in found.parts() for photo in part.photos} == {row[2:5] for row in before}


def _rows(cache: Cache) -> set[tuple[object, ...]]:
    """What listing an archive says of each photo, as the rows have it."""
    columns = ["root", "uri", "size", "modified", "version", "gone"]
    rows = [row for batch in cache.photos(columns, None) for row in batch.to_pylist()]
    return {
        (one["root"], one["uri"], one["size"], microseconds(one["modified"]), one["version"], one["gone"])
        for one in rows
    }
