"""The pages of a gallery, and who answers for each."""

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from petrieve.gallery import words
from petrieve.gallery.web import ask, browse, filters, library, review, why
from petrieve.gallery.web.conditions import bounded
from petrieve.gallery.web.desk import Desk, add, digest_from, is_known, picture_of, take_in, told
from petrieve.gallery.web.map import routes as map_routes
from petrieve.gallery.web.page import desk_of, page
from petrieve.gallery.web.safe import HEADERS, MOST_BYTES, Door, Guard, Headers, Porter
from petrieve.store.errors import PetrieveError, first_line

HERE = Path(__file__).parent
FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}  # a digest names one content
PHOTOS = 8  # that are dropped at once


def application(desk: Desk, door: Door, hosts: list[str]) -> Starlette:
    """The ASGI application for a store, which answers only for these names of its host."""
    routes = [
        Route("/", _asked),
        Route("/drop", _dropped, methods=["POST"]),
        Route("/forget", _forgotten, methods=["POST"]),
        Route("/add", _added, methods=["POST"]),
        Route("/photo/{digest}.jpg", _photo),
        *why.routes,
        Route("/enter", _entered, methods=["GET", "POST"]),
        *browse.routes,
        *map_routes,
        *review.routes,
        *library.routes,
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    guards = [
        Middleware(Headers),
        Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
        Middleware(Guard, door=door),
    ]
    said: dict[Any, Any] = {PetrieveError: _failed, OSError: _failed, HTTPException: _refused, ClientDisconnect: _left}
    app = Starlette(routes=routes, middleware=guards, exception_handlers={**said, Exception: _broken})
    app.state.desk, app.state.door, app.state.porter = desk, door, Porter(door)
    app.state.pages = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    app.state.pages.filters["printable"] = words.printable
    app.state.pages.filters["told"] = partial(told, desk)
    app.state.pages.filters["number"] = "{:,}".format
    return app


async def _asked(asked: Request) -> Response:
    """Ask: a photo's page, or the empty one."""
    desk, question = desk_of(asked), ask.question_of(asked.query_params)
    held = await run_in_threadpool(filters.store_facts, desk)
    found = await bounded(desk, question.filters.where, ask.answer, desk, question) if question.photos else None
    shown = page(asked, "ask.html", question=question, answer=found, held=held, adds=desk.library is not None)
    if not question.photos:
        shown.background = BackgroundTask(_ready, desk)
    return shown


def _ready(desk: Desk) -> None:
    """Have the index there before a photo is."""
    with suppress(PetrieveError, OSError):  # the answer says it
        desk.store.index()


async def _dropped(asked: Request) -> Response:
    """Take in photos that were dropped, chosen or taken, and ask about them."""
    if int(asked.headers.get("content-length") or 0) > MOST_BYTES:  # else it is counted as it comes
        raise HTTPException(413, f"this is too large: {MOST_BYTES >> 20} MB may be sent at once")
    desk = desk_of(asked)
    if desk.drops.locked():  # what comes takes room on the disk before its turn
        raise HTTPException(503, "too many photos are coming at once: try again in a minute")
    async with desk.drops:
        async with asked.form(max_files=PHOTOS, max_fields=20) as form:
            files = [one for one in form.getlist("photos") if isinstance(one, UploadFile) and one.size]
            again = [one for word in form.getlist("photo") if isinstance(word, str) and (one := digest_from(word))]
            data = [(await one.read(), one.filename or "photo") for one in files]
        new = [bytes.fromhex(await desk.decoding.run(take_in, desk, *one)) for one in data]
    return RedirectResponse("./" + (ask.Question(photos=(*again, *new)).address() if new else ""), 303)


async def _forgotten(asked: Request) -> Response:
    """Forget a photo that was dropped, and ask about those that are left."""
    gone, kept = await _named(asked)
    for digest in gone:
        desk_of(asked).uploads.forget(digest)
    return RedirectResponse("./" + (ask.Question(photos=kept).address() if kept else ""), 303)


async def _added(asked: Request) -> Response:
    """Put photos that were dropped into the library's folder."""
    desk = desk_of(asked)
    new, _ = await _named(asked)
    names = [await run_in_threadpool(add, desk, digest) for digest in new]
    return page(asked, "added.html", names=names, folder="" if desk.shared else str(desk.library), back=new)


async def _named(asked: Request) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """The photos that a form is about, and the question's others."""
    async with asked.form(max_files=0, max_fields=40) as form:
        named = [[digest_from(str(word)) for word in form.getlist(name)] for name in ("photo", "keep")]
    return tuple(one for one in named[0] if one), tuple(one for one in named[1] if one)


async def _photo(asked: Request) -> Response:
    """A thumbnail by its digest."""
    digest = digest_from(asked.path_params["digest"])
    jpeg = await run_in_threadpool(picture_of, desk_of(asked), digest) if digest else None
    if jpeg is None:
        known = digest is not None and await run_in_threadpool(is_known, desk_of(asked), digest)
        status = 200 if known else 404  # of a photo of the store, that it is gone is an answer
        return Response((HERE / "static" / "gone.svg").read_bytes(), status, media_type="image/svg+xml")
    return Response(jpeg, media_type="image/jpeg", headers=FOREVER)


async def _entered(asked: Request) -> Response:
    """Let in who knows the password, where one is asked for."""
    door: Door = asked.app.state.door
    if not door.password:
        return RedirectResponse("./", 303)
    if asked.method == "GET":
        return page(asked, "enter.html", wrong=False)
    async with asked.form(max_files=0, max_fields=2) as form:
        given = form.get("password")
    porter: Porter = asked.app.state.porter
    if isinstance(given, str) and await porter.knows(given, asked.client.host if asked.client else ""):
        return door.let_in(RedirectResponse("./", 303))
    return page(asked, "enter.html", 403, wrong=True)


async def _failed(asked: Request, error: Exception) -> Response:
    """What a person reads where a page cannot be made."""
    what = error if isinstance(error, PetrieveError) else PetrieveError(first_line(error), "is the store still there?")
    return page(asked, "problem.html", 422, problem=words.as_options(told(desk_of(asked), str(what))))


async def _refused(asked: Request, error: HTTPException) -> Response:
    """The same, with the status that says why."""
    problem = {404: "there is no such page", 405: "a page cannot be asked for that"}.get(
        error.status_code, error.detail
    )
    return page(asked, "problem.html", error.status_code, problem=problem)


async def _left(_: Request, __: Exception) -> Response:
    """Whoever went away while sending reads nothing."""
    return Response(status_code=400)


async def _broken(asked: Request, _: Exception) -> Response:
    """What a person reads of a mistake of ours; whoever opened the gallery reads in the terminal where it is."""
    broken = page(asked, "problem.html", 500, problem="something broke; the terminal says what")
    broken.headers.update(HEADERS)
    return broken
