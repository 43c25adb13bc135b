"""Photos are looked at one after the other; what is decided is kept, stands, and does not come back."""

import csv
import json
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import Done, Process
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import Gallery, opened, seen, until
from servers import Proxy

from petrieve.gallery.web.decisions import Decision, to_go
from petrieve.store.cache import Cache

Start = Callable[..., Process]
Run = Callable[..., Done]


def items(gallery: Gallery, name: str = "unsure", *, again: bool = False) -> list[dict[str, Any]]:
    """What is left of a list, once it is made; `again` for the store as it is now."""
    end = time.monotonic() + 60
    gallery.get("review")
    while (told := gallery.get("review/state").json())["busy"] and (again or name not in told["made"]):
        assert time.monotonic() < end
        time.sleep(0.1)
    found: list[dict[str, Any]] = gallery.get(f"review/{name}/items").json()["items"]
    return found


def decide(gallery: Gallery, key: str, decision: str, name: str = "unsure", **more: str) -> requests.Response:
    given = {"key": key, "decision": decision, **more}
    return gallery.post(f"review/{name}", data=given, headers={"accept": "application/json"})


def acts(store: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (store / "decisions.jsonl").read_text().splitlines()]


def standing(store: Path) -> dict[str, str]:
    """The labels that stand, by the photos' names."""
    with (store / "review.csv").open(newline="") as file:
        return {Path(row["photo"]).name: row["label"] for row in csv.DictReader(file)}


def labels(store: Path) -> dict[str, str]:
    rows = [row for batch in Cache.open(store).photos(["uri", "label"]) for row in batch.to_pylist()]
    return {Path(row["uri"]).name: row["label"] for row in rows}


def test_keys_decide_the_file_has_it_and_embed_takes_it(store: Path, drawn: Path, start: Start, run: Run) -> None:
    with opened(store, start) as gallery:
        first, second, third, fourth = items(gallery)[:4]
        names = [Path(one["photos"][0]["path"]).name for one in (first, second, third, fourth)]
        with seen(gallery.address) as page:
            page.goto(gallery.home + "review/unsure")
            until(page, "performance.getEntriesByType('resource').filter(one => /large/.test(one.name)).length > 3")
            shown = page.locator("figcaption .path")
            for key, name in zip("y2so", names, strict=True):
                assert shown.inner_text().endswith(name)
                page.keyboard.press(key)
            page.keyboard.press("u")
            until(page, f"document.querySelector('figcaption .path').textContent.endsWith({names[3]!r})")
            page.keyboard.press("n")
            page.keyboard.type("<b>ferret")
            page.keyboard.press("Enter")
            until(page, "document.getElementById('left').textContent.startsWith('36 ')")
            page.goto(gallery.home + "review")
            assert "3 labels" in page.locator(".decided").inner_text()
        kept = acts(store)
        assert [one["decisions"][0]["what"] for one in kept if "decisions" in one] == [
            *("label", "label", "skip", "label", "label")
        ]
        assert [one["undone"] for one in kept if "undone" in one] == [kept[3]["id"]]
        wanted = {names[0]: first["claim"], names[1]: "dog", names[3]: "<b>ferret"}
        assert standing(store) == wanted
        with seen(gallery.address) as page:  # a label is a text, whatever stands in it
            page.goto(gallery.home + "library")
            assert page.locator("b", has_text="ferret").count() == 0
    before = labels(store)
    assert run("embed", drawn, "--store", store, "--labels", store / "review.csv").status == 0
    assert labels(store) == before | wanted
    with opened(store, start) as gallery, seen(gallery.address) as page:
        page.goto(gallery.home + "library")
        assert page.get_by_role("link", name="<b>ferret").count() == 1


def test_what_was_decided_does_not_come_back(photos: Path, tmp_path: Path, start: Start, run: Run) -> None:
    store = tmp_path / "s"
    shutil.copy(photos / "cat" / "milo-1.jpg", photos / "cat" / "twin.jpg")
    assert run("embed", photos, "--store", store, "--weights", "bundled").status == 0
    assert run("fit-head", "--store", store).status == 0
    with opened(store, start) as gallery:
        one = items(gallery)[0]
        assert decide(gallery, one["key"], "right").json()["act"]
        (pair,) = items(gallery, "copies")
        assert {Path(each["path"]).name for each in pair["photos"]} == {"milo-1.jpg", "twin.jpg"}
        assert decide(gallery, pair["key"], "second", "copies").json()["left"] == 0
        (going,) = list(csv.DictReader((store / "to-go.csv").open()))
        assert {Path(name).name for name in going.values()} == {"milo-1.jpg", "twin.jpg"}
        photo = tmp_path / one["photos"][0]["path"]
        photo.rename(photo.with_name("renamed.jpg"))
        assert run("embed", photos, "--store", store).status == 0
        assert one["key"] not in [each["key"] for each in items(gallery, again=True)]
        assert items(gallery, "copies") == []
        assert list(standing(store)) == ["renamed.jpg"]
        assert "review.csv" in gallery.get("review").text
        assert gallery.post("review/fit").ok
        while not (job := gallery.get("review/state").json()["job"])["ended"]:
            time.sleep(0.1)
        assert re.match(r"right before: \d+\.\d%; now: \d+\.\d%", job["said"][0]), job
        assert "All of these labels are in use" in gallery.get("review").text
        other = items(gallery, again=True)[0]
        decide(gallery, other["key"], "label:dog" if other["claim"] == "cat" else "label:cat")
        assert "<b>1</b> of these labels is not in use yet" in gallery.get("review").text
        assert (photos / "cat" / "twin.jpg").exists()


def test_a_form_does_the_same_without_scripts(store: Path, start: Start) -> None:
    with opened(store, start) as gallery:
        first, second = items(gallery)[:2]
        text = gallery.get("review/unsure").text
        assert f'name="key" value="{first["key"]}"' in text
        for value in ("right", "label:dog", "skip", "go"):
            assert f'name="decision" value="{value}"' in text
        after = gallery.post("review/unsure", data={"key": first["key"], "decision": "label:dog"})
        assert f'name="key" value="{second["key"]}"' in after.text
        (act,) = re.findall(r'name="act" value="(\w+)"', after.text)
        again = gallery.post("review/unsure", data={"decision": "undo", "act": act})
        assert f'name="key" value="{first["key"]}"' in again.text
        assert standing(store) == {}
        wrong = gallery.post("review/unsure", data={"key": "0" * 32, "decision": "right"})
        assert wrong.status_code == 409
        assert "no longer in the list" in wrong.text
        other = gallery.post("review/unsure", data={"key": first["key"]}, headers={"origin": "http://elsewhere"})
        assert other.status_code == 403


def test_two_tabs_and_a_kill_lose_no_line(store: Path, start: Start) -> None:
    with opened(store, start) as gallery:
        some = items(gallery)[:20]
        for label in ("cat", "dog"):
            assert decide(gallery, some[0]["key"], f"label:{label}").ok
        assert [one["decisions"][0]["label"] for one in acts(store)] == ["cat", "dog"]
        assert list(standing(store).values()) == ["dog"]
        answered: list[str] = []

        def tab(mine: list[dict[str, Any]]) -> None:
            try:
                answered.extend(decide(gallery, one["key"], "label:cat").json()["act"] for one in mine * 50)
            except requests.RequestException:
                return

        tabs = [threading.Thread(target=tab, args=(some[at::2],)) for at in (0, 1)]
        for one in tabs:
            one.start()
        while len(answered) < 8:
            time.sleep(0.01)
        gallery.process.kill()
        for one in tabs:
            one.join()
    assert set(answered) <= {one["id"] for one in acts(store)}
    with (store / "decisions.jsonl").open("a") as file:
        file.write('{"id": "cut off, as by a ki')
    with opened(store, start) as gallery:
        key = some[-1]["key"]
        items(gallery)
        act = decide(gallery, key, "label:dog").json()["act"]
        assert (store / "decisions.jsonl").read_text().splitlines()[-1].startswith(f'{{"id": "{act}"')
        assert "dog" in standing(store).values()


def test_a_contradiction_shows_both_photos_and_both_are_zoomed_together(shown: Gallery) -> None:
    (item, *_) = items(shown, "conflicts")
    assert {one["label"] for one in item["photos"]} == {"cat", "dog"}
    assert all(len(one["photos"]) == 2 for one in items(shown, "leaks"))
    with seen(shown.address, viewport={"width": 1280, "height": 800}) as page:
        page.goto(shown.home + "review/conflicts")
        until(page, "[...document.querySelectorAll('.frame img')].filter(one => one.naturalWidth).length === 2")
        looks = (
            "[...document.querySelectorAll('.frame img')].map(one => new DOMMatrix(getComputedStyle(one).transform))"
            ".map(one => [one.a, one.e, one.f])"
        )

        def look() -> list[float]:
            one, other = page.evaluate(looks)
            assert one == pytest.approx(other, abs=1)
            return list(one)

        assert look() == [1, 0, 0]
        page.keyboard.press("+")
        assert look() == [1.5, 0, 0]
        page.keyboard.press("-")
        page.keyboard.press("0")
        assert look() == [1, 0, 0]
        box = page.locator(".frame").first.bounding_box()
        page.mouse.move(box["x"] + 30, box["y"] + 30)
        page.mouse.wheel(0, -300)
        until(page, f"{looks}[1][0] > 1.1")
        before = look()
        assert before[1] > 10 < before[2]  # what was under the mouse stays there
        page.mouse.down()
        page.mouse.move(box["x"] + 10, box["y"] + 10)
        page.mouse.up()
        assert look()[2] < before[2] - 5
        page.keyboard.press("f")
        assert page.locator("figure >> visible=true").count() == 1
        assert shown.get("review/conflicts/items").json()["left"] == 2  # nothing was decided


def test_decisions_about_a_store_in_a_bucket_are_kept_in_the_working_folder(
    pets: Path, tmp_path: Path, start: Start, run: Run, proxy: Proxy, bucket: Any
) -> None:
    store = f"s3://{bucket.name}/pets.petrieve"
    assert run("embed", pets, "--store", store, "--weights", "bundled").status == 0
    assert run("fit-head", "--store", store).status == 0
    with opened(store, start) as gallery:
        some = items(gallery)
        assert decide(gallery, some[0]["key"], "label:ferret").ok
        noted = {"do": "say", "column": "label", "value": "stoat", "photo": some[1]["key"]}
        assert gallery.post("browse/selected", data=noted).ok
        assert "in a bucket" in gallery.post("browse/selected", data={**noted, "column": "age", "value": "3"}).text
        kept = tmp_path / "pets.petrieve.review"
        assert sorted(standing(kept).values()) == ["ferret", "stoat"]
        assert gallery.post("review/fit").ok
        while not (job := gallery.get("review/state").json()["job"])["ended"]:
            time.sleep(0.1)
        assert "photos" in job["said"][0], job
    assert {"ferret", "stoat"} < set(labels(store).values())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.booleans()), max_size=12))
def test_of_copies_that_are_to_go_one_stays(pairs: list[tuple[int, int, bool]]) -> None:
    def said(going: int, stays: int, alone: bool) -> Decision:
        digest, other = (f"{one:032x}" for one in (going, stays))
        return Decision(digest, "go", digest, f"/{going}.jpg", other="" if alone else other)

    standing = {("copies", f"{one}-{other}"): said(one, other, alone) for one, other, alone in pairs if one != other}
    where = {bytes.fromhex(f"{one:032x}"): [f"/{one}.jpg"] for one in range(6)}
    going = to_go(standing, lambda digests: {one: where[one] for one in digests})
    alone = {one.photo for one in standing.values() if not one.other}
    assert all(copy not in going for copy in going.values() if copy)
    assert {path for path, copy in going.items() if not copy} <= alone


def test_photos_without_labels_get_their_first_ones_here(drawn: Path, tmp_path: Path, start: Start, run: Run) -> None:
    (tmp_path / "flat").mkdir()
    for number, photo in enumerate(sorted(drawn.rglob("*.*"))[:4]):
        shutil.copy(photo, tmp_path / "flat" / f"{number}{photo.suffix}")
    store = tmp_path / "s"
    assert run("embed", tmp_path / "flat", "--store", store, "--weights", "bundled").status == 0
    with opened(store, start) as gallery:
        some = items(gallery)
        assert [one["claim"] for one in some] == [None] * 4
        assert decide(gallery, some[0]["key"], "right").status_code == 409
        assert decide(gallery, some[0]["key"], "named", label=" Felix ").ok
        assert list(standing(store).values()) == ["Felix"]
        assert 'value="label:Felix" data-key="1"' in gallery.get("review/unsure").text
        assert "no photo in" in gallery.get("review/labels").text
