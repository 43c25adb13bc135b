"""All photos in one scroll: an order, filters, what is chosen and what is done with it."""

import csv
import html
import io
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Done, Process
from pages import Gallery, opened, seen, shared_gallery, until
from PIL import Image
from planting import kept, planted

from petrieve.extractor.sources.annotations.labels import read_labels
from petrieve.gallery.web import chosen
from petrieve.gallery.web.filters import Column, filters_of
from petrieve.gallery.web.thumbnails import Thumbnails, thumbnail
from petrieve.store.cache import Cache
from petrieve.store.folder import Store
from petrieve.store.photo import path_of

Start = Callable[..., Process]
PAINTED = "[...document.querySelectorAll('.tile img[src]')].filter(one => one.complete && one.naturalWidth).length"
LAST = (
    "Math.max(-1, ...[...document.querySelectorAll('.tile b')].filter(one => one.textContent).map("
    "one => Number(one.parentElement.id.slice(6))))"
)


def boxes(page: str) -> list[str]:
    """The digests of the photos of a page without scripts."""
    return re.findall(r'name="photo" value="([0-9a-f]{32})"', page)


def of_condition(cache: Cache, condition: str) -> set[str]:
    return {digest.hex() for batch in cache.where(condition, ["digest"]) for digest in batch["digest"].to_pylist()}


def test_the_last_of_very_many_is_reached_by_the_bar_and_by_keys(tmp_path: Path, start: Start) -> None:
    count = 6000
    cache = planted(tmp_path / "store", {("cat", None): count // 2, ("dog", None): count // 2})
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(picture, "JPEG")
    thumbnails, jpeg = Thumbnails.of(Store.at(cache.store.path)), thumbnail(picture.getvalue())
    for number in range(count):
        thumbnails.put(number.to_bytes(16, "big"), jpeg)
    low = "from petrieve.gallery.web import browse; browse.PIXELS = 20000"  # a million is cut off as these would be
    with opened(cache.store.path, lambda *words: start(*words, first=low)) as gallery, seen(gallery.address) as page:
        page.goto(f"{gallery.home}browse")
        until(page, f"{PAINTED} > 10")
        assert page.evaluate("document.querySelector('.spacer').offsetHeight") == 20000
        elements = page.locator(".tile").count()
        page.evaluate("document.querySelector('.scroller').scrollTop = 1e9")
        until(page, f"{LAST} === {count - 1}")
        until(page, f"document.querySelector('#photo-{count - 1} img').naturalWidth")
        box, view = (page.locator(one).bounding_box() for one in (f"#photo-{count - 1}", ".scroller"))
        assert box["y"] + box["height"] <= view["y"] + view["height"] + 1
        assert page.locator(".tile").count() == elements < 400
        page.locator(".stage").focus()
        page.keyboard.press("Home")
        until(page, "document.querySelector('#photo-0 b')?.textContent === 'cat'")
        page.keyboard.press("End")
        until(page, f"document.querySelector('#photo-{count - 1} b')?.textContent === 'dog'")
        page.mouse.move(view["x"] + 50, view["y"] + 50)
        before = page.locator(f"#photo-{count - 1}").bounding_box()["y"]
        page.mouse.wheel(0, -100)  # a little is a little, however long the bar
        until(
            page,
            f"Math.abs(document.querySelector('#photo-{count - 1}').getBoundingClientRect().y - {before} - 100) < 3",
        )


def test_without_scripts_pages_hold_every_photo_once(tmp_path: Path, start: Start) -> None:
    cache = planted(tmp_path / "planted", {("cat", "train"): 90, ("dog", None): 51})
    with opened(cache.store.path, start) as gallery:
        for order in ("", "label", "name", "date", "unusual"):
            found, path = list[str](), f"browse?order={order}"
            while path:
                text = gallery.get(path).text
                found += boxes(text)
                path = html.unescape((re.findall(r'rel="next" href="\./([^"]+)"', text) or [""])[0])
            assert len(found) == len(set(found)) == 141
        assert "run `cli.py fit-head`" in gallery.get("browse?order=unsure").text


def test_orders_say_what_is_unusual_and_what_the_head_is_not_sure_of(store: Path, start: Start) -> None:
    cache, odd = Cache.open(store), b"\1" * 16
    rows = [row for batch in cache.photos(cache.photo_schema.names) for row in batch.to_pylist()]
    alien = np.random.default_rng(0).normal(size=cache.dimension).astype(np.float32)
    add(cache, odd, -np.abs(alien))
    with opened(store, start) as gallery:
        assert boxes(gallery.get("browse?order=unusual").text)[0] == odd.hex()
        from petrieve.classifier import head

        fitted, sure = head.load(cache), dict[str, float]()
        for photos, vectors in Cache.open(store).embeddings(["label", "digest"]):
            for row, said in zip(photos.to_pylist(), fitted.predict(vectors), strict=True):
                sure[row["digest"].hex()] = said[fitted.classes.index(row["label"])] if row["label"] else said.max()
        found = [sure[one] for one in boxes(gallery.get("browse?order=unsure").text)]
        assert len(found) == len(rows) + 1
        assert found == sorted(found)


def test_an_order_that_takes_long_says_so_and_comes(tmp_path: Path, start: Start) -> None:
    cache = planted(tmp_path / "planted", {("cat", None): 9})
    at_once = "from petrieve.gallery.web import orders; orders.PATIENCE = 0"
    with opened(cache.store.path, lambda *words: start(*words, first=at_once)) as gallery:
        texts = [gallery.get("browse?order=unusual").text]
        while "being worked out" in texts[-1]:
            texts.append(gallery.get("browse?order=unusual").text)
        assert len(texts) > 1
        assert len(boxes(texts[-1])) == 9
        assert gallery.get("browse/digests?of=nonsense&from=0&count=9").status_code == 410


def add(cache: Cache, digest: bytes, vector: np.ndarray) -> None:
    """One more photo, of this content and with this embedding."""
    from petrieve.store.known import nothing
    from petrieve.store.photo import Photo
    from petrieve.store.rows import Embedded

    cache.commit([Embedded(Photo("/made-up", "odd.jpg", 1, 1), digest, 1, 1, vector[None])], nothing())


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Twelve photos with columns of the user's own."""
    said = [
        {"label": label, "pet_id": number, "found_on": date(2026, 10, 1 + number), "coat colour": colour}
        for number, (label, colour) in enumerate([("cat", "it's red"), ("dog", "grey"), ("cat", None)] * 4)
    ]
    return kept(
        tmp_path_factory.mktemp("told"), np.random.default_rng(0).normal(size=(12, 1024)).astype(np.float32), said
    )


@pytest.mark.parametrize(
    ("fields", "condition"),
    [
        ({"label": "cat"}, "label = 'cat'"),
        ({"from.pet_id": "3", "to.pet_id": "7"}, "pet_id >= 3 AND pet_id <= 7"),
        ({"from.found_on": "2026-10-04"}, "found_on >= date '2026-10-04'"),
        ({"to.found_on": "2026-10-04"}, "found_on < date '2026-10-05'"),
        ({"is.coat colour": "it's red"}, "`coat colour` = 'it''s red'"),
        ({"label": "dog", "where": "pet_id > 4"}, "label = 'dog' AND (pet_id > 4)"),
        ({"from.pet_id": "x", "is.no such": "1", "label": "cat"}, "label = 'cat'"),
    ],
)
def test_a_filter_chooses_what_the_same_condition_does(
    told: Cache, fields: dict[str, str], condition: str, browsed: Gallery
) -> None:
    text = browsed.get("browse", params=fields).text
    assert set(boxes(text)) == of_condition(told, condition) != set()
    assert len(boxes(text)) < 12
    assert condition in html.unescape(text).replace("'\"'\"'", "'")


@pytest.fixture(scope="module")
def browsed(told: Cache) -> Iterator[Gallery]:
    yield from shared_gallery(told.store.path)


def test_a_text_of_many_values_is_looked_for_within() -> None:
    found = filters_of(_params({"has.name": "o'mal", "is.neutered": "true", "from.x": "nan"}))
    columns = [Column("name", "text"), Column("neutered", "truth"), Column("x", "number")]
    assert found.condition(columns) == "name LIKE '%o''mal%' AND neutered = true"


def _params(fields: dict[str, str]) -> Any:
    from starlette.datastructures import QueryParams

    return QueryParams(fields)


def test_what_is_chosen_by_keys_is_asked_about_together(gallery: Gallery) -> None:
    with seen(gallery.address) as page:
        page.goto(f"{gallery.home}browse")
        until(page, f"{PAINTED} > 5")
        page.locator(".stage").focus()
        page.keyboard.press("Home")
        page.keyboard.press("Space")
        page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("Shift+ArrowRight")
        assert page.locator("#chosen").inner_text() == "3 chosen"
        until(page, "document.querySelectorAll('.tile[aria-selected=true]').length === 3")
        assert page.locator("button[value=zip]").inner_text() == "3 originals (zip)"
        page.keyboard.press("Escape")
        assert page.locator("#chosen").inner_text() == "Choose photos"
        page.keyboard.press("Control+a")
        assert page.locator("#chosen").inner_text() == "40 chosen"
        assert page.locator("button[value=ask]").is_disabled()
        page.keyboard.press("Escape")
        page.locator("#photo-1").click()
        page.locator("#photo-4").click(modifiers=["Shift"])
        assert page.locator("#chosen").inner_text() == "4 chosen"
        page.locator(".stage").focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**photo=*")
        assert page.locator(".asked img").count() == 4
        page.go_back()
        page.wait_for_url("**/browse**")
        until(page, f"{PAINTED} > 5")
        page.locator("#photo-0").click()
        with page.expect_download() as loading:
            page.locator("button[value=csv]").click()
        assert len(Path(loading.value.path()).read_text().splitlines()) == 2


def test_what_is_chosen_goes_out_as_a_list_and_as_files(gallery: Gallery, made_store: Path) -> None:
    cache = Cache.open(made_store)
    rows = [row for batch in cache.photos(["root", "uri", "digest", "label"]) for row in batch.to_pylist()]
    some = rows[3:6]
    sent = {"files": {"chosen": ("chosen", b"".join(row["digest"] for row in some))}}
    table = list(csv.DictReader(io.StringIO(gallery.post("browse/selected", data={"do": "csv"}, **sent).text)))
    assert {(row["photo"], row["label"]) for row in table} == {
        (path_of(row["root"], row["uri"]), row["label"]) for row in some
    }
    answer = gallery.post("browse/selected", data={"do": "zip"}, **sent)
    assert "attachment" in answer.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as made:
        assert {made.read(name) for name in made.namelist()} == {
            Path(path_of(row["root"], row["uri"])).read_bytes() for row in some
        }
    assert gallery.post("browse/selected", data={"do": "csv"}).status_code == 422


def test_names_in_a_zip_lead_nowhere_and_are_of_one_file_each() -> None:
    taken = set[str]()
    wanted = ["../../etc/passwd", "/a/b.jpg", "a/b.jpg", "A/B.jpg", "c:\\d.jpg", ".."]
    assert [chosen._name(one, taken) for one in wanted] == [
        "etc/passwd",
        "a/b.jpg",
        "a/b-2.jpg",
        "A/B-2.jpg".replace("-2", "-3"),
        "c_/d.jpg",
        "photo",
    ]


def test_a_word_about_what_is_chosen_is_taken_over_by_embed(
    store: Path, drawn: Path, start: Start, run: Callable[..., Done]
) -> None:
    cache = Cache.open(store)
    rows = [row for batch in cache.photos(["root", "uri", "digest", "label"]) for row in batch.to_pylist()]
    one, two = rows[0], rows[1]
    with opened(store, start) as gallery:

        def say(row: dict[str, Any], column: str, value: str) -> Any:
            fields = {"do": "say", "column": column, "value": value, "photo": row["digest"].hex()}
            return gallery.post("browse/selected", files={"none": ("", b"")}, data=fields)

        text = say(one, "label", "fox").text
        assert "embed" in html.unescape(text)
        say(two, "colour", "red")
        assert say(two, "split", "sideways").status_code == 422
        undone = say(rows[2], "label", "wolf").text
        gallery.post("browse/undo", data=dict(re.findall(r'name="(act)" value="(\w+)"', undone)))
        while gallery.get("review/state").json()["busy"]:
            time.sleep(0.1)
        left = [item["key"] for item in gallery.get("review/unsure/items").json()["items"]]
        assert one["digest"].hex() not in left
        assert gallery.get("review/unsure/items").json()["left"] == 39
        assert "1 label, 0 photos marked for removal" in gallery.get("review").text
    assert read_labels(store / "review.csv").rows == {path_of(one["root"], one["uri"]): {"label": "fox"}}
    assert read_labels(store / "labels.csv").rows == {path_of(two["root"], two["uri"]): {"colour": "red"}}
    for file in ("labels.csv", "review.csv"):
        done = run("embed", drawn, "--labels", store / file, "--store", store)
        assert (done.status, "no column" in done.err) == (0, False)
    now = {
        row["digest"]: row
        for batch in Cache.open(store).photos(["digest", "label", "colour"])
        for row in batch.to_pylist()
    }
    assert now[one["digest"]]["label"] == "fox"
    assert now[two["digest"]]["colour"] == "red"
    assert now[two["digest"]]["label"] == two["label"]


def test_a_word_about_some_leaves_what_is_said_of_others(told: Cache, browsed: Gallery) -> None:
    one, two = (boxes(browsed.get(f"browse?where=pet_id = {number}").text)[0] for number in (3, 4))
    for digest, column, value in ((one, "pet_id", "33"), (two, "coat colour", "white")):
        fields = {"do": "say", "column": column, "value": value, "photo": digest, "back": "?order=name&label=cat"}
        answer = browsed.post("browse/selected", data=fields)
        assert (answer.status_code, 'href="../browse?order=name&amp;label=cat"' in answer.text) == (200, True)
    said = {Path(path).stem: row for path, row in read_labels(Path(told.store.path, "labels.csv")).rows.items()}
    assert said == {
        "3": {"pet_id": 33, "coat colour": "it's red"},  # as the store has it: an empty cell would take it away
        "4": {"pet_id": 4, "coat colour": "white"},
    }
    assert "No photo passes these filters" in browsed.get("browse?label=horse").text
    assert "nonsense" in browsed.get("browse?where=nonsense = 3").text
    wrong = {"do": "say", "column": "pet_id", "value": "many", "photo": one}
    assert "holds int64" in html.unescape(browsed.post("browse/selected", data=wrong).text)


def test_a_photo_that_is_gone_has_a_placeholder(told: Cache, browsed: Gallery) -> None:
    (digest,) = boxes(browsed.get("browse?where=pet_id = 3").text)
    answer = browsed.get(f"photo/{digest}.jpg")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/svg+xml")
    assert browsed.get(f"photo/{'0' * 32}.jpg").status_code == 404
