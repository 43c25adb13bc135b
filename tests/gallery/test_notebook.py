"""What a notebook shows of an answer by itself."""

import re
from pathlib import Path

import pytest
from PIL import Image

import petrieve
from petrieve.api import results


def sources(html: str) -> list[str]:
    return re.findall('src="([^"]*)"', html)


def test_the_photos_that_are_asked_about_stand_framed_before_their_neighbours(store: Path, drawn: Path) -> None:
    """By their paths, as bytes and as pictures: each is shown as it was given."""
    first, second = sorted((drawn / "cat").glob("*.jpg"))[:2]
    opened = petrieve.open(store)
    html = opened.similar(first, k=2)._repr_html_()
    assert (html.count("<img"), html.count("outline:"), html.count("the photo</b>")) == (3, 1, 1)
    with Image.open(second) as picture:
        several = opened.similar([first.read_bytes(), picture], k=2)._repr_html_()
    assert (several.count("<img"), several.count("outline:")) == (4, 2)
    assert sources(several)[0] == sources(html)[0]
    assert sources(several)[1] == sources(opened.similar(second, k=2)._repr_html_())[0]


def test_of_a_long_answer_the_first_lines_are_shown_and_all_are_printed(
    store: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = petrieve.open(store).predict(drawn)
    assert repr(found) == str(found), "40 photos are not long"
    monkeypatch.setattr(results, "MAX_LINES", 5)
    assert repr(found).splitlines() == [*str(found).splitlines()[:5], "… `print` shows all"]
