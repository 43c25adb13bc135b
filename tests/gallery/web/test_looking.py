"""All pages as people see them: by axe, in the light and in the dark, on a phone and on a desk; and at random."""

import os
import random
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from conftest import ODD, Process
from pages import Gallery, lists_made, opened, seen, until

Start = Callable[..., Process]
LISTS = ("labels", "unsure", "copies", "conflicts", "leaks", "outliers")
SCREENS = {"desk": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}
LONG = pytest.mark.torture
RULES = (
    "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map("
    "one => [one.id, one.nodes.map(node => node.html.slice(0, 200))]))"
)


def pages_of(gallery: Gallery, *, all_: bool = True) -> Iterator[str]:
    """An address of each page that shows something; but for `all_`, the list of copies may still be in the making."""
    lists_made(gallery, all_=all_)
    digests = [one["photos"][0]["digest"] for one in gallery.get("review/unsure/items").json()["items"]]
    question = f"?photo={digests[0]}"
    yield from ("", question, f"{question}&photo={digests[1]}&label=cat", f"{question}&where=nonsense = 3", "nowhere")
    yield from (f"why?a={digests[0]}&b={digests[1]}", "browse", "browse?label=dog", "browse?where=x", "enter", "review")
    yield from (*(f"review/{name}" for name in LISTS), "map", "library")


@pytest.mark.parametrize(
    ("screen", "scheme"),
    [
        ("desk", "light"), ("phone", "dark"), pytest.param("desk", "dark", marks=LONG),
        pytest.param("phone", "light", marks=LONG),
    ],
)  # fmt: skip
def test_no_page_breaks_a_rule_of_axe(
    screen: str, scheme: str, shown_store: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    axe = (files(pytest.importorskip("axe_playwright_python")) / "axe.min.js").read_text()
    monkeypatch.setenv("PETRIEVE_PASSWORD", "mimi")
    folder = shown_store.with_name("added")
    folder.mkdir()
    sight = {"viewport": SCREENS[screen], "color_scheme": scheme, "reduced_motion": "reduce"}
    with (
        opened(shown_store, start, "--library", folder) as gallery,
        seen(gallery.address, expected="status of 404", **sight) as page,
    ):
        wrong: list[tuple[str, Any]] = []

        def look(where: str) -> None:
            page.evaluate(axe)
            wrong.extend((where, one) for one in page.evaluate(RULES))

        for path in pages_of(gallery, all_=(screen, scheme) not in (("desk", "light"), ("phone", "dark"))):
            page.goto(gallery.home + path)
            look(path)
        page.goto(gallery.home + "browse")
        until(page, "document.querySelectorAll('.tile img[src]').length > 3")
        page.locator("#photo-0").click()
        look("chosen")
        page.locator("input[name=value]").fill("cat")
        page.locator("button[value=say]").click()
        page.wait_for_url("**/browse/selected")
        look("noted")
        gallery.post("library/map")
        while not gallery.get("map/state").json()["job"]["ended"]:
            time.sleep(0.1)
        page.goto(gallery.home + "map?lasso=all")
        until(page, "document.getElementById('ground')?.dataset.rest === 'yes'")
        look("a map")
        assert wrong == []


KEYS = [*"yo123sukbxnf+-0", *"Enter Escape Space Tab Home End PageDown ArrowRight Shift+ArrowDown Control+a".split()]
PLACES = ("", "browse", "map", "review", "library", *(f"review/{one}" for one in LISTS))
FINDABLE = "a[href], button, input, select, summary, label, li[role=option], .frame"


@pytest.mark.torture
def test_clicks_keys_and_drops_at_random_break_nothing(
    shown_store: Path, varied: Path, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = float(os.environ.get("RANDOM_SECONDS", "600"))
    seed = int(os.environ.get("RANDOM_SEED", "0"))
    draw = random.Random(seed)
    some = [one for folder in (ODD, varied) if folder.exists() for one in sorted(folder.rglob("*.*")) if one.is_file()]
    folder = shown_store.with_name("added")
    folder.mkdir()
    with (
        opened(shown_store, start, "--library", folder) as gallery,
        seen(gallery.address, expected="Failed to load resource: the server responded with a status of 4") as page,
    ):
        list(pages_of(gallery))
        memory, broken = Path(f"/proc/{gallery.process.pid}/statm"), list[str]()
        page.on("response", lambda one: broken.append(f"{one.status} {one.url}") if one.status == 500 else None)
        page.on("dialog", lambda one: one.dismiss())
        begun, sizes, acts = time.monotonic(), list[int](), 0
        while time.monotonic() - begun < seconds:
            act(page, gallery, draw, some)
            acts += 1
            if acts % 50 == 0:
                sizes.append(int(memory.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20)
            assert not broken, (seed, acts, broken)
        assert gallery.get().status_code == 200
    done = gallery.process.kill_group()
    with capsys.disabled():
        print(f"{acts} acts, memory in MB {sizes[:: max(1, len(sizes) // 10)]}")
    assert "Traceback" not in done.err, done.err
    third = len(sizes) // 3
    assert max(sizes[-third:]) < max(sizes[third : 2 * third]) * 1.2 + 100, sizes


def act(page: Any, gallery: Gallery, draw: random.Random, some: list[Path]) -> None:
    """Do one thing at random, as a user may."""
    from playwright.sync_api import Error

    kind = draw.choices(("click", "key", "type", "drop", "back", "reload", "go"), (10, 6, 2, 2, 2, 1, 1))[0]
    try:
        if kind == "click":
            page.locator(FINDABLE).nth(draw.randrange(max(1, page.locator(FINDABLE).count()))).click(
                timeout=500, no_wait_after=True
            )
        elif kind == "key":
            page.keyboard.press(draw.choice(KEYS))
        elif kind == "type":
            fields = page.locator("input:not([type=hidden], [type=file], [type=checkbox]), select")
            fields.nth(draw.randrange(max(1, fields.count()))).focus(timeout=500)
            page.keyboard.type(draw.choice(["cat", "label = 'dog'", "<b>x", "((", "3", "repeat('x', 9)", "é\u202e\t"]))
            page.keyboard.press("Enter")
        elif kind == "drop":
            page.goto(gallery.home)
            page.set_input_files("#photos", draw.sample(some, draw.choice((1, 1, 1, 3))), timeout=2000)
            page.wait_for_load_state(timeout=20_000)
        elif kind == "back":
            page.go_back(timeout=5000)
        elif kind == "reload":
            page.reload(timeout=20_000)
        else:
            page.goto(
                gallery.home + draw.choice(("", "browse", "review", "library", *(f"review/{one}" for one in LISTS)))
            )
    except Error as error:  # what was to be clicked is away, or a file is being saved
        if page.is_closed() or "crash" in str(error):
            raise
