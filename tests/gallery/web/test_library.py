"""The page about the store, and the jobs that it can start."""

import csv
import io
import re
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
from conftest import Done, Process
from pages import Gallery, opened, seen
from PIL import Image

Start = Callable[..., Process]


def ended(gallery: Gallery) -> dict[str, object]:
    """The job that was begun, once it has ended."""
    end = time.monotonic() + 60
    while not (job := gallery.get("library/state").json()["job"])["ended"]:
        assert time.monotonic() < end
        time.sleep(0.05)
    return dict(job)


def test_a_page_says_what_is_there_and_does_what_it_says(
    photos: Path, tmp_path: Path, start: Start, run: Callable[..., Done]
) -> None:
    store = tmp_path / "s"
    (photos / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff no more")
    assert run("embed", photos, "--store", store, "--weights", "bundled").status == 0
    with opened(store, start) as gallery:
        text = gallery.get("library").text
        assert 'href="browse?label=cat"' in text
        assert "broken.jpg" in text
        assert "There is no head yet" in text
        assert f"fit-head --store {store}" in text
        assert gallery.post("library/fit").ok
        assert ended(gallery)["problem"] == ""
        assert "The head tells 2 classes" in gallery.get("library").text
        Image.new("RGB", (300, 260), "red").save(photos / "cat" / "new.jpg")
        (source,) = re.findall(r'name="source" value="(\w+)"', text)
        assert gallery.post("library/embed", data={"source": source}).ok
        job = ended(gallery)
        assert (job["done"], job["of"]) == (1, 1)
        assert "new.jpg" in gallery.get("library/photos.csv").text
        assert gallery.get("library/report.html").status_code == 404
        assert gallery.post("library/report").ok
        assert ended(gallery)["problem"] == ""
        report = gallery.get("library/report.html")
        assert report.headers["content-disposition"].startswith("attachment")
        assert "<html" in report.text


def test_no_other_folder_is_embedded_and_a_run_elsewhere_is_seen(store: Path, tmp_path: Path, start: Start) -> None:
    with opened(store, start) as gallery:
        (tmp_path / "mine").mkdir()
        for source in (str(tmp_path / "mine"), "/", "", "."):
            assert gallery.post("library/embed", data={"source": source}).status_code == 404
        assert gallery.post("library/drop", data={}).status_code == 404
        with seen(gallery.address, viewport={"width": 390, "height": 800}) as page:
            page.goto(gallery.home + "library")
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            hold = "import time; from petrieve.store.lock import writing; from petrieve.store.folder import Store"
            then = f"held = writing(Store.at({str(store)!r})); held.__enter__(); time.sleep(60)"
            other = start(first=f"{hold}; {then}")
            page.get_by_text("is writing to the store, which has 40 photos now").wait_for()
            other.kill_group()
            page.get_by_text("is writing to the store").wait_for(state="detached")
        rows = list(csv.DictReader(io.StringIO(gallery.get("library/photos.csv").text)))
        assert len(rows) == 40
        table = pq.read_table(io.BytesIO(gallery.get("library/photos.parquet").content))
        assert table.num_rows == 40
