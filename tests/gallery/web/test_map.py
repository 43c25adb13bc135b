"""All photos as points in the plane: where they are, what they are, and which of them are chosen."""

import base64
import io
import re
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from conftest import Process
from pages import Gallery, opened, seen, until
from PIL import Image
from planting import kept, made_up

from petrieve.index import plane
from petrieve.store.cache import Cache
from petrieve.store.known import nothing
from petrieve.store.photo import path_of

Start = Callable[..., Process]
LABELS = ("cat", "dog", "rabbit")
RESTS = "document.getElementById('ground')?.dataset.rest === 'yes'"
CHOSEN = "document.getElementById('chosen').textContent"
DESK = {"viewport": {"width": 1200, "height": 800}}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Ninety photos in three groups, pictures of one colour each, with columns of the user's own, on a map."""
    folder, draw = tmp_path_factory.mktemp("mapped"), np.random.default_rng(0)
    middles = draw.normal(size=(3, 1024)) * 2
    said, vectors = list[dict[str, Any]](), list[np.ndarray]()
    for number in range(90):
        picture = io.BytesIO()
        Image.new("RGB", (40, 40), (number * 2, 90, 200)).save(picture, "PNG")
        label = LABELS[number % 3] if number < 87 else None
        said.append({"label": label, "pet_id": number, "found_on": date(2026, 1, 1 + number % 28)})
        vectors.append(middles[number % 3] + draw.normal(size=1024))
    made = kept(folder, np.array(vectors, np.float32), said)
    plane.make(made)
    return made


@pytest.fixture(scope="module")
def mapped(cache: Cache) -> Iterator[Gallery]:
    started: list[Process] = []

    def start(*words: object) -> Process:
        started.append(Process(*words))
        return started[0]

    with opened(Path(str(cache.store.path)), start) as gallery:
        yield gallery
    started[0].kill_group()


@pytest.fixture(scope="module")
def truth(cache: Cache) -> dict[bytes, tuple[float, float, dict[str, Any]]]:
    """Where the map has each content, and what the store says of it."""
    made = plane.load(cache)
    assert made is not None
    rows = [row for batch in cache.photos(["digest", "root", "uri", *cache.columns()]) for row in batch.to_pylist()]
    of = {row["digest"]: row for row in rows}
    contents = [made.contents[at : at + 1].tobytes() for at in range(len(made.contents))]
    return {one: (float(x), float(y), of[one]) for one, (x, y) in zip(contents, made.points, strict=True)}


def on_screen(page: Any, x: float, y: float) -> tuple[float, float]:
    """Where in the window a place of the map is, as the page says that it shows all of it."""
    left, lower, right, upper = map(float, page.locator("#ground").get_attribute("data-box").split())
    box = page.locator("#ground canvas").bounding_box()
    unit = min((box["width"] - 48) / (right - left), (box["height"] - 48) / (upper - lower))
    across, down = (x - (left + right) / 2) * unit, ((lower + upper) / 2 - y) * unit
    return box["x"] + box["width"] / 2 + across, box["y"] + box["height"] / 2 + down


def inside(line: list[tuple[float, float]], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which points are inside a polygon, by how often a ray crosses it."""
    odd = np.zeros(len(x), bool)
    for (ax, ay), (bx, by) in zip(line, [*line[1:], line[0]], strict=True):
        if ay != by:
            odd ^= ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return odd


def test_points_lie_where_the_map_has_them_and_each_shows_its_photo(mapped: Gallery, truth: dict[bytes, Any]) -> None:
    with seen(mapped.address, **DESK) as page:
        page.goto(mapped.home + "map")
        until(page, RESTS)
        pixels = pixels_of(page)
        for digest, (x, y, row) in list(truth.items())[::30]:
            across, down = on_screen(page, x, y)
            box = page.locator("#ground canvas").bounding_box()
            assert pixels[int(down - box["y"]), int(across - box["x"]), 3] > 0
            page.mouse.move(across, down)
            until(page, f"document.querySelector('.card a').href.endsWith('{digest.hex()}')")
            told = page.locator(".card").inner_text()
            assert (row["label"] or "no label") in told
            assert Path(row["uri"]).name in told
        assert (pixels[2:5, -5:-2, 3] == 0).all()  # nothing is where no photo is
        page.mouse.dblclick(across, down)
        page.wait_for_url(f"**photo={digest.hex()}")


def pixels_of(page: Any) -> np.ndarray:
    """What is drawn on the canvas, RGBA."""
    data = page.evaluate("document.querySelector('#ground canvas').toDataURL('image/png')")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGBA"))


def test_a_lasso_chooses_those_inside_and_its_address_does_so_again(
    mapped: Gallery, truth: dict[bytes, Any], tmp_path: Path
) -> None:
    with seen(mapped.address, **DESK) as page:
        page.goto(mapped.home + "map")
        until(page, RESTS)
        (x, y, _), *_ = truth.values()
        middle, corners = on_screen(page, x, y), [(-130, -90), (140, -60), (60, 120), (0, 10), (-120, 90)]
        page.keyboard.down("Shift")
        page.mouse.move(*(a + b for a, b in zip(middle, corners[-1], strict=True)))
        page.mouse.down()
        for corner in corners:
            page.mouse.move(*(a + b for a, b in zip(middle, corner, strict=True)), steps=4)
        page.mouse.up()
        page.keyboard.up("Shift")
        until(page, "location.search.includes('lasso=')")
        numbers = [float(one) for one in page.evaluate("new URLSearchParams(location.search).get('lasso')").split(",")]
        places = np.array([where[:2] for where in truth.values()], np.float32).astype(float)
        wanted = inside(list(zip(numbers[::2], numbers[1::2], strict=True)), *places.T)
        assert 0 < wanted.sum() < len(truth)
        assert page.evaluate(CHOSEN) == f"{wanted.sum()} chosen"
        until(page, f"document.querySelectorAll('#strip img').length === {min(15, wanted.sum())}")
        with page.expect_download() as loading:
            page.locator("button[value=csv]").click()
        lines = Path(loading.value.path()).read_text().splitlines()[1:]
        names = {path_of(row["root"], row["uri"]) for row in rows_of(truth, wanted)}
        assert {line.partition(",")[0] for line in lines} == names
        page.locator("#none").click()
        assert page.evaluate(CHOSEN) == "Choose photos"
        page.go_back()
        until(page, f"{CHOSEN} === '{wanted.sum()} chosen'")
        page.reload()
        until(page, f"{CHOSEN} === '{wanted.sum()} chosen'")
        page.locator(".legend a", has_text="dog").click()  # those alone that are shown
        dogs = sum(row["label"] == "dog" for row in rows_of(truth, wanted))
        until(page, f"{CHOSEN} === '{f'{dogs} chosen' if dogs else 'Choose photos'}'")


def rows_of(truth: dict[bytes, Any], chosen: np.ndarray) -> list[dict[str, Any]]:
    return [row for (_, _, row), yes in zip(truth.values(), chosen, strict=True) if yes]


def test_filters_and_the_legend_leave_the_others_out_by_keys_too(mapped: Gallery, truth: dict[bytes, Any]) -> None:
    with seen(mapped.address, viewport={"width": 390, "height": 800}) as page:
        page.goto(mapped.home + "map?" + urlencode({"from.pet_id": "30", "where": "label IS NOT NULL"}))
        until(page, RESTS)
        assert page.locator("h1").inner_text() == "57 photos of 90"
        assert page.locator(".legend li").all_inner_texts() == [f"{one}\n19" for one in LABELS]
        page.locator("#ground canvas").focus()
        page.keyboard.press("Control+a")
        assert page.evaluate(CHOSEN) == "57 chosen"
        page.locator(".legend a", has_text="cat").press("Enter")
        assert page.evaluate(CHOSEN) == "19 chosen"
        assert page.locator(".legend a[aria-current]").inner_text() == "cat\n19"
        page.go_back()
        until(page, f"{CHOSEN} === '57 chosen'")
        page.locator("#ground canvas").press("Escape")
        assert page.evaluate(CHOSEN) == "Choose photos"
        for key in ("+", "+", "ArrowLeft", "ArrowUp"):
            page.keyboard.press(key)
        until(page, "location.search.includes('view=')")
        page.keyboard.press("0")
        until(page, "!location.search.includes('view=')")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_scripts_there_is_a_picture_with_a_legend(mapped: Gallery, truth: dict[bytes, Any]) -> None:
    text = mapped.get("map?by=column.found_on&is.no=1").text
    assert "2026-01-01 to" in text
    found = re.search(r'<img id="flat" src="\./([^"]+)"', text)
    assert found
    whole = picture(mapped, found[1].replace("&amp;", "&"))
    assert (whole[..., 3] > 0).any(axis=1).sum() > 100
    slot = re.search(r'data-slot="(\d)"', text)
    assert slot
    found = re.search(r'<img id="flat" src="\./([^"]+)"', mapped.get(f"map?by=column.found_on&only={slot[1]}").text)
    assert found
    some = picture(mapped, found[1].replace("&amp;", "&"))
    assert 0 < (some[..., 3] > 0).sum() < (whole[..., 3] > 0).sum()
    assert mapped.get("map/points?of=nonsense&from=0&count=9").status_code == 410
    assert "nonsense" in mapped.get("map?where=nonsense = 3").text


def picture(gallery: Gallery, path: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(gallery.get(path).content)))


def test_a_store_without_a_map_gets_one_by_a_button_and_says_what_came_later(store: Path, start: Start) -> None:
    with opened(store, start) as gallery:
        assert f"build-map --store {store}" in gallery.get("map").text
        assert gallery.post("library/map").ok
        end = time.monotonic() + 60
        while not gallery.get("map/state").json()["job"]["ended"]:
            assert time.monotonic() < end
            time.sleep(0.05)
        for by in ("label", "unsure", "unusual"):
            text = gallery.get(f"map?by={by}").text
            while "being coloured" in text:
                text = gallery.get(f"map?by={by}").text
            assert "40 photos" in text
            assert "Make it again" not in text
            assert sum(int(one) for one in re.findall(r"<b>(\d+)</b></a></li>", text)) == 40
        Cache.open(store).commit([made_up(1, 7)], nothing())
        text = gallery.get("map").text
        assert "1 photo came" in text
        assert "41 photos" in text
