"""Why two photos are alike, as a page shows it; and what else the first page does with a dropped photo."""

import base64
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from conftest import Process, table
from pages import Gallery, opened, seen, until
from PIL import Image

Start = Callable[..., Process]


def test_the_page_about_a_pair_shows_both_and_a_control(gallery: Gallery, drawn: Path) -> None:
    with seen(gallery.address) as page:
        page.set_input_files("#photos", drawn / "cat" / "milo-1.jpg")
        page.wait_for_url("**photo=*")
        asked = page.url
        page.locator(".grid .why").first.click()
        page.wait_for_url("**/why?a=*")
        assert page.locator(".heat img").count() == 8
        until(page, "[...document.images].every(one => one.complete && one.naturalWidth)")
        likeness = [float(one.split()[-1]) for one in page.locator("h2").all_inner_texts()[:2]]
        assert 0 < likeness[1] <= likeness[0] <= 1
        heat = page.locator(".heat img").nth(1).get_attribute("src")
        with Image.open(io.BytesIO(base64.b64decode(heat.partition(",")[2]))) as image:
            assert (image.size, image.mode) == ((224, 224), "RGBA")
            assert image.getchannel("A").getextrema()[1] >= 180
        page.get_by_text("Back to the look-alikes").click()
        page.wait_for_url(asked)
        assert gallery.get("why?a=" + "0" * 32 + "&b=" + "1" * 32).status_code == 422
        assert gallery.get("why?a=x").status_code == 422


def dropped(gallery: Gallery, *photos: Path) -> requests.Response:
    return gallery.post("drop", files=[("photos", (one.name, one.read_bytes())) for one in photos])


def test_photos_of_one_animal_are_one_question_and_each_can_be_taken_out(gallery: Gallery, drawn: Path) -> None:
    with seen(gallery.address) as page:
        page.set_input_files("#photos", [drawn / "cat" / "milo-1.jpg", drawn / "cat" / "milo-2.jpg"])
        page.wait_for_url("**photo=*")
        assert page.locator(".asked img").count() == 2
        page.reload()
        assert page.locator(".asked img").count() == 2
        page.get_by_text("take out").first.click()
        page.wait_for_url(lambda url: url.count("photo=") == 1)
        assert page.locator(".asked img").count() == 1
        page.go_back()
        page.get_by_role("button", name="forget").first.click()
        page.wait_for_url(lambda url: url.count("photo=") == 1)
        assert page.locator(".asked img").count() == 1


def test_photos_of_the_library_that_differ_are_not_like_nothing_there(gallery: Gallery, made_store: Path) -> None:
    digests = [row[1].hex() for path, row in sorted(table(made_store).items())]
    answer = gallery.get("?" + "&".join(f"photo={one}" for one in digests[::4])).text
    assert "Like nothing here" not in answer
    assert answer.count('<span class="faint">label</span> <b>cat</b>') == 5  # what the library has of each


def test_what_is_forgotten_or_lost_is_told(gallery: Gallery, made_store: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.png"
    Image.effect_mandelbrot((300, 260), (-2, -1, 1, 1), 50).save(own)
    answer = dropped(gallery, own)
    digest = answer.url.partition("photo=")[2]
    assert "forget" in answer.text
    assert gallery.post("forget", data={"photo": digest}).url == gallery.home
    assert "drop it again" in gallery.get(f"?photo={digest}").text
    known = next(iter(table(made_store).values()))[1].hex()
    assert "Another photo is forgotten" in gallery.get(f"?photo={digest}&photo={known}").text


def test_a_photo_that_the_library_has_is_told_and_another_can_be_added_to_a_named_folder(
    gallery: Gallery, store: Path, drawn: Path, tmp_path: Path, start: Start
) -> None:
    folder, own = tmp_path / "library", tmp_path / "..%2fown.php"
    folder.mkdir()
    Image.effect_mandelbrot((300, 260), (-2, -1, 1, 1), 50).save(own, "PNG")
    with opened(store, start, "--library", folder) as adding:
        there = dropped(adding, drawn / "cat" / "milo-1.jpg")
        assert "This photo is in the library" in there.text
        assert "add to the library" not in there.text
        new = dropped(adding, own)
        assert "add to the library" in new.text
        digest = new.url.partition("photo=")[2]
        assert adding.post("add", data={"photo": digest}).status_code == 200
        (added,) = folder.iterdir()
        assert added.name == f"{digest}.jpg"
        assert added.read_bytes() == own.read_bytes()
    new = dropped(gallery, own)
    assert "add to the library" not in new.text
    assert gallery.post("add", data={"photo": digest}).status_code == 422


def test_it_asks_without_scripts_and_by_the_keyboard(gallery: Gallery, drawn: Path) -> None:
    with seen(gallery.address, java_script_enabled=False) as page:
        assert page.locator("#drop > button").is_visible()
        page.set_input_files("#photos", drawn / "cat" / "milo-1.jpg")
        page.locator("#drop > button").press("Enter")
        page.wait_for_url("**photo=*")
        assert page.locator("h1").inner_text() == "Cat"
    with seen(gallery.address) as page:
        choosers: list[Any] = []
        page.on("filechooser", lambda one: choosers.append(one))  # heard before the key
        for _ in range(7):
            page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "photos"
        page.keyboard.press("Space")
        end = time.monotonic() + 20
        while not choosers and time.monotonic() < end:
            page.wait_for_timeout(50)
        choosers[0].set_files(drawn / "cat" / "milo-1.jpg")
        page.wait_for_url("**photo=*")
