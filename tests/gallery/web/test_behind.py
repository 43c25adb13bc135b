"""The pages below a path of another server, as a notebook's proxy has them (`/proxy/8765/`)."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pages import Gallery, seen, until

BELOW = "/user/anna/proxy/8765"


@contextmanager
def proxied(gallery: Gallery) -> Iterator[str]:
    """The address of a gallery below a path: the path is cut off, all headers are handed on."""
    behind = gallery.home.split("/")[2]

    class Handed(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def hand_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            line = http.client.HTTPConnection(behind, timeout=60)
            path = self.path.removeprefix(BELOW)
            assert path != self.path, f"{self.path} leads out of {BELOW}"
            line.request(self.command, path, body, dict(self.headers.items()))
            answer = line.getresponse()
            data = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = hand_on  # noqa: N815 - as the library calls them

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handed)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{BELOW}/?{gallery.address.partition('?')[2]}"
    finally:
        server.shutdown()
        server.server_close()


def test_all_pages_work_below_a_path(shown: Gallery, drawn: Path) -> None:
    with proxied(shown) as address, seen(address) as page:
        home = address.partition("?")[0]
        assert page.url.startswith(home)
        page.set_input_files("#photos", drawn / "cat" / "milo-1.jpg")
        page.wait_for_url(f"{home}?photo=*")
        until(page, "[...document.querySelectorAll('.grid img')].slice(0, 3).every(one => one.naturalWidth)")
        page.locator(".grid .why").first.click()
        page.wait_for_url(f"{home}why?a=*")
        page.get_by_role("link", name="Browse").click()
        until(page, "[...document.querySelectorAll('.tile img[src]')].some(one => one.naturalWidth)")
        page.get_by_role("link", name="Review").click()
        page.get_by_role("link", name="Least sure").click(timeout=60_000)
        page.wait_for_url(f"{home}review/unsure")
        until(page, "!document.getElementById('zoom').hidden")  # from then on it listens to keys
        left = page.locator("#left").inner_text()
        page.keyboard.press("s")
        until(page, f"document.getElementById('left').textContent !== {left!r}")
        page.keyboard.press("u")
        until(page, f"document.getElementById('left').textContent === {left!r}")
        page.get_by_role("link", name="Library").click()
        page.wait_for_url(f"{home}library")
        assert page.locator("table").count() >= 1
