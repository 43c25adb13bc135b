"""What others with the password see: all pages, and no folder of this machine on any of them."""

import html
import io
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin

import pytest
from conftest import Process
from pages import lists_made, opened

Start = Callable[..., Process]


@pytest.mark.parametrize("all_", [False, pytest.param(True, marks=pytest.mark.torture)])
def test_no_page_and_no_file_names_a_folder_of_this_machine(
    all_: bool, shown_store: Path, varied: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETRIEVE_PASSWORD", "mimi")
    hidden = (str(varied.parent), str(shown_store.parent), str(Path.home()), "/tmp")

    def check(where: str, text: str) -> str:
        text = html.unescape(text)
        assert not [one for one in hidden if one in text], where
        return text

    with opened(shown_store, start, "--host", "0.0.0.0") as gallery:
        lists_made(gallery, all_=all_)

        def walk() -> None:
            waiting, seen = [gallery.home], set[str]()
            while waiting:
                address = waiting.pop()
                answer = gallery.get(address.removeprefix(gallery.home))
                assert answer.status_code in (200, 403), address
                if not answer.headers["content-type"].startswith(("text", "application/json")):
                    continue
                text = check(address, answer.text)
                for found in re.findall(r"(?:href|src|data-items|data-state)=\"([^\"]+)\"", text):
                    other = urljoin(address, found).partition("#")[0]
                    kind = re.sub(r"[0-9a-f]{32}|\d+", "…", other.removeprefix(gallery.home))
                    if other.startswith(gallery.home) and kind not in seen:  # of photos one stands for all
                        seen.add(kind)
                        waiting.append(other)
            assert {"browse", "library", "review/leaks", "library/photos.csv"} <= seen

        walk()
        digest = re.findall(r'name="photo" value="(\w+)"', gallery.get("browse").text)
        (order,) = re.findall(r'data-of="(\w+)"', gallery.get("browse").text)
        assert "train/cat" not in check("captions", gallery.get(f"browse/captions?of={order}&from=0&count=99").text)
        for do in ("csv", "say"):
            fields = {"do": do, "column": "label", "value": "cat", "photo": digest[:3]}
            assert gallery.post("browse/selected", data=fields).status_code == 200
            check(do, gallery.post("browse/selected", data={**fields, "column": "age", "value": "3"}).text)
            check(do, gallery.post("browse/selected", data=fields).text)
        away = varied / "train" / "cat" / "twin.jpg"
        away.rename(varied.parent / "away.jpg")
        try:
            answer = gallery.post("browse/selected", data={"do": "zip", "photo": digest})
            with zipfile.ZipFile(io.BytesIO(answer.content)) as made:
                check("zip", "\n".join([*made.namelist(), made.read("not-there.txt").decode()]))
        finally:
            (varied.parent / "away.jpg").rename(away)
        (item, *_) = gallery.get("review/leaks/items").json()["items"]
        for key in (item["key"], "nonsense"):
            check("decided", gallery.post("review/leaks", data={"key": key, "decision": "go"}).text)
        (key, *_) = re.findall(r'name="source" value="(\w+)"', gallery.get("library").text)
        jobs = (("library/map", {}), ("library/embed", {"source": key}), ("library/report", {}), ("review/fit", {}))
        for path, fields in jobs if all_ else jobs[:2]:
            check(path, gallery.post(path, data=fields).text)
            while not gallery.get("library/state").json()["job"]["ended"]:
                time.sleep(0.1)
            assert not gallery.get("library/state").json()["job"]["problem"]
        assert (
            gallery.get("library/photos.parquet").status_code == gallery.get("library/report.html").status_code == 403
        )
        lists_made(gallery, all_=all_)
        walk()
        while not (ground := re.findall(r'id="ground" data-of="(\w+)"', gallery.get("map").text)):
            time.sleep(0.1)
        assert ".jpg" in check("map", gallery.get(f"map/photo?of={ground[0]}&at=0").text)
        assert check("broken", gallery.post("drop", files={"photos": ("a.jpg", b"no photo")}).text)
        (shown_store / "store.json").write_text("{")
        for path in ("", "browse", "browse?where=x = 3", "map", "review", "review/copies", "library"):
            check(path, gallery.get(path).text)
