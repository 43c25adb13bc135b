"""The first page: a photo goes in, what it is and its look-alikes come out."""

import html
import re
import shlex
from pathlib import Path

from pages import Gallery, seen, until


def test_a_photo_that_is_chosen_is_told_and_its_look_alikes_are_shown(gallery: Gallery, drawn: Path) -> None:
    with seen(gallery.address) as page:
        page.set_input_files("#photos", drawn / "cat" / "milo-1.jpg")
        page.wait_for_url("**photo=*")
        assert page.locator("h1").inner_text() == "Cat"
        tiles = page.locator(".grid li")
        assert tiles.count() == 24
        until(page, "[...document.querySelectorAll('.grid img')].slice(0, 6).every(one => one.naturalWidth)")
        first = page.url
        tiles.first.click()
        page.wait_for_url(lambda url: url != first)
        assert tiles.count() == 24
        page.go_back()
        page.wait_for_url(first)
        assert page.locator("h1").inner_text() == "Cat"


def test_filters_hold_before_the_search_and_are_the_commands(gallery: Gallery, drawn: Path) -> None:
    photo = (drawn / "cat" / "milo-1.jpg").read_bytes()
    answer = gallery.post("drop", files={"photos": ("milo.jpg", photo)})
    assert answer.url.startswith(f"{gallery.home}?photo=")
    dogs = gallery.get(answer.url.removeprefix(gallery.home) + "&label=dog&where=split IS NULL").text
    assert dogs.count("<i>label</i> dog</b>") == 20
    assert "<i>label</i> cat</b>" not in dogs
    (command,) = re.findall(r"<code>(.*?)</code>", dogs)
    words = shlex.split(html.unescape(command))
    assert words[words.index("--where") + 1] == "label = 'dog' AND (split IS NULL)"
    wrong = gallery.get(answer.url.removeprefix(gallery.home) + "&where=nonsense = 3")
    assert wrong.status_code == 200
    assert "nonsense" in wrong.text


def test_what_is_no_photo_is_told_in_a_sentence(gallery: Gallery) -> None:
    answer = gallery.post("drop", files={"photos": ("a.jpg", b"no photo")})
    assert answer.status_code == 422
    assert "cannot embed the photo" in answer.text
    assert gallery.post("drop", files={"photos": ("", b"")}).url == gallery.home
