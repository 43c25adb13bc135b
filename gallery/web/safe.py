"""Who may ask what of a page that shows private photos: an ASGI middleware in front of everything.

A browser comes with the key of the first address, gets a cookie for it, and comes with that from then on. What changes
anything has to come from a page of ours: Fetch Metadata and Origin say so, as Go's CrossOriginProtection reads them.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEY = "key"  # in the first address
SAFE = ("GET", "HEAD", "OPTIONS")
OPEN = ("/enter", "/static/")  # what is to be had without a key: no photo is behind it
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class Door:
    """What lets into a gallery: the key, and a password beside it where the page is open to a network."""

    key: str
    cookie: str
    password: str | None = None

    def holds(self, offered: str | None, of: str | None = None) -> bool:
        """Whether this is the key, or what else is named; the time that it takes tells nothing."""
        return offered is not None and hmac.compare_digest(offered.encode(), (of or self.key).encode())

    def let_in(self, answer: Response) -> Response:
        """The same answer with the cookie that the browser comes with from then on."""
        answer.set_cookie(self.cookie, self.key, httponly=True, samesite="strict", path="/")
        return answer


class Guard:
    """Lets in who has the key, and refuses what another site has made a browser ask."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self.app, self.door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or have it answered."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = self._refused(Request(scope)) or self.app
        await answer(scope, receive, _with_headers(send))

    def _refused(self, asked: Request) -> Response | None:
        if asked.method not in SAFE and not _is_our_own(asked.headers):
            return PlainTextResponse("this was asked by a page of another site, and is refused", 403)
        path = asked.url.path.removeprefix(asked.scope.get("root_path", ""))
        if path.startswith(OPEN) or self.door.holds(asked.cookies.get(self.door.cookie)):
            return None
        if self.door.holds(asked.query_params.get(KEY)):
            rest = [(name, value) for name, value in asked.query_params.multi_items() if name != KEY]
            return self.door.let_in(RedirectResponse(f"./{path.rpartition('/')[2]}?{urlencode(rest)}", 303))
        if self.door.password and asked.method in SAFE:
            return RedirectResponse("../" * (path.count("/") - 1) + "enter", 303)
        return PlainTextResponse("open the address that `petrieve gallery` has printed: it has the key", 403)


def _is_our_own(headers: Mapping[str, str]) -> bool:
    """Whether a page of ours has asked, or no browser: one says where a request comes from."""
    if (site := headers.get("sec-fetch-site")) is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            if "cache-control" not in headers:
                headers["Cache-Control"] = "no-store"
        await send(message)

    return sending
