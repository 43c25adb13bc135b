"""The page in a real browser: what the table "The page" of RESULTS.md has.

    python benchmarks/page.py --folder /tmp/page [--photos 25000 1000000] [--real ../shared/photos/train]

Stores are made up but for 40 drawn photos with a head. What is timed begins with the event in the browser (a file is
chosen, a link is clicked, a key goes down) and ends in the frame that shows the answer, by the browser's own clock.
Thumbnails of made-up photos are those of drawn ones, put where the gallery keeps its own.
"""

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from lookup import made
from machine import machine
from playwright.sync_api import sync_playwright

from petrieve.extractor.sources.sample import draw_sample
from petrieve.gallery.web.thumbnails import FILE, Thumbnails, thumbnail
from petrieve.store.folder import Store

ROOT = Path(__file__).resolve().parents[1]
FRAME = 1000 / 60  # milliseconds
# From an event to the frame that shows the answer, and to that with its pictures; gaps between frames; keys.
WATCH = """
const begin = () => {
  const began = performance.now(), old = document.querySelector("main > .answer");
  let answer = 0, tell;
  window.answered = new Promise((done) => { tell = done; });
  const look = (time) => {
    const shown = document.querySelector("main > .answer");
    if (!shown || shown === old) return requestAnimationFrame(look);
    if (!answer) return requestAnimationFrame((next) => { answer = next - began; look(next); });
    const inSight = (one) => one.getBoundingClientRect().top < innerHeight;
    const images = [...shown.querySelectorAll(".grid img")].filter(inSight);
    if (!images.every((one) => one.complete)) return requestAnimationFrame(look);
    requestAnimationFrame((next) => tell({ answer, pictures: next - began }));
  };
  requestAnimationFrame(look);
};
document.addEventListener("change", begin, true);
document.addEventListener("click", begin, true);
window.gaps = [];
let last = performance.now();
const gap = (time) => { gaps.push(time - last); last = time; requestAnimationFrame(gap); };
requestAnimationFrame(gap);
window.keys = [];
document.addEventListener("keydown", () => {
  const began = performance.now(), before = document.querySelector("#pictures img");
  const look = () => {
    const shown = document.querySelector("#pictures img");
    if (shown === before || !shown.complete) return requestAnimationFrame(look);
    requestAnimationFrame(() => keys.push(performance.now() - began));
  };
  requestAnimationFrame(look);
}, true);
"""
SCROLLER = "document.querySelector('.scroller')"
BYTES = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .filter(one => !/\\/photo\\//.test(one.name)).reduce((sum, one) => sum + one.transferSize, 0)"""


def spread(values: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 1), "min": round(min(values), 1), "max": round(max(values), 1)}


@contextmanager
def gallery(store: Path) -> Iterator[tuple[str, float]]:
    """The address of a gallery of a store, with its key, and when its process was started."""
    began = time.perf_counter()
    command = [sys.executable, str(ROOT / "cli.py"), "gallery", "--store", str(store), "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield re.findall(r"http://\S+", process.stdout.readline())[0], began
    finally:
        process.terminate()
        process.wait(20)


def started(context: Any, store: Path, rounds: int) -> list[float]:
    """Milliseconds from the start of the command to the first page, shown."""
    found = []
    for _ in range(rounds):
        page = context.new_page()
        with gallery(store) as (address, began):
            page.goto(address)
            page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            found.append((time.perf_counter() - began) * 1000)
        page.close()
    return found


def planted(store: Path, digests: list[bytes], folder: Path) -> None:
    """Thumbnails where the gallery keeps its own: those of drawn photos in turn."""
    pictures = [thumbnail(photo.read_bytes()) for photo in sorted((folder / "drawn").rglob("*.*"))[:40]]
    kept = Thumbnails.of(Store.at(str(store)))
    for number, digest in enumerate(digests):
        kept.put(digest, pictures[number % len(pictures)])


def shown(page: Any) -> list[bytes]:
    """The digests of the photos that a page has pictures of."""
    return [bytes.fromhex(one) for one in re.findall(r"photo/([0-9a-f]{32})\.jpg", page.content())]


def answered(page: Any, act: Callable[[], None]) -> dict[str, float]:
    """Milliseconds from an act to the answer, and to the pictures of the look-alikes that are in sight."""
    act()
    return dict(
        page.evaluate("window.answered")
    )  # it waits in the page, where asking again and again would cost frames


def dropped(page: Any, home: str, photos: list[Path]) -> list[float]:
    """Milliseconds from a chosen file to the answer; the first photo warms up."""
    found = []
    for photo in photos:
        page.goto(home)
        found.append(answered(page, lambda photo=photo: page.locator("#photos").set_input_files(photo))["answer"])
    return found[1:]


def clicked(page: Any, store: Path, folder: Path, rounds: int) -> list[dict[str, float]]:
    """The same from a click on a look-alike, whose look-alikes' thumbnails the server has and the browser has not."""
    found = []
    for number in range(rounds):
        link = page.locator(".grid a:not(.why)").nth(number % 3)
        where = page.url
        page.goto(link.evaluate("one => one.href"))
        planted(store, shown(page), folder)
        page.goto(where)
        page.context.new_cdp_session(page).send("Network.clearBrowserCache")
        page.wait_for_timeout(300)
        found.append(answered(page, link.click))
    return found


def scrolled(page: Any, home: str, store: Path, folder: Path, session: Any) -> dict[str, float]:
    """Frames that are left out in 20 s of the wheel with leaps of the bar, and the memory of the page, MB."""
    page.goto(home + "browse")
    page.wait_for_timeout(500)
    wall = page.locator("#wall")
    of, count = wall.get_attribute("data-of"), int(wall.get_attribute("data-count"))
    for start in range(0, count, max(1, count // 20)):
        block = page.request.get(f"{home}browse/digests?of={of}&from={start}&count=1500").body()
        planted(store, [block[at : at + 16] for at in range(0, len(block), 16)], folder)
    page.reload()
    page.wait_for_timeout(500)
    box = page.locator(".scroller").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.evaluate("gaps.length = 0")
    gaps: list[float] = []
    for leap in range(20):
        page.evaluate(f"{SCROLLER}.scrollTop = {leap} / 20 * {SCROLLER}.scrollHeight")
        ends = time.perf_counter() + 1
        while time.perf_counter() < ends:
            page.mouse.wheel(0, 60)
            time.sleep(0.015)
        gaps += page.evaluate("gaps.splice(0)")
    left = sum(max(0, round(gap / FRAME) - 1) for gap in gaps)
    return {
        "dropped_percent": round(100 * left / (left + len(gaps)), 2),
        "longest_ms": round(max(gaps), 1),
        **memory(session),
    }


def memory(session: Any) -> dict[str, float]:
    """MB that the page's process holds, its share of what it has in common with others included; and those without the
    decoded pictures that Chromium may drop, which are its shared memory.
    """
    held = []
    for one in session.send("SystemInfo.getProcessInfo")["processInfo"]:
        if one["type"] == "renderer":
            lines = Path(f"/proc/{one['id']}/smaps_rollup").read_text()
            held.append([int(re.findall(rf"{name}:\s+(\d+)", lines)[0]) / 1000 for name in ("Pss", "Pss_Shmem")])
    whole, shared = max(held)
    return {"page_mb": round(whole, 1), "page_mb_without_pictures": round(whole - shared, 1)}


def reviewed(page: Any, home: str) -> list[float]:
    """Milliseconds from a key to the next photo, in the frame that shows it."""
    end = time.monotonic() + 300
    page.goto(home + "review")
    while page.request.get(home + "review/state").json()["busy"]:
        assert time.monotonic() < end
        time.sleep(0.5)
    found: list[float] = []
    page.goto(home + "review/unsure")
    page.wait_for_timeout(1500)
    for _ in range(15):
        page.keyboard.press("s")
        page.wait_for_timeout(400)
        found += page.evaluate("keys.splice(0)")
    return found


def fetched(host: str, port: int, paths: Sequence[str], cookie: str) -> Iterator[int]:
    """The bytes of each of these answers, asked for over one connection: so plainly that it costs next to nothing."""
    with socket.create_connection((host, port)) as connection, connection.makefile("rb") as answers:
        for path in paths:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: {cookie}\r\n\r\n".encode())
            assert answers.readline().split()[1] == b"200"
            headers = dict(line.lower().split(b": ", 1) for line in iter(answers.readline, b"\r\n"))
            yield len(answers.read(int(headers[b"content-length"])))


def thumbnails(photos: Path, folder: Path) -> dict[str, float]:
    """Thumbnails a second of real photos that have none yet, asked for over eight connections."""
    store = folder / "real"
    if not store.exists():
        command = [sys.executable, str(ROOT / "cli.py"), "embed", str(photos), "--store", str(store)]
        subprocess.run([*command, "--weights", "bundled"], check=True, capture_output=True)
    for file in store.glob(f"{FILE}*"):
        file.unlink()
    with gallery(store) as (address, _):
        home = address.partition("?")[0]
        first = requests.Session()
        first.get(address)
        of = re.findall(r'data-of="([^"]+)"', first.get(home + "browse").text)[0]
        block = first.get(f"{home}browse/digests?of={of}&from=0&count=100000").content
        digests = [block[at : at + 16].hex() for at in range(0, len(block), 16)]
        where = urlsplit(home)
        cookie = "; ".join(f"{name}={value}" for name, value in first.cookies.items())

        def get(number: int) -> int:
            wanted = [f"{where.path}photo/{one}.jpg" for one in digests[number::8]]
            return sum(fetched(str(where.hostname), int(where.port or 80), wanted, cookie))

        def all_of_them() -> tuple[float, int]:
            began = time.perf_counter()
            with ThreadPoolExecutor(8) as pool:
                size = sum(pool.map(get, range(8)))
            return time.perf_counter() - began, size

        first_time, size = all_of_them()
        again, _ = all_of_them()
    return {
        "photos": len(digests),
        "first_time_per_s": round(len(digests) / first_time),
        "again_per_s": round(len(digests) / again),
        "kb_each": round(size / len(digests) / 1000, 1),
    }


def of_store(browser: Any, store: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """All figures of one store."""
    context = browser.new_context(viewport={"width": 1280, "height": 850})
    found: dict[str, Any] = {"start_ms": spread(started(context, store, rounds))}
    with gallery(store) as (address, _):
        page = context.new_page()
        page.add_init_script(WATCH)
        page.goto(address)
        home = address.partition("?")[0]
        found["first_page_kb"] = round(page.evaluate(BYTES) / 1000, 1)

        asked = sorted((folder / "asked").rglob("*.*"))[: rounds + 1]
        found["drop_to_answer_ms"] = spread(dropped(page, home, asked))
        times = clicked(page, store, folder, rounds)
        found["look_alikes_answer_ms"] = spread([one["answer"] for one in times])
        found["look_alikes_pictures_ms"] = spread([one["pictures"] for one in times])
        session = browser.new_browser_cdp_session()
        found["scroll"] = scrolled(page, home, store, folder, session)
        found["key_to_next_ms"] = spread(reviewed(page, home))
    context.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--photos", type=int, nargs="*", default=[25000])
    parser.add_argument("--real", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--browser", default="/usr/bin/chromium")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as own, sync_playwright() as playwright:
        folder = given.folder or Path(own)
        folder.mkdir(exist_ok=True)
        draw_sample(folder / "asked", photos=given.rounds + 1, seed=3)
        stores = {photos: made(folder, photos) for photos in given.photos}
        browser = playwright.chromium.launch(executable_path=given.browser, args=["--no-sandbox"])
        told: dict[str, Any] = {
            **machine(("starlette", "playwright")),
            "browser": browser.version,
            "load": os.getloadavg()[0],
        }
        for photos, store in stores.items():
            told[str(photos)] = of_store(browser, store, folder, given.rounds)
        if given.real:
            told["thumbnails"] = thumbnails(given.real, folder)
        browser.close()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
