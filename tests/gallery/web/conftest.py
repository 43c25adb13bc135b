"""A store that has something for each page to show, and one gallery of it for all tests that leave it as it was."""

import csv
import io
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Done
from pages import Gallery, close_browser, shared_gallery
from PIL import Image, ImageOps
from turning import HELD

from petrieve.extractor.sources.sample import draw_sample

RAW = struct.pack("<4sIHHHIIHHII", b"II*\0", 8, 2, 0x112, 3, 1, 6, 50706, 4, 1, 0x401) + bytes(4)  # a DNG, turned


def as_held(picture: Image.Image, orientation: int) -> bytes:
    """A JPEG as a camera writes it that was held so."""
    exif = Image.Exif()
    exif[0x112] = orientation
    data = io.BytesIO()
    picture.transpose(HELD[orientation]).save(data, "JPEG", quality=95, exif=exif)
    return data.getvalue()


@pytest.fixture(scope="session")
def golden(drawn: Path) -> Image.Image:
    """A drawn cat, as it is to look in all the files that show it turned, as HEIC and as camera RAW."""
    with Image.open(drawn / "cat" / "milo-1.jpg") as opened:
        width, height = opened.size
        return opened.convert("RGB").crop((0, 0, width - width % 16, height - height % 16 - 32))


@pytest.fixture(scope="session")
def varied(drawn: Path, golden: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos in splits, with copies, leaks, contradictions, wrong labels, odd formats, and two that are broken."""
    import pillow_heif

    folder = tmp_path_factory.mktemp("varied") / "pets"
    for number, photo in enumerate(sorted(drawn.rglob("*.*"))):
        place = folder / ("test" if number % 5 == 0 else "train") / photo.parent.name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, place)
    train, test = folder / "train", folder / "test"
    draw_sample(other := folder.with_name("other"), photos=8, seed=5)
    for photo in sorted((other / "cat").iterdir())[:3]:
        shutil.copy(photo, train / "dog" / f"wrong-{photo.name}")
    one, two, three = sorted((train / "cat").iterdir())[2:5]
    shutil.copy(one, train / "dog" / "contradiction.jpg")
    shutil.copy(two, test / "cat" / "leak.jpg")
    shutil.copy(three, train / "cat" / "twin.jpg")
    with Image.open(three) as opened:
        ImageOps.scale(opened.convert("RGB"), 0.5).save(train / "cat" / "smaller.jpg", quality=80)
    for orientation in HELD:
        (train / "cat" / f"turned-{orientation}.jpg").write_bytes(as_held(golden, orientation))
    pillow_heif.from_pillow(golden).save(train / "cat" / "photo.heic", quality=95)
    (train / "cat" / "photo.dng").write_bytes(RAW + as_held(golden, 6))
    (train / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff no more")
    (train / "dog" / "empty.png").write_bytes(b"")
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["photo", "age", "found_on", "name", "neutered"])
        for number, photo in enumerate(sorted(folder.rglob("*.jpg"))):
            named = photo.relative_to(folder), number % 14, f"2026-10-{1 + number % 28:02}", f"pet {number}", "true"
            rows.writerow(named)
    return folder


@pytest.fixture(scope="session")
def varied_store(varied: Path, run: Callable[..., Done], tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("varied-store") / "pets.petrieve"
    assert run("embed", varied, "--store", store, "--weights", "bundled").status == 0
    assert run("fit-head", "--store", store).status == 0
    return store


@pytest.fixture
def shown_store(varied_store: Path, tmp_path: Path) -> Path:
    """The same, the test's own."""
    return Path(shutil.copytree(varied_store, tmp_path / "pets.petrieve"))


@pytest.fixture(scope="session")
def gallery(made_store: Path) -> Iterator[Gallery]:
    """A gallery of the drawn photos for all tests that leave it as it was."""
    yield from shared_gallery(made_store)


@pytest.fixture(scope="package", autouse=True)
def one_browser() -> Iterator[None]:
    """The browser of these tests, which the first that looks opens, ends with them."""
    yield
    close_browser()


@pytest.fixture(scope="session")
def shown(varied_store: Path) -> Iterator[Gallery]:
    """A gallery of it for all tests that leave it as it was."""
    yield from shared_gallery(varied_store)
