"""The page's map in a real browser, without a graphics card: what the table "map of a million" of RESULTS.md has.

    python benchmarks/large.py /tmp/large --photos 1000000 && python cli.py build-map --store /tmp/large
    python benchmarks/map.py /tmp/large --browser /usr/bin/chromium

The page says itself when it has drawn what (`data-drawn`, `data-rest`); a frame is counted where it clears its canvas.
A hover ends in the frame after the photo has come, whose thumbnail was made before.
"""

import argparse
import io
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

from machine import machine
from page import gallery
from PIL import Image
from playwright.sync_api import sync_playwright

WATCH = """
window.times = {}; window.frames = []; window.gaps = []; window.hovers = [];
const { clear } = WebGL2RenderingContext.prototype;
WebGL2RenderingContext.prototype.clear = function (bits) { frames.push(performance.now()); clear.call(this, bits); };
document.addEventListener("DOMContentLoaded", () => {
  const ground = document.getElementById("ground");
  if (!ground) return;
  const look = () => {
    if (Number(ground.dataset.drawn)) times.first ??= performance.now();
    if (ground.dataset.rest) times.all ??= performance.now();
  };
  new MutationObserver(() => requestAnimationFrame(look)).observe(ground, { attributes: true });
  let last = performance.now();
  const gap = (now) => { gaps.push(now - last); last = now; requestAnimationFrame(gap); };
  requestAnimationFrame(gap);
  let asked = 0;
  ground.querySelector("canvas").addEventListener("pointermove", () => { asked ||= performance.now(); }, true);
  ground.querySelector(".card img").addEventListener("load", () => requestAnimationFrame(() => {
    if (asked) hovers.push(performance.now() - asked);
    asked = 0;
  }));
});
"""

CHOOSE = """
const canvas = document.querySelector("#ground canvas"), chosen = document.getElementById("chosen");
canvas.addEventListener("pointerup", () => { window.up = performance.now(); }, true);
new MutationObserver(() => { window.chose ??= performance.now(); }).observe(chosen, { childList: true });
"""


def seconds_until(page: Any, script: str, most: float = 120) -> float:
    """Seconds until a script finds something."""
    began = time.perf_counter()
    while not page.evaluate(script):
        if time.perf_counter() - began > most:
            raise SystemExit(f"not within {most:.0f} s: {script}")
        time.sleep(0.05)
    return time.perf_counter() - began


def opening(page: Any, address: str) -> dict[str, float]:
    """Seconds from asking for the page to its first picture, and to all points."""
    page.goto(address)
    seconds_until(page, "window.times?.all")
    times = page.evaluate("times")
    return {name: times[name] / 1000 for name in ("first", "all")}


def moving(page: Any, seconds: float = 4) -> dict[str, float]:
    """Frames a second while a hand drags the map, and the longest time in which the page did nothing."""
    box = page.locator("#ground canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate("frames.length = gaps.length = 0")
    began, step = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        step += 1
        page.mouse.move(x + step % 100, y + step % 60)
    drawn, longest = page.evaluate("[frames.length, Math.max(...gaps)]")
    passed = time.perf_counter() - began
    page.mouse.up()
    return {"frames_per_second": drawn / passed, "longest_pause_ms": longest}


def hovering(page: Any, digests: bytes, store: str) -> list[float]:
    """Milliseconds from a movement to the photo, of points whose thumbnails are there."""
    from petrieve.gallery.web.thumbnails import Thumbnails, thumbnail
    from petrieve.store.folder import Store

    drawn = io.BytesIO()
    Image.effect_noise((320, 240), 60).convert("RGB").save(drawn, "JPEG")
    kept, jpeg = Thumbnails.of(Store.at(store)), thumbnail(drawn.getvalue())
    box = page.locator("#ground canvas").bounding_box()
    for number in range(24):
        across, down = 0.3 + 0.4 * (number % 6) / 6, 0.3 + 0.4 * (number // 6) / 4
        place = box["x"] + across * box["width"], box["y"] + down * box["height"]
        for _ in range(2):  # the first to learn which point it is
            page.mouse.move(*place)
            page.wait_for_timeout(400)
            at = page.locator(".card").get_attribute("data-at")
            if at and not page.locator(".card").is_hidden():
                kept.put(digests[16 * int(at) : 16 * int(at) + 16], jpeg)
            page.mouse.move(box["x"] + 3, box["y"] + box["height"] - 3)
            page.wait_for_timeout(100)
    page.reload()
    seconds_until(page, "window.times?.all")
    found = []
    for number in range(24):
        across, down = 0.3 + 0.4 * (number % 6) / 6, 0.3 + 0.4 * (number // 6) / 4
        page.evaluate("hovers.length = 0")
        page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
        page.wait_for_timeout(400)
        found += page.evaluate("hovers.slice(0, 1)")
    return found


def choosing(page: Any) -> dict[str, Any]:
    """Milliseconds from the end of a line around much of the map to how many are chosen, and how many."""
    box = page.locator("#ground canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.keyboard.down("Shift")
    page.mouse.move(x + 200, y)
    page.mouse.down()
    for across, down in ((140, 140), (0, 200), (-140, 140), (-200, 0), (-140, -140), (0, -200), (140, -140)):
        page.mouse.move(x + across, y + down, steps=15)
    page.evaluate(CHOOSE)
    page.mouse.up()
    page.keyboard.up("Shift")
    seconds_until(page, "window.chose")
    took, words = page.evaluate("[chose - up, document.getElementById('chosen').textContent]")
    return {"ms": took, "chosen": int(words.split()[0].replace(",", ""))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--browser", default="/usr/bin/chromium")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--picture", type=Path, help="a folder for what the page looked like")
    given = parser.parse_args()
    with gallery(Path(given.store)) as (address, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=given.browser, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1280, "height": 850})
        page = context.new_page()
        page.add_init_script(WATCH)
        page.goto(address)
        home = address.partition("?")[0]
        began = time.perf_counter()
        page.goto(home + "map")
        page.locator("#ground").wait_for(state="attached", timeout=120_000)
        cold = time.perf_counter() - began
        opened = [opening(page, home + "map") for _ in range(given.rounds)]
        moved = [moving(page) for _ in range(3)]
        seconds_until(page, "document.getElementById('ground').dataset.rest === 'yes'")
        if given.picture:
            page.screenshot(path=given.picture / "map.png")
        of = page.locator("#ground").get_attribute("data-of")
        digests = context.request.get(f"{home}map/digests?of={of}").body()
        page.goto(home + "map")
        seconds_until(page, "window.times?.all")
        hovers = hovering(page, digests, given.store)
        chose = choosing(page)
        heap = context.new_cdp_session(page).send("Runtime.getHeapUsage")
        print(
            json.dumps(
                {
                    **machine(("starlette", "playwright")),
                    "browser": browser.version,
                    "load": os.getloadavg()[0],
                    "points": len(digests) // 16,
                    "first_time_s": round(cold, 2),
                    "first_picture_s": spread([one["first"] for one in opened]),
                    "all_points_s": spread([one["all"] for one in opened]),
                    "frames_per_second": spread([one["frames_per_second"] for one in moved]),
                    "longest_pause_ms": spread([one["longest_pause_ms"] for one in moved]),
                    "hover_ms": spread(hovers),
                    "hovers": len(hovers),
                    "lasso": chose,
                    "heap_mb": round((heap["usedSize"] + heap.get("backingStorageSize", 0)) / 1e6, 1),
                }
            )
        )


def spread(values: list[float]) -> list[float]:
    """The median, the least and the most."""
    return [round(one, 2) for one in (statistics.median(values), min(values), max(values))] if values else []


if __name__ == "__main__":
    main()
