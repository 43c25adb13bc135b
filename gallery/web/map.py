"""All photos as points in the plane: coloured, filtered, looked at from near, chosen by a line around them."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from petrieve.gallery import words
from petrieve.gallery.web import jobs, shades
from petrieve.gallery.web.beside import Beside, key_of
from petrieve.gallery.web.conditions import bounded
from petrieve.gallery.web.density import picture
from petrieve.gallery.web.desk import Desk, placed, stamp, told
from petrieve.gallery.web.filters import Filters, filters_of, store_facts
from petrieve.gallery.web.ground import Ground, ground_of
from petrieve.gallery.web.library import ACTIONS, command_of
from petrieve.gallery.web.orders import orders_of
from petrieve.gallery.web.page import desk_of, number, page
from petrieve.gallery.web.shades import Shades
from petrieve.store.errors import PetrieveError
from petrieve.store.photo import path_of

MAX_LINE_LENGTH = 8000  # characters of a line around points
BLOCK = 1 << 20  # points that are sent at once at most
PICTURE = 30.0  # seconds that one is waited for
KEPT = {"Cache-Control": "private, max-age=3600, immutable"}  # a key names one state of a store


@dataclass(frozen=True)
class Look:
    """What is looked at, as the address says it; what the script alone reads is carried along."""

    filters: Filters
    by: str
    only: str  # the slot that alone is shown
    view: str
    lasso: str

    def address(self, only: object = "") -> str:
        """The same with one slot alone, or all, as the end of an address."""
        named = [("by", self.by), ("only", str(only)), ("view", self.view), ("lasso", self.lasso)]
        return "?" + "&".join(
            part for part in (urlencode([one for one in named if one[1]]), self.filters.address()) if part
        )


@dataclass(frozen=True, eq=False)
class Maps:
    """What a desk's maps are made of, for a while."""

    grounds: Beside = field(default_factory=lambda: Beside(2))  # of a million points 60 MB each
    shades: Beside = field(default_factory=lambda: Beside(12))  # 1 MB
    pictures: Beside = field(default_factory=lambda: Beside(6))


def maps_of(desk: Desk) -> Maps:
    """A desk's own."""
    found: Maps = desk.more.setdefault("maps", Maps())
    return found


def look_of(given: QueryParams) -> Look:
    """What an address asks for."""
    return Look(filters_of(given), *(given.get(name, "")[:MAX_LINE_LENGTH] for name in ("by", "only", "view", "lasso")))


async def _mapped(asked: Request) -> Response:
    """The page: the map's legend, and what the script needs to draw it."""
    desk, look = desk_of(asked), look_of(asked.query_params)
    shown = await bounded(desk, look.filters.where, _page, desk, look)
    return page(asked, "map.html", look=look, shapes=shades.SHAPES, **shown)


def _page(desk: Desk, look: Look) -> dict[str, Any]:
    there = store_facts(desk)
    choices, job = shades.choices(there), jobs.document(desk)
    by = look.by if look.by in choices else "split" if there["splits"] and not there["labels"] else "label"
    making = job if job and job["name"] == ACTIONS["map"].title else None
    shown: dict[str, Any] = {"held": there, "choices": choices, "by": by, "job": making, "problem": ""}
    shown |= {"command": command_of(desk, "map"), "state": "drawn", "ground": None, "shades": None, "only": None}
    if making and not making["ended"]:
        return {**shown, "state": "making"}
    cache = desk.store.index().cache
    if not there["photos"] or (mark := stamp(cache.folder.map)) is None:
        return {**shown, "state": "none"}
    maps, key = maps_of(desk), key_of(cache.version, mark)
    try:
        ground = maps.grounds.of(key, ground_of, cache, key)
        condition = look.filters.condition(there["columns"])
        chosen = orders_of(desk).of(cache, condition, "") if condition else None
        if ground is None or (condition and chosen is None):
            return {**shown, "state": "waiting"}
        head = stamp(cache.folder.head) if by == "unsure" else None
        key, rows = key_of(key, by, head, condition), chosen.rows if chosen else None
        shade = maps.shades.of(key, shades.shades_of, ground, orders_of(desk), by, rows, key)
    except PetrieveError as error:
        return {**shown, "state": "problem", "problem": words.as_options(told(desk, str(error)))}
    if shade is None:
        return {**shown, "state": "waiting"}
    only = next((kind for kind in shade.kinds if str(kind.slot) == look.only), None)
    return {**shown, "ground": ground, "shades": shade, "only": only}


async def _state(asked: Request) -> Response:
    """How far the map is that is being made; for pages that wait."""
    return JSONResponse({"job": jobs.document(desk_of(asked))})


async def _points(asked: Request) -> Response:
    """The places of points from one on: two float32 each, little-endian."""
    ground = _ground(asked)
    if ground is None:
        return _changed()
    start, count = number(asked.query_params.get("from", "")), min(number(asked.query_params.get("count", "")), BLOCK)
    places = ground.places[start : start + count].astype("<f4").tobytes()
    return Response(places, media_type="application/octet-stream", headers=KEPT)


async def _shades(asked: Request) -> Response:
    """The slots of all points: a byte each."""
    found: Shades | None = maps_of(desk_of(asked)).shades.known(asked.query_params.get("of", ""))
    if found is None:
        return _changed()
    return Response(found.slots.tobytes(), media_type="application/octet-stream", headers=KEPT)


async def _digests(asked: Request) -> Response:
    """The contents of all points: 16 bytes each."""
    ground = _ground(asked)
    if ground is None:
        return _changed()
    return Response(ground.contents.tobytes(), media_type="application/octet-stream", headers=KEPT)


async def _photo(asked: Request) -> Response:
    """What one point is."""
    ground, at = _ground(asked), number(asked.query_params.get("at", ""))
    if ground is None or at >= len(ground):
        return _changed()
    return JSONResponse(await run_in_threadpool(_caption, desk_of(asked), ground, at))


def _caption(desk: Desk, ground: Ground, at: int) -> dict[str, Any]:
    first = ground.first[at : at + 1]
    (row,) = ground.cache.take_photos(ground.rows[first], ["root", "uri", "label", "split", "gone"]).to_pylist()
    return {
        "digest": ground.contents[at : at + 1].tobytes().hex(),
        "label": words.printable(row["label"] or "no label"),
        "place": words.printable(placed(desk, path_of(row["root"], row["uri"]))),
        "split": words.printable(row["split"] or ""),
        "gone": row["gone"].date().isoformat() if row["gone"] else "",
    }


async def _picture(asked: Request) -> Response:
    """The map as a picture."""
    given, maps = asked.query_params, maps_of(desk_of(asked))
    ground, shade = _ground(asked), maps.shades.known(given.get("shades", ""))
    if ground is None or shade is None:
        return _changed()
    only, dark = int(given["only"]) if given.get("only", "").isdecimal() else None, "dark" in given

    def made() -> bytes:
        return picture(ground, shade, only=only, dark=dark)

    png = await run_in_threadpool(maps.pictures.of, key_of(shade.key, only, dark), made, seconds=PICTURE)
    if png is None:
        return PlainTextResponse("too much is under way: load the page again", 503)
    return Response(png, media_type="image/png", headers=KEPT)


def _ground(asked: Request) -> Ground | None:
    found: Ground | None = maps_of(desk_of(asked)).grounds.known(asked.query_params.get("of", ""))
    return found


def _changed() -> Response:
    return PlainTextResponse("this map is no longer kept: load the page again", 410)


routes = [
    Route("/map", _mapped),
    Route("/map/state", _state),
    Route("/map/points", _points),
    Route("/map/shades", _shades),
    Route("/map/digests", _digests),
    Route("/map/photo", _photo),
    Route("/map/picture.png", _picture),
]
