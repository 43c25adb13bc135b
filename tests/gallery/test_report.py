"""The report: one page, looked at in a real browser, that nothing in the data can take over."""

import json
import os
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, Browser
from conftest import Done, Process
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from planting import of_trunk

from petrieve.classifier import head
from petrieve.classifier.auditing.outcomes import outcomes
from petrieve.classifier.labelled import read
from petrieve.extractor.picture import picture
from petrieve.gallery.report import page as report
from petrieve.gallery.report import plots
from petrieve.gallery.words import printable
from petrieve.store.cache import Cache

Run = Callable[..., Done]
EVIL = ["<img src=x onerror=alert(1)>.jpg", "\"quoted' &amp; <b>.jpg", "javascript:alert(2) \u202e.jpg"]
CLASS = "<script>alert(3)<"
with_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here to look at the page with")


@pytest.fixture(scope="module")
def page(run: Run, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report whose photos and one of whose classes have the worst names, several of them labelled wrongly."""
    folder = tmp_path_factory.mktemp("report")
    photos = Path(shutil.copytree(drawn, folder / "photos"))
    (photos / "cat").rename(photos / CLASS)
    for name, file in zip(EVIL, sorted((photos / "dog").iterdir()), strict=False):
        ImageOps.mirror(Image.open(file).convert("RGB")).save(photos / CLASS / name)
    assert run("embed", photos, "--store", folder / "store", "--weights", "bundled").status == 0
    assert run("fit-head", "--store", folder / "store").status == 0
    done = run("report", "--store", folder / "store", "--out", folder / "report.html", "--json")
    assert done.status == 0, done.err
    assert done.json["size_bytes"] == (folder / "report.html").stat().st_size
    assert done.json["mistakes"] >= 1
    return folder / "report.html"


class Tags(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_says_what_the_head_says(run: Run, page: Path) -> None:
    said = run("info", "--store", page.parent / "store", "--json").json["head"]
    text = Tags(page.read_text()).text
    assert f"{said['accuracy']:.1%}" in text
    assert f"{said['log_loss']:.3f}" in text
    for row in said["per_class"]:
        assert f"{row['f1']:.1%}" in text
    for count in sum(said["confusion"], []):  # noqa: RUF017
        assert count == 0 or str(count) in text
    assert f"{CLASS} or dog?" in text
    assert f"{CLASS}, or dog?" in text


def test_every_strength_of_l2_that_was_tried_has_its_place_on_the_line(run: Run, page: Path) -> None:
    grid = run("info", "--store", page.parent / "store", "--json").json["head"]["l2_grid"]
    (drawn,) = re.findall(r'aria-label="L2 grid".*?points="(.*?)"', page.read_text())
    across = [float(point.split(",")[0]) for point in drawn.split()]
    assert len(set(across)) == len(grid) > 10
    assert across == sorted(across)


def test_held_out_photos_are_what_is_shown_where_there_is_a_split(run: Run, drawn: Path, tmp_path: Path) -> None:
    for number, file in enumerate(sorted(drawn.glob("*/*"))):
        # Half of them for training; of the rest the first ten labelled wrongly.
        split, label = ("train" if number % 2 else "test"), file.parent.name
        if not number % 2 and number < 20:
            label = {"cat": "dog", "dog": "cat"}[label]
        (tmp_path / split / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / split / label / f"{number}{file.suffix}")
    run("embed", tmp_path / "train", tmp_path / "test", "--store", "s", "--weights", "bundled")
    run("fit-head", "--store", "s")
    cache = Cache.open("s")
    mistakes, _ = outcomes(read(cache), head.load(cache))
    assert all("/test/" in one.photo for one in mistakes)
    report_ = head.load(cache).report
    assert len(mistakes) == sum(map(sum, report_.confusion)) - sum(report_.confusion[i][i] for i in range(2)) > 0


def test_nothing_in_the_page_loads_or_runs_anything(page: Path) -> None:
    tags = Tags(page.read_text())
    assert not {"script", "iframe", "object", "form", "a"} & {tag for tag, _ in tags.found}
    for tag, attributes in tags.found:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:"), tag
    assert "url(" not in page.read_text()


@with_browser
def test_a_browser_has_nothing_to_complain_of(page: Path, tmp_path: Path) -> None:
    with Browser(tmp_path / "browser") as browser:
        browser.open(page.as_uri())
        assert browser.requests() == [page.as_uri()]
        assert browser.complaints() == []
        said = browser.evaluate("document.body.innerText")
        assert printable(EVIL[0]) in said
        assert browser.evaluate("[...document.images].every(one => one.src.startsWith('data:'))")
        assert browser.evaluate("Promise.all([...document.images].map(one => one.decode())) && document.images.length")
        # The policy stops what might yet come in, and these tests would hear of it.
        browser.evaluate("document.body.append(Object.assign(new Image(), {src: 'https://example.org/x.png'}))")
        browser.evaluate("document.body.insertAdjacentHTML('beforeend', '<b style=\"color: red\">x</b>')")
        browser.evaluate("new Promise(done => setTimeout(done, 200))")
        assert browser.requests() == [page.as_uri()] or "blocked" in json.dumps(browser.events)
        assert len([one for one in browser.complaints() if "Content Security Policy" in one]) >= 2


@with_browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_can_be_read_on_a_phone_and_in_the_dark(page: Path, tmp_path: Path, dark: bool) -> None:
    with Browser(tmp_path / "browser") as browser:
        browser.look(width=360, dark=dark)
        browser.open(page.as_uri())
        assert browser.evaluate("document.documentElement.scrollWidth") == 360
        contrasts = browser.evaluate(CONTRASTS)
        assert len(contrasts) > 50
        assert min(contrasts) >= 4.5  # WCAG 2.1, success criterion 1.4.3
        assert (browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 25)") is dark


# How the colour of each piece of text, in plots too, stands out from the card or page behind it (WCAG 2.1).
CONTRASTS = """
(() => {
  const parts = colour => colour.match(/[0-9.]+/g).map(Number);
  const light = colour => parts(colour).slice(0, 3).map(c => c / 255)
    .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = one => {
    while (one.parentElement && parts(getComputedStyle(one).backgroundColor)[3] === 0) one = one.parentElement;
    return getComputedStyle(one).backgroundColor;
  };
  const texts = [...document.body.querySelectorAll("*")].filter(one => !one.matches("title, .count")
    && [...one.childNodes].some(child => child.nodeType === 3 && child.data.trim()));
  return texts.map(one => {
    const style = getComputedStyle(one);
    const both = [light(one.closest("svg") ? style.fill : style.color), light(behind(one))].sort((a, b) => b - a);
    return (both[0] + 0.05) / (both[1] + 0.05);
  });
})()
"""


@with_browser
def test_forty_classes_fit_a_phone_too(page: Path, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "many.html"
    write(run, page, file, [f"a rather long name of the breed {number}" for number in range(40)])
    with Browser(tmp_path / "browser") as browser:
        browser.look(width=360)
        browser.open(file.as_uri())
        assert browser.evaluate("document.documentElement.scrollWidth") == 360
        assert browser.evaluate("document.querySelectorAll('figure.large rect').length") == 1600
        assert browser.complaints() == []


def write(run: Run, page: Path, file: Path, classes: list[str], photo: str = "gone.jpg") -> None:
    """A page on other classes, otherwise with the figures of a head that there is."""
    said: dict[str, Any] = run("info", "--store", page.parent / "store", "--json").json["head"]
    said["classes"] = classes
    said["confusion"] = [[int(a == b) for a in range(len(classes))] for b in range(len(classes))]
    said["per_class"] = [{**said["per_class"][0], "label": name} for name in classes]
    said["roc"] = [{"label": name, "points": [(0.0, 0.0), (0.2, 0.9), (1.0, 1.0)]} for name in classes]
    wrong = {"photo": f"wrong {photo}", "label": classes[0], "predicted": classes[1], "probability": 0.9}
    doubt = {"photo": photo, "label": classes[0], "suggested": classes[1], "reason": classes[1]}
    store = {"photos": 9, "looked_at": 7, "of": 8, "trunk": "DenseNet-121", "weights": classes[0]}
    store["fingerprint"] = "0123456789abcdef"
    report.write(file, said, store=store, suspects=[doubt], mistakes=[wrong], picture=picture)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1, max_size=40), st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=40))
def test_no_text_becomes_markup(run: Run, page: Path, tmp_path: Path, name: str, photo: str) -> None:
    allowed = {tag for tag, _ in Tags(page.read_text()).found} | {"circle", "polyline", "li", "ul", "span"}
    write(run, page, tmp_path / "page.html", [name, f"not {name}"], photo)
    tags = Tags((tmp_path / "page.html").read_text())
    assert {tag for tag, _ in tags.found} <= allowed
    assert f"{printable(name)}, taken for {printable('not ' + name)}" in tags.text


def test_a_name_that_is_no_utf_8_is_shown(run: Run, drawn: Path, page: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff<i>.jpg")
    write(run, page, tmp_path / "page.html", ["cat", "dog"], name)
    assert "\\udcff<i>.jpg" in Tags((tmp_path / "page.html").read_text()).text


def test_the_same_store_gives_the_same_bytes(run: Run, page: Path, tmp_path: Path) -> None:
    assert run("report", "--store", page.parent / "store", "--out", tmp_path / "again.html").status == 0
    names = re.compile(r'<span class="name">.*?</span>|alt=".*?"')  # relative to the folder that one works in
    assert names.sub("", (tmp_path / "again.html").read_text()) == names.sub("", page.read_text())


@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from([plots.percent, plots.numbers]))
def test_an_axis_holds_all_its_values_between_its_first_and_last_tick(
    one: float, other: float, kind: Callable[[str, float, float], plots.Axis]
) -> None:
    low, high = sorted((one, other))
    axis = kind("", low, high)
    values = [value for value, _ in axis.ticks]
    assert values[0] == pytest.approx(axis.low)
    assert values[-1] == pytest.approx(axis.high)
    assert axis.low - 1e-9 <= low <= high <= axis.high + 1e-9
    assert 2 <= len(values) <= 7
    assert len({words for _, words in axis.ticks}) == len(values)


def test_photos_that_have_gone_leave_a_place(run: Run, page: Path, tmp_path: Path) -> None:
    write(run, page, tmp_path / "page.html", ["cat", "dog"])
    assert "no longer there" in Tags((tmp_path / "page.html").read_text()).text


def test_without_a_head_the_command_is_named(run: Run, store: Path) -> None:
    (of_trunk(store).head).unlink()
    done = run("report", "--store", store)
    assert (done.status, done.out, "run `cli.py fit-head`" in done.err) == (1, "", True)


def test_what_took_the_place_of_a_photo_holds_up_no_report_and_no_sheet(
    start: Callable[..., Process], photos: Path, run: Run
) -> None:
    """A pipe, which would be waited for, and a file larger than memory: both are read as `embed` reads photos."""
    asked, *others = sorted(path for path in photos.rglob("*.*"))
    assert run("embed", photos, "--store", "s", "--weights", "bundled").status == 0
    assert run("fit-head", "--store", "s").status == 0
    for number, path in enumerate(others):
        path.unlink()
        if number % 2:
            os.mkfifo(path)
        else:
            with path.open("wb") as file:
                file.truncate(1 << 40)
    for words in (
        ("report", "--out", "r.html"),
        ("audit", "--sheet", "a.jpg"),
        ("similar", asked, "-k", 20, "--sheet", "n.jpg"),
    ):
        done = start(*words, "--store", "s").done()
        assert done.status == 0, done.err
    assert "no longer there" in Path("r.html").read_text() or "No photo stands out" in Path("r.html").read_text()
    with Image.open("n.jpg") as sheet:
        assert sheet.width > 500
