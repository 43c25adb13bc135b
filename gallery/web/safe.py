"""Who may ask what of a page that shows private photos: an ASGI middleware in front of everything.

A browser comes with the key of the first address, gets a cookie for it, and comes with that from then on. What changes
anything has to come from a page of ours: Fetch Metadata and Origin say so, as Go's CrossOriginProtection reads them.
"""

import asyncio
import hmac
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEY = "key"  # in the first address
SAFE = ("GET", "HEAD", "OPTIONS")
FREE = ("/enter", "/static/")  # what is to be had without a key: no photo is behind it
MOST_BYTES = 256 << 20  # of all that is sent at once: eight photos of the largest cameras
PAUSE = 30  # seconds between two pieces of it
WRONG, IN_LINE = 1.0, 5  # seconds that a wrong password costs; how many from one address wait for that
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
        return offered is not None and hmac.compare_digest(offered.encode(errors="replace"), (of or self.key).encode())

    def let_in(self, answer: Response) -> Response:
        """The same answer with the cookie that the browser comes with from then on."""
        answer.set_cookie(self.cookie, self.key, httponly=True, samesite="strict", path="/")
        return answer


@dataclass
class Line:
    """The tries of a password from one address: one after another."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Porter:
    """Asks for the password; wrong ones are slow, and nobody else waits for them."""

    def __init__(self, door: Door) -> None:
        self._door, self._lines = door, dict[str, Line]()

    async def knows(self, given: str, address: str) -> bool:
        """Whether this is the password.

        Raises:
            HTTPException: too many tries are under way from this address.
        """
        line = self._lines.setdefault(address, Line())
        if line.waiting >= IN_LINE:
            raise HTTPException(429, "too many passwords were tried at once: wait a few seconds")
        line.waiting += 1
        try:
            async with line.turn:
                right = self._door.holds(given, self._door.password)
                await asyncio.sleep(0 if right else WRONG)
                return right
        finally:
            line.waiting -= 1
            if not line.waiting:
                del self._lines[address]


class Guard:
    """Lets in who has the key, and refuses what another site has made a browser ask."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self.app, self.door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or have it answered."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await self.app(scope, receive, send)
        else:
            answer = self._refused(Request(scope)) or self.app
            await answer(scope, _bounded(receive), send)

    def _refused(self, asked: Request) -> Response | None:
        if not _is_our_own(asked):
            return PlainTextResponse("this was asked by a page of another site, and is refused", 403)
        # Not `asked.url`, which is put together from the Host that the browser has named.
        path: str = asked.scope["path"].removeprefix(asked.scope.get("root_path", ""))
        if path == FREE[0] or path.startswith(FREE[1]) or self.door.holds(asked.cookies.get(self.door.cookie)):
            return None
        if self.door.holds(asked.query_params.get(KEY)):
            rest = [(name, value) for name, value in asked.query_params.multi_items() if name != KEY]
            return self.door.let_in(RedirectResponse(f"./{path.rpartition('/')[2]}?{urlencode(rest)}", 303))
        if self.door.password and asked.method in SAFE:
            return RedirectResponse("../" * (path.count("/") - 1) + "enter", 303)
        return PlainTextResponse("open the address that `petrieve gallery` has printed: it has the key", 403)


def _is_our_own(asked: Request) -> bool:
    """Whether a page of ours has asked, or no browser; from elsewhere one may come by a link, and do nothing else."""
    site, origin = asked.headers.get("sec-fetch-site"), asked.headers.get("origin")
    if site is not None:
        linked = asked.method in SAFE and asked.headers.get("sec-fetch-dest", "document") == "document"
        return site in ("same-origin", "none") or linked
    return asked.method in SAFE or origin is None or _netloc(origin) == asked.headers.get("host")


def _netloc(origin: str) -> str | None:
    """The host and port of an origin; None where it is not an origin."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None


def _bounded(receive: Receive) -> Receive:
    """What is sent to us, as long as it is not too much and does not falter."""
    taken, whole = 0, False

    async def receiving() -> Message:
        nonlocal taken, whole
        if whole:  # what comes now is that they have gone, whenever that is
            return await receive()
        try:
            async with asyncio.timeout(PAUSE):
                message = await receive()
        except TimeoutError as error:
            raise HTTPException(408, "nothing came for a while: try again") from error
        taken, whole = taken + len(message.get("body", b"")), not message.get("more_body", False)
        if taken > MOST_BYTES:
            raise HTTPException(413, f"this is too large: {MOST_BYTES >> 20} MB may be sent at once")
        return message

    return receiving


class Headers:
    """Says with each answer what a browser must not do with it; outermost, so that refusals say so too."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with them."""
        await self.app(scope, receive, _with_headers(send) if scope["type"] == "http" else send)


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
