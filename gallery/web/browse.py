"""All photos of a store in one scroll: in an order, through filters, and what can be done with some of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, QueryParams, UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from petrieve.gallery import words
from petrieve.gallery.web import chosen, deciding
from petrieve.gallery.web.conditions import bounded
from petrieve.gallery.web.desk import LENGTH, Desk, command, digest_from, placed, told
from petrieve.gallery.web.filters import Filters, filters_of, store_facts
from petrieve.gallery.web.orders import ORDERS, Order, orders_of
from petrieve.gallery.web.page import desk_of, number, page
from petrieve.store.errors import PetrieveError
from petrieve.store.photo import path_of

SHOWN = 60  # photos of a page without scripts
BLOCK, WINDOW = 8192, 500  # digests, and captions, that are asked for at once at most
ASKED = 20  # photos in one question
MAX_CHOSEN = 2_000_000  # photos in a selection
PIXELS = 8_000_000  # of what is scrolled: browsers cut off elements from 2²⁴ pixels on
PIECE = 1 << 20


@dataclass(frozen=True)
class Look:
    """What is looked through, as the address says it."""

    filters: Filters
    order: str
    at: int  # the first photo that is shown

    def address(self, at: int) -> str:
        """The same from another photo on, as the end of an address."""
        named = [("order", self.order)] if self.order else []
        named += [("at", str(at))] if at else []
        return "?" + "&".join(part for part in (self.filters.address(), urlencode(named)) if part)


@dataclass(frozen=True)
class Tile:
    """A photo, as it is shown."""

    digest: str
    label: str
    place: str
    gone: str | None
    split: str | None
    near: str = ""
    whole: str = ""


def look_of(given: QueryParams) -> Look:
    """What an address asks for; what it says wrongly is passed over."""
    order, at = given.get("order", ""), given.get("at", "")
    return Look(filters_of(given), order if order in ORDERS else "", number(at))


def tiles(desk: Desk, order: Order, start: int, count: int) -> list[Tile]:
    """The photos of an order from one on."""
    columns = ["root", "uri", "label", "split", "gone", "digest"]
    rows = order.cache.take_photos(order.rows[start : start + count], columns).to_pylist()
    return [
        Tile(
            digest=row["digest"].hex(),
            label=words.printable(row["label"] or "no label"),
            place=words.printable(placed(desk, path_of(row["root"], row["uri"]))),
            gone=row["gone"].date().isoformat() if row["gone"] else None,
            split=row["split"],
        )
        for row in rows
    ]


async def _browsed(asked: Request) -> Response:
    """The page, with the first photos of what is looked through."""
    desk, look = desk_of(asked), look_of(asked.query_params)
    shown = await bounded(desk, look.filters.where, _page, desk, look)
    return page(asked, "browse.html", look=look, orders=ORDERS, shown=SHOWN, pixels=PIXELS, **shown)


def _page(desk: Desk, look: Look) -> dict[str, Any]:
    there = store_facts(desk)
    shown: dict[str, Any] = {"held": there, "problem": "", "order": None, "tiles": [], "at": 0, "command": ""}
    try:
        condition = look.filters.condition(there["columns"])
        order = orders_of(desk).of(desk.store.index().cache, condition, look.order)
    except PetrieveError as error:
        return {**shown, "problem": words.as_options(told(desk, str(error)))}
    if order is None:
        return shown
    at = look.at if look.at < len(order) else 0
    same = ("similar", "PHOTO", "--where", condition) if condition else ("export", "photos.parquet")
    return {**shown, "order": order, "tiles": tiles(desk, order, at, SHOWN), "at": at, "command": command(desk, *same)}


async def _digests(asked: Request) -> Response:
    """The contents of photos from one on: 16 bytes each."""
    if (order := _known(asked)) is None:
        return _changed()
    start, count = _window(asked, BLOCK)
    return Response(order.contents[start : start + count].tobytes(), media_type="application/octet-stream")


async def _captions(asked: Request) -> Response:
    """Label, place, split, and since when it is gone, of photos from one on."""
    if (order := _known(asked)) is None:
        return _changed()
    found = await run_in_threadpool(tiles, desk_of(asked), order, *_window(asked, WINDOW))
    return JSONResponse([[one.label, one.place, one.split, one.gone] for one in found])


async def _selected(asked: Request) -> Response:
    """Do something with the photos that were chosen."""
    if int(asked.headers.get("content-length") or 0) > MAX_CHOSEN * LENGTH:
        return page(asked, "problem.html", 413, problem=f"{MAX_CHOSEN:,} photos can be chosen at once")
    async with asked.form(max_files=1, max_fields=SHOWN + 10) as form:
        contents = await _contents(form)
        do, column, value, back = (_word(form, name) for name in ("do", "column", "value", "back"))
    if not contents:
        return page(asked, "problem.html", 422, problem="choose some photos first")
    if do == "ask":
        named = [("photo", digest.hex()) for digest in contents[:ASKED]]
        return RedirectResponse(f"../?{urlencode(named)}", 303)
    cache = await run_in_threadpool(desk_of(asked).store.cache)
    if do == "csv":
        return _attached(chosen.listed(cache, contents, shared=desk_of(asked).shared), "text/csv", "photos.csv")
    if do == "zip":
        file = await run_in_threadpool(chosen.zipped, cache, contents)
        return _attached(_pieces(file), "application/zip", "photos.zip")
    column, back = column or "label", back if back.startswith("?") else ""
    said = await run_in_threadpool(_said, desk_of(asked), contents, column, value)
    return page(asked, "said.html", count=len(contents), column=column, value=value, back=back, **said)


def _said(desk: Desk, contents: list[bytes], column: str, value: str) -> dict[str, Any]:
    """Note a value of photos: in which file, and the command that has the store take it over.

    A label is a decision as those of Review are, so that it is not asked for there; it can be undone by its act.
    """
    cache = desk.store.cache()
    if column == "label":
        act, file = deciding.label_all(desk, contents, value)
    else:
        act, file = "", chosen.say(cache, contents, column, value)
    same = command(desk, "embed", *chosen.roots(cache, contents), "--labels", words.name(str(file)))
    return {"act": act, "file": placed(desk, str(file)), "command": same}


async def _undone(asked: Request) -> Response:
    """Undo what was said of photos that were chosen."""
    async with asked.form(max_files=0, max_fields=2) as form:
        act = _word(form, "act")
    await run_in_threadpool(deciding.undo, desk_of(asked), act)
    return RedirectResponse("../browse", 303)


async def _contents(form: FormData) -> list[bytes]:
    """The digests of what was chosen, each once: by boxes, or in a file of 16 bytes for each."""
    sent = form.get("chosen")
    if isinstance(sent, UploadFile):
        data = await sent.read()
        return list(dict.fromkeys(data[at : at + LENGTH] for at in range(0, len(data) - LENGTH + 1, LENGTH)))
    found = (digest_from(word) for word in form.getlist("photo") if isinstance(word, str))
    return list(dict.fromkeys(digest for digest in found if digest))


def _attached(parts: Iterator[bytes], kind: str, name: str) -> Response:
    """A file to be kept, sent as it is made."""
    return StreamingResponse(parts, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(PIECE):
            yield piece


def _known(asked: Request) -> Order | None:
    return orders_of(desk_of(asked)).known(asked.query_params.get("of", ""))


def _changed() -> Response:
    return PlainTextResponse("this order is no longer kept: load the page again", 410)


def _window(asked: Request, most: int) -> tuple[int, int]:
    given = asked.query_params
    return number(given.get("from", "")), min(number(given.get("count", "")), most)


def _word(form: FormData, name: str) -> str:
    word = form.get(name, "")
    return word.strip()[:2000] if isinstance(word, str) else ""


routes = [
    Route("/browse", _browsed),
    Route("/browse/digests", _digests),
    Route("/browse/captions", _captions),
    Route("/browse/selected", _selected, methods=["POST"]),
    Route("/browse/undo", _undone, methods=["POST"]),
]
