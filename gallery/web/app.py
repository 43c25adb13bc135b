"""The pages of a gallery, and who answers for each."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from petrieve.extractor.sources.bounds import max_bytes
from petrieve.gallery import words
from petrieve.gallery.web import ask, browse, filters, library, review
from petrieve.gallery.web.desk import Desk, digest_from, is_known, picture_of, take_in
from petrieve.gallery.web.page import desk_of, page
from petrieve.gallery.web.safe import Door, Guard
from petrieve.store.errors import PetrieveError

HERE = Path(__file__).parent
FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}  # a digest names one content
PHOTOS = 8  # that are dropped at once


def application(desk: Desk, door: Door, hosts: list[str]) -> Starlette:
    """The ASGI application for a store, which answers only for these names of its host."""
    routes = [
        Route("/", _asked),
        Route("/drop", _dropped, methods=["POST"]),
        Route("/forget", _forgotten, methods=["POST"]),
        Route("/photo/{digest}.jpg", _photo),
        Route("/enter", _entered, methods=["GET", "POST"]),
        *browse.routes,
        *review.routes,
        *library.routes,
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    guards = [
        Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
        Middleware(Guard, door=door),
    ]
    app = Starlette(routes=routes, middleware=guards, exception_handlers={PetrieveError: _failed, 404: _missing})
    app.state.desk, app.state.door = desk, door
    app.state.pages = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    app.state.pages.filters["printable"] = words.printable
    app.state.pages.filters["number"] = "{:,}".format
    return app


async def _asked(asked: Request) -> Response:
    """Ask: a photo's page, or the empty one."""
    desk, question = desk_of(asked), ask.question_of(asked.query_params)
    held = await run_in_threadpool(filters.held, desk)
    found = await run_in_threadpool(ask.answer, desk, question) if question.photos else None
    return page(asked, "ask.html", question=question, answer=found, held=held)


async def _dropped(asked: Request) -> Response:
    """Take in photos that were dropped, chosen or taken, and ask about them."""
    if int(asked.headers.get("content-length") or 0) > PHOTOS * max_bytes():
        return page(asked, "problem.html", 413, problem="this is too large")
    async with asked.form(max_files=PHOTOS, max_fields=20) as form:
        files = [one for one in form.getlist("photos") if isinstance(one, UploadFile) and one.size]
        again = [digest for word in form.getlist("photo") if isinstance(word, str) and (digest := digest_from(word))]
        if any((one.size or 0) > max_bytes() for one in files):
            return page(asked, "problem.html", 413, problem=f"a photo may have {max_bytes() >> 20} MB")
        data = [(await one.read(), one.filename or "photo") for one in files]
    if not data:
        return RedirectResponse("./", 303)
    try:
        new = [bytes.fromhex(await run_in_threadpool(take_in, desk_of(asked), *one)) for one in data]
    except PetrieveError as error:
        return page(asked, "problem.html", 422, problem=str(error))
    return RedirectResponse("./" + ask.Question(photos=(*again, *new)).address(), 303)


async def _forgotten(asked: Request) -> Response:
    """Forget a photo that was dropped."""
    async with asked.form(max_files=0, max_fields=20) as form:
        for word in form.getlist("photo"):
            if isinstance(word, str) and (digest := digest_from(word)):
                desk_of(asked).uploads.forget(digest)
    return RedirectResponse("./", 303)


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
    if isinstance(given, str) and door.holds(given, door.password):
        return door.let_in(RedirectResponse("./", 303))
    return page(asked, "enter.html", 403, wrong=True)


async def _failed(asked: Request, error: Exception) -> Response:
    """What a person reads where a page cannot be made."""
    return page(asked, "problem.html", 422, problem=words.called(words.printable(str(error))))


async def _missing(_: Request, error: Exception) -> Response:
    return PlainTextResponse(f"there is no such page ({error})", 404)
