"""Private photos on a desk: who may ask what, from where, how much, and what happens when something breaks."""

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from conftest import Done, Process, table
from pages import Gallery, opened, seen
from starlette.routing import Mount, Route

from petrieve.api.store import open as opened_store
from petrieve.gallery.web.app import application
from petrieve.gallery.web.desk import Desk
from petrieve.gallery.web.safe import HEADERS, Door

Start = Callable[..., Process]
Run = Callable[..., Done]
FREE = {"/enter", "/static"}


def first_digest(gallery: Gallery) -> str:
    words = gallery.process.args
    assert isinstance(words, list)
    return min(row[1] for row in table(Path(str(words[words.index("--store") + 1]))).values()).hex()


def raw(gallery: Gallery, request: str, body: bytes = b"", end: str = "\n\n") -> str:
    """What the server answers to these very bytes."""
    host, port = gallery.home.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=20) as line:
        line.sendall((request + end).replace("\n", "\r\n").encode() + body)
        answer = b""
        while data := line.recv(1 << 16):
            answer += data
    return answer.decode(errors="replace")


def cookie(gallery: Gallery) -> str:
    return "; ".join(f"{one.name}={one.value}" for one in gallery.asked.cookies)


def host(gallery: Gallery) -> str:
    return gallery.home.split("/")[2]


def test_every_page_and_method_wants_the_key(store: Path, gallery: Gallery) -> None:
    app = application(Desk.of(opened_store(store)), Door("key", "cookie"), ["127.0.0.1"])
    asked = 0
    for route in app.routes:
        assert isinstance(route, Route | Mount), f"{route} is of a kind that no guard has seen"
        if route.path in FREE:
            continue
        path = re.sub(r"{[^}]*}", "0" * 32, route.path if isinstance(route, Route) else route.path + "/x")
        for method in sorted(getattr(route, "methods", None) or {"GET", "POST"} | {"OPTIONS", "DELETE", "PUT"}):
            answer = requests.request(method, gallery.home.rstrip("/") + path, timeout=20, allow_redirects=False)
            assert answer.status_code == 403, (method, path)
            assert "cat" not in answer.text
            asked += 1
    assert asked >= 6


@pytest.mark.parametrize("path", ["photo/../enter", "static/../", "static/../photo/x.jpg", "enterprise", "enter/../"])
def test_what_is_free_opens_nothing_else(gallery: Gallery, path: str) -> None:
    answer = raw(gallery, f"GET /{path} HTTP/1.1\nHost: {host(gallery)}\nConnection: close")
    assert answer.split()[1] in ("403", "404")
    assert "<nav" not in answer or answer.split()[1] == "404"


def test_the_cookie_is_kept_from_scripts_and_other_sites(gallery: Gallery) -> None:
    answer = requests.get(gallery.address, timeout=20, allow_redirects=False)
    assert answer.status_code == 303
    assert "key=" not in answer.headers["location"]
    said = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(said.split("; "))
    assert "Domain" not in said
    wrong = requests.get(gallery.home + "?key=é\udce9".encode("utf-8", "replace").decode(), timeout=20)
    assert wrong.status_code == 403
    assert "set-cookie" not in wrong.headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "DELETE", "PUT"])
@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1/static/?", "127.0.0.1@evil", ""])
def test_a_host_of_another_name_is_refused_whatever_is_asked(gallery: Gallery, method: str, name: str) -> None:
    answer = raw(
        gallery, f"{method} / HTTP/1.1\nHost: {name}\nCookie: {cookie(gallery)}\nContent-Length: 0\nConnection: close"
    )
    assert answer.split()[1] == "400"
    assert "set-cookie" not in answer.lower()


@pytest.mark.parametrize(
    "said",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none, cross-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1"},
    ],
)
def test_what_another_site_has_a_browser_send_changes_nothing(gallery: Gallery, said: dict[str, str]) -> None:
    for path in ("drop", "forget", "enter", "?photo=00", "static/gallery.css", "nowhere"):
        for method in ("POST", "PUT", "DELETE"):
            answer = gallery.asked.request(method, gallery.home + path, headers=said, timeout=20)
            assert answer.status_code == 403, (method, path)
    assert gallery.post("forget", headers={"Origin": gallery.home.rstrip("/")}).status_code == 200
    assert gallery.post("forget", headers={"Sec-Fetch-Site": "same-origin", "Origin": "null"}).status_code == 200


def test_another_site_may_link_here_but_not_show_or_fetch_what_is_here(gallery: Gallery) -> None:
    for kind in ("image", "script", "iframe", "empty"):
        said = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": kind, "Sec-Fetch-Mode": "no-cors"}
        assert gallery.get("?where=1=1", headers=said).status_code == 403
    said = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate"}
    assert gallery.get(headers=said).status_code == 200
    answer = gallery.get(headers={"Origin": "http://evil.example"})
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_each_answer_says_what_a_browser_must_not_do_with_it(gallery: Gallery) -> None:
    there = re.search(r"photo/\w+\.jpg", gallery.get("?photo=" + first_digest(gallery)).text)
    assert there
    answers = [
        gallery.get(path)
        for path in ("", there[0], "photo/00.jpg", "static/gallery.css", "static/x", "nowhere", "enter")
    ]
    answers += [requests.get(gallery.home, timeout=20), gallery.get(headers={"Host": "evil.example"})]
    answers += [gallery.post("nowhere"), gallery.post("drop", files={"photos": ("a", b"no photo")})]
    assert {answer.status_code for answer in answers} >= {200, 403, 400, 404, 422}
    for answer in answers:
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, answer.url
        assert "server" not in answer.headers
        assert "cache-control" in answer.headers
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "//evil.example/%2e%2e",
        "http://evil.example/",
        "/\\evil.example",
        "/%5cevil.example",
        "/x/https:evil",
    ],
)
def test_nobody_is_sent_elsewhere(gallery: Gallery, target: str) -> None:
    key = gallery.address.rpartition("=")[2]
    for words in (f"?key={key}", f"?key={key}&next=//evil.example&a=%0d%0aSet-Cookie:x=1"):
        answer = raw(gallery, f"GET {target}{words} HTTP/1.1\nHost: {host(gallery)}\nConnection: close")
        for place in re.findall(r"(?im)^location: (.*)\r$", answer):
            assert place.startswith("./")
            assert "://" not in place
        assert "set-cookie: x" not in answer.lower()


@pytest.mark.parametrize(
    "path",
    [
        "photo/..%2f..%2fstore.json", "photo//etc/passwd.jpg", "photo/%2fetc%2fpasswd", "photo/C:%5cWindows%5cwin.ini",
        "photo/%23.jpg", "photo/file:%2f%2f%2fetc%2fpasswd.jpg", "static/../app.py", "static/%2e%2e/app.py",
        "static/..%2fapp.py", "static//etc/passwd", "static/..%5capp.py", "static/", "templates/ask.html", "app.py",
        "photo/http:%2f%2f127.0.0.1:1%2fx.jpg", "static/%00", "photo/%00.jpg",
    ],
)  # fmt: skip
def test_no_file_is_had_by_a_path(gallery: Gallery, path: str) -> None:
    answer = raw(gallery, f"GET /{path} HTTP/1.1\nHost: {host(gallery)}\nCookie: {cookie(gallery)}\nConnection: close")
    assert answer.split()[1] == "404", answer
    assert "root:" not in answer
    assert "import " not in answer


@pytest.mark.parametrize(
    "query",
    [
        b"?a=\xff", b"?photo=\xff%ff%00", b"?where=%00", b"?where=%ff%ed%a0%80", b"?label=%00%27%22%60",
        b"?split=%0d%0a",
        b"?k=" + b"9" * 5000, b"?k=%c2%b2", b"?k=-1", b"?group_by=%60;drop", b"?group_by=uri", b"?where=" + b"(" * 900,
        b"?where=" + b"a%20OR%20" * 200,
        b"?where=1%2F0%3D1", b"?where=%24%24", b"?where=label", b"?" + b"photo=00&" * 900,
        b"why?a=%ff&b=", b"why?a=" + b"00" * 16 + b"&b=" + b"00" * 16, b"enter?%ff=\xff",
    ],
)  # fmt: skip
def test_no_query_breaks_a_page(gallery: Gallery, query: bytes) -> None:
    there = f"&photo={first_digest(gallery)}".encode() if query.startswith(b"?") else b""
    said = f" HTTP/1.1\nHost: {host(gallery)}\nCookie: {cookie(gallery)}\nConnection: close"
    answer = raw(gallery, "GET /", query + there + said.replace("\n", "\r\n").encode() + b"\r\n\r\n", end="")
    assert answer.split()[1] in ("200", "303", "400", "422"), answer


def test_an_address_is_never_fetched(gallery: Gallery) -> None:
    with socket.create_server(("127.0.0.1", 0)) as lure:
        lure.settimeout(0.5)
        address = f"http://127.0.0.1:{lure.getsockname()[1]}/x.jpg"
        for path in (f"?photo={address}", f"photo/{address}", f"?where=label='{address}'", f"?url={address}"):
            gallery.get(path)
        gallery.post("drop", data={"photo": address, "photos": address})
        gallery.post("drop", files={"photos": (address, address.encode())})
        svg = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{address}"/></svg>'.encode()
        assert gallery.post("drop", files={"photos": ("a.svg", svg)}).status_code == 422
        with pytest.raises(TimeoutError):
            lure.accept()


def test_script_in_a_label_a_name_or_a_condition_is_text(photos: Path, run: Run, start: Start) -> None:
    script = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'
    odd = photos / "cat" / "a'\"><svg onload=alert(1)>\r\nSet-Cookie: a=b.jpg"
    next((photos / "cat").iterdir()).rename(odd)
    with (photos / "l.csv").open("w", newline="") as file:
        file.write(f'path,label\n"{str(odd).replace(chr(34), 2 * chr(34))}","{script.replace(chr(34), 2 * chr(34))}"\n')
    store = photos.parent / "store"
    assert run("embed", photos, "--store", store, "--labels", photos / "l.csv", "--weights", "bundled").status == 0
    with opened(store, start) as gallery, seen(gallery.address) as page:
        for digest in sorted(row[1].hex() for row in table(store).values())[:2]:
            page.goto(f"{gallery.home}?photo={digest}&k=100&where=label <> '{script}' OR label = '{script}'")
            assert page.locator(".grid li").count() == 39
            assert page.evaluate("document.querySelectorAll('main script, main svg, [onerror], [onload]').length") == 0
        assert script in page.locator("main").inner_text()
