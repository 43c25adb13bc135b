"""A gallery in a process of its own, as a user starts one; read by plain requests and in a real browser."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from browser import CHROMIUM
from conftest import Process


@dataclass(frozen=True)
class Gallery:
    """One that runs: its address with the key, and without it."""

    address: str
    said: list[str]
    process: Process
    asked: requests.Session = field(default_factory=requests.Session)  # who has the key

    @property
    def home(self) -> str:
        return self.address.partition("?")[0]

    def get(self, path: str = "", **more: Any) -> requests.Response:
        return self.asked.get(self.home + path, timeout=60, **more)

    def post(self, path: str, **more: Any) -> requests.Response:
        return self.asked.post(self.home + path, timeout=60, **more)


@contextmanager
def opened(store: Path, start: Callable[..., Process], *words: object) -> Iterator[Gallery]:
    """A gallery of a store, entered."""
    process = start("gallery", "--store", store, "--no-browser", *words)
    said: list[str] = []
    assert process.stdout is not None
    while not (said and said[-1].startswith("Ctrl-C")):
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        said.append(line.rstrip())
    found = re.search(r"http://\S+", said[0])
    assert found
    made = Gallery(found[0], said, process)
    made.asked.get(made.address, timeout=60)
    yield made


def shared_gallery(made_store: Path) -> Iterator[Gallery]:
    """A gallery for all tests of a file that leave it as it was: a fixture of theirs."""
    started: list[Process] = []

    def start(*words: object) -> Process:
        started.append(Process(*words))
        return started[0]

    with opened(made_store, start) as one:
        yield one
    started[0].kill_group()


@contextmanager
def seen(address: str, *, expected: str = "\0", **screen: Any) -> Iterator[Any]:
    """A page in Chromium at an address; an error on its console fails the test, and so does a request elsewhere.

    But for errors that say what is `expected`.
    """
    errors: list[str] = []
    home = address.partition("?")[0]
    sight = _browser().new_context(**screen)
    try:
        page = sight.new_page()
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda one: None if one.url.startswith((home, "data:", "blob:")) else errors.append(one.url))
        page.goto(address)
        yield page
    finally:
        sight.close()
    assert [one for one in errors if expected not in one] == []


_OPEN = list[Any]()  # Playwright and its browser, once a test has looked


def _browser() -> Any:
    if CHROMIUM is None:
        pytest.skip("no Chromium could be installed")
    from playwright.sync_api import sync_playwright

    if not _OPEN:
        playwright = sync_playwright().start()
        _OPEN.extend([playwright, playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])])
    return _OPEN[1]


def close_browser() -> None:
    """End the browser in which pages were seen."""
    if _OPEN:
        playwright, browser = _OPEN
        browser.close()
        playwright.stop()
        _OPEN.clear()


def lists_made(gallery: Gallery, *, all_: bool = True) -> None:
    """Wait until the lists of Review are made: all, or but for the near-copies, which take longest."""
    while (told := gallery.get("review/state").json())["busy"] and (all_ or "leaks" not in told["made"]):
        time.sleep(0.2)


def until(page: Any, script: str, seconds: float = 20) -> None:
    """Wait until a script finds something in a page; Playwright's own way of waiting is not allowed by its policy."""
    end = time.monotonic() + seconds
    while not page.evaluate(script):
        assert time.monotonic() < end, script
        time.sleep(0.02)
