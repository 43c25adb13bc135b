"""Near-copies: told by their looks, grouped by how near they are, the best named, look-alikes left alone, all kept."""

import contextlib
import csv
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import PHOTOS, Done, need
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps
from planting import kept

import petrieve
from petrieve.index.duplicates.groups import Copy, grouped
from petrieve.index.duplicates.looks import as_picture, as_scene
from petrieve.index.duplicates.near import near, pairs

Run = Callable[..., Done]
LINKS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)))


@pytest.fixture(scope="module")
def copied(drawn: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The drawn photos with copies of some, and what `duplicates` says of them."""
    folder = Path(shutil.copytree(drawn, tmp_path_factory.mktemp("copied") / "photos"))
    first, second, third, fourth, fifth = sorted((folder / "cat").iterdir())[:5]
    shutil.copy(first, folder / "first-again.jpg")
    with Image.open(second) as photo:
        photo.save(folder / "second-q60.jpg", quality=60)
        photo.resize((photo.width * 2, photo.height * 2)).save(folder / "second-large.png")
    with Image.open(third) as photo:
        ImageOps.mirror(photo).save(folder / "third-mirrored.webp", quality=80)
    with Image.open(fourth) as photo:
        # At half the size, drawn pets are farther from themselves than from each other.
        photo.resize((photo.width * 2 // 3, photo.height * 2 // 3)).save(folder / "fourth-small.jpg")
    with Image.open(fifth) as photo:
        photo.crop((20, 12, photo.width - 10, photo.height - 20)).save(folder / "fifth-cropped.jpg")
    store = folder.parent / "store"
    assert run("embed", folder, "--store", store, "--weights", "bundled").status == 0
    done = run(
        "duplicates", "--store", store, "--json", "--csv", folder.parent / "c.csv", "--sheet", folder.parent / "s.jpg"
    )
    assert done.status == 0, done.err
    return folder, done.json


def groups(found: dict[str, Any]) -> set[tuple[str, str, frozenset[str]]]:
    return {
        (one["kind"], Path(one["best"]).stem, frozenset(Path(each["photo"]).stem for each in one["photos"]))
        for one in found["groups"]
    }


def test_copies_are_found_each_of_its_kind_and_look_alikes_are_none(copied: tuple[Path, dict[str, Any]]) -> None:
    folder, found = copied
    first, second, third, fourth = [file.stem for file in sorted((folder / "cat").iterdir())[:4]]
    pictures = [
        ("second-large", frozenset({second, "second-q60", "second-large"})),
        (third, frozenset({third, "third-mirrored"})),
        (fourth, frozenset({fourth, "fourth-small"})),
    ]
    # Drawn pets share their outlines and places, so what is the same scene is tried on real photos.
    nearer = {one for one in groups(found) if one[0] != "same scene"}
    assert nearer == {
        ("same bytes", first, frozenset({first, "first-again"})),
        *(("same picture", *one) for one in pictures),
    }


@pytest.mark.torture
def test_what_the_thresholds_are_worth_is_said(copied: tuple[Path, dict[str, Any]], run: Run) -> None:
    folder, found = copied
    picture, scene = found["fitted"]
    assert set(picture["found"]) == {"re-encoded", "resized", "mirrored"}
    assert set(scene["found"]) == {"cropped"}
    assert min(picture["found"].values()) > 0.8
    assert 0 <= picture["taken"] <= 0.01 * picture["others"]
    done = run("duplicates", "--store", folder.parent / "store")
    assert "tested on copies made of your own photos:\n  same picture: found 100% of re-encoded" in done.out
    assert run("duplicates", "--store", folder.parent / "store", "--json").json == found


def test_the_list_and_the_sheet_show_the_groups_and_nothing_is_deleted(copied: tuple[Path, dict[str, Any]]) -> None:
    folder, found = copied
    with (folder.parent / "c.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["best"] for row in rows].count("yes") == len(found["groups"])
    assert len(rows) == sum(len(one["photos"]) for one in found["groups"])
    with Image.open(folder.parent / "s.jpg") as sheet:
        assert sheet.format == "JPEG"
    assert len(list(folder.rglob("*.*"))) == 46


def test_a_store_without_copies_has_no_groups_and_one_whose_photos_are_gone_says_so(run: Run, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for number in range(4):
        noise = draw.integers(0, 255, (9, 9, 3), np.uint8)
        Image.fromarray(noise).resize((300, 200), Image.Resampling.NEAREST).save(tmp_path / f"{number}.png")
    run("embed", tmp_path, "--store", tmp_path / "s", "--weights", "bundled")
    assert run("duplicates", "--store", tmp_path / "s", "--json").json["groups"] == []
    for photo in tmp_path.glob("*.png"):
        photo.unlink()
    done = run("duplicates", "--store", tmp_path / "s")
    assert (done.status, done.out, "bring the photos back" in done.err) == (1, "", True)


def test_in_a_store_of_copies_crops_are_found_and_a_palette_is_never_the_best(
    run: Run, drawn: Path, tmp_path: Path
) -> None:
    """What copies reach says nothing of look-alikes; and the dots of a palette look like detail."""
    (tmp_path / "photos").mkdir()
    for number, file in enumerate(sorted(drawn.rglob("*.jpg"))[:4]):
        with Image.open(file) as photo:
            for quality in range(60, 95, 10):
                photo.save(tmp_path / "photos" / f"{number}-{quality}.jpg", quality=quality)
            photo.convert("P", palette=Image.Palette.WEB).save(tmp_path / "photos" / f"{number}.gif")
    assert run("embed", tmp_path / "photos", "--store", "s", "--weights", "bundled").status == 0
    found = run("duplicates", "--store", "s", "--json").json
    assert [group["kind"] for group in found["groups"]].count("same picture") == 4
    assert sum(len(group["photos"]) for group in found["groups"]) >= 19
    assert {Path(group["best"]).suffix for group in found["groups"]} == {".jpg"}
    assert found["fitted"][1]["found"]["cropped"] > 0.5


def cards(folder: Path, photos: list[Path]) -> list[Path]:
    """Adoption cards: one layout, another pet and name on each."""
    made = []
    for number, file in enumerate(photos):
        card = Image.new("RGB", (800, 1000), (250, 240, 200))
        draw = ImageDraw.Draw(card)
        draw.rectangle((0, 0, 799, 180), fill=(200, 30, 30))
        draw.rectangle((0, 820, 799, 999), fill=(30, 60, 160))
        with Image.open(file) as photo:
            card.paste(ImageOps.fit(photo.convert("RGB"), (420, 420)), (190, 290))
        draw.text((80, 900), f"Name {number}", fill="white")
        made.append(folder / f"{number}.jpg")
        card.save(made[-1], quality=92)
    return made


def texts(folder: Path) -> None:
    """Screenshots of text: the lines are where they always are."""
    words = ("Lost dog, call 555", "Found cat, red collar", "Vet at 9 o clock", "Food: 2 kg")
    for number, line in enumerate(words):
        for size, name in (((400, 300), "short"), ((180, 300), "long")):
            page = Image.new("RGB", size, "white")
            draw = ImageDraw.Draw(page)
            for y in range(20, 280, 20):
                draw.text((20, y), f"{line} {y * 7 + number}", fill="black")
            page.save(folder / f"{name}{number}.png")


@pytest.mark.torture
def test_one_layout_makes_no_copies_of_cards_and_texts_whose_content_differs(
    run: Run, drawn: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    made = cards(tmp_path / "photos", sorted(drawn.rglob("*.jpg"))[:12])
    texts(tmp_path / "photos")
    with Image.open(made[0]) as card:
        card.resize((400, 500)).save(tmp_path / "photos" / "again.jpg", quality=70)
    assert run("embed", tmp_path / "photos", "--store", "s", "--weights", "bundled").status == 0
    found = run("duplicates", "--store", "s", "--json").json
    assert found["compared"] > 10, "their embeddings are near"
    assert groups(found) == {("same picture", "0", frozenset({"0", "again"}))}


@pytest.mark.real
def test_look_alikes_among_real_photos_are_no_copies() -> None:
    folder = need(PHOTOS) / "breeds"
    looks = []
    for file in sorted(folder.glob("Birman/*.jpg")) + sorted(folder.glob("Ragdoll/*.jpg")):
        with Image.open(file) as photo:
            looks.append(np.asarray(photo.convert("L").resize((24, 24), Image.Resampling.BOX)))
    some = np.stack(looks)
    one, other = np.triu_indices(len(some), 1)
    assert as_picture(some[one], some[other]).max() < 0.8
    assert max(as_scene(some[a], some[b]) for a, b in zip(one, other, strict=True)) < 0.75
    assert as_picture(some, some[:, :, ::-1]).min() > 0.999


@pytest.mark.real
def test_a_crop_of_a_real_photo_is_the_same_scene_and_not_the_same_picture() -> None:
    for file in sorted((need(PHOTOS) / "breeds" / "Birman").glob("*.jpg")):
        with Image.open(file) as photo:
            grey = photo.convert("L")
        part = grey.crop((0, 0, grey.width * 17 // 20, grey.height * 17 // 20)).transpose(
            Image.Transpose.FLIP_LEFT_RIGHT
        )
        one, other = (np.asarray(each.resize((24, 24), Image.Resampling.BOX)) for each in (grey, part))
        assert as_scene(one, other) > 0.76
        assert as_picture(one[None], other[None])[0] < 0.93


def test_candidates_are_the_nearest_of_each_content(tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    vectors = draw.normal(size=(100, 40)) @ draw.normal(size=(40, 1024))
    vectors[50:] = vectors[:50] + 0.05 * draw.normal(size=(50, 1024))
    vectors[99] = vectors[98]
    cache = kept(tmp_path, vectors, [{"same_as": 98 if number == 99 else number} for number in range(100)])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = np.concatenate([photos["_rowid"].to_numpy() for photos, _ in cache.embeddings()]).tolist()
    found = {
        tuple(sorted((ids.index(a), ids.index(b)))) for a, b in pairs(cache, near(cache), k=3, at_least=0.9).tolist()
    }
    close = {(a, b) for a, b in zip(*np.nonzero(np.triu(unit @ unit.T, 1) >= 0.9), strict=True) if b < 99}
    assert found == {(int(a), int(b)) for a, b in close}


@settings(max_examples=100, deadline=None)
@given(
    links=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30))),
    more=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30))),
)
def test_groups_are_what_links_connect_and_a_nearer_kind_is_listed_once(
    links: list[tuple[int, int]], more: list[tuple[int, int]]
) -> None:
    photos = {row: Copy(f"{row:02}", None, row, 1, 1) for row in range(31)}
    first, stands_for = grouped("a", links, {}, photos, lambda _: 0.0)
    second, _ = grouped("b", more, stands_for, photos, lambda _: 0.0)
    listed = [one.photo for group in first for one in group.photos]
    assert len(set(listed)) == len(listed)
    of_first = {one.photo: group.best for group in first for one in group.photos}
    for group in second:
        assert {of_first.get(one.photo, one.photo) for one in group.photos} == {one.photo for one in group.photos}
        assert group.best == max(one.photo for one in group.photos)
    for a, b in links:
        assert of_first.get(f"{a:02}", f"{a:02}") == of_first.get(f"{b:02}", f"{b:02}")


def test_the_second_run_makes_no_copies_and_finds_the_same(drawn: Path, tmp_path: Path) -> None:
    shutil.copytree(drawn / "cat", tmp_path / "photos" / "cat", ignore=lambda _, names: sorted(names)[5:])
    store = petrieve.open("s")
    store.embed("photos", weights="bundled", quiet=True)

    def ask() -> tuple[Any, str]:
        with contextlib.redirect_stderr(Terminal()) as said:
            found = store.duplicates()
        assert [*found] == found.groups
        return found.document(), said.getvalue()

    first, said = ask()
    assert said == "measuring on copies made of 5 of your photos\n"
    assert ask() == (first, "")
    for file in (Path(os.environ["XDG_CACHE_HOME"]) / "petrieve" / "kept").iterdir():
        file.write_bytes(file.read_bytes()[:-1])
    assert ask() == (first, said), "what was damaged is made anew"
    next((tmp_path / "photos" / "cat").iterdir()).unlink()
    store.embed("photos", quiet=True)
    assert ask()[1] == "measuring on copies made of 4 of your photos\n"


class Terminal(io.StringIO):
    """A stream that somebody watches."""

    def isatty(self) -> bool:
        return True
