"""What is in the store, and what can be done with it as a whole."""

import shlex
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from os import getpid
from pathlib import Path
from typing import Any

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from petrieve.gallery import terminal, words
from petrieve.gallery.spreadsheet import write
from petrieve.gallery.web import jobs
from petrieve.gallery.web.desk import Desk
from petrieve.gallery.web.page import desk_of, page
from petrieve.store.buckets import is_address
from petrieve.store.errors import PetrieveError
from petrieve.store.folder import Store as Folder
from petrieve.store.lock import writer
from petrieve.store.photo import path_of

SHOWN = 200  # of a list: the export has all
REPORT = "report.html"


@dataclass(frozen=True)
class Action:
    """What a button of the page does: its words, the command that does the same, and the work."""

    title: str
    command: str  # after the program's name
    work: Callable[[Desk, jobs.Job, str], list[str]]


def _fit(desk: Desk, _: jobs.Job, __: str) -> list[str]:
    return list(desk.store.fit_head().lines())


def _index(desk: Desk, _: jobs.Job, __: str) -> list[str]:
    return list(desk.store.build_index().lines())


def _map(desk: Desk, _: jobs.Job, __: str) -> list[str]:
    return list(desk.store.build_map().lines())


def _report(desk: Desk, _: jobs.Job, __: str) -> list[str]:
    folder = tempfile.TemporaryDirectory(prefix="petrieve-")  # it goes with the next one, or with the gallery
    made = desk.store.report(Path(folder.name, REPORT))
    desk.more["report"] = folder
    return [f"the page is made, {made.size_bytes / 1e6:.1f} MB"]


def _embed(desk: Desk, job: jobs.Job, source: str) -> list[str]:
    summary = desk.store.embed(source, quiet=True, on_progress=job.heard)
    return [line for line in summary.lines() if not isinstance(line, terminal.Aside)]


ACTIONS = {
    "fit": Action("Fit the head", "fit-head", _fit),
    "index": Action("Build the index", "build-index", _index),
    "map": Action("Make the map", "build-map", _map),
    "report": Action("Make the report", f"report --out {REPORT}", _report),
    "embed": Action("Embed again", "embed", _embed),
}


def held(desk: Desk) -> dict[str, Any]:
    """What is in the store: photos by source, label and split, what is unreadable, and what is known of the whole."""
    version, sources = desk.more.get("sources", ("", []))
    cache = desk.store.cache()
    if version != cache.version:
        sources = _sources(desk)
        desk.more["sources"] = cache.version, sources
    return {"info": desk.store.info(), "sources": sources}


def _sources(desk: Desk) -> list[dict[str, Any]]:
    """Each place where photos were found, with how many there are, are gone, and cannot be read."""
    photos, gone, unread = Counter[str](), Counter[str](), Counter[str]()
    for batch in desk.store.cache().photos(["root", "gone", "reason"], None):
        rows = zip(*(batch[name].to_pylist() for name in ("root", "gone", "reason")), strict=True)
        for root, away, reason in rows:
            photos[root] += 1
            gone[root] += away is not None
            unread[root] += reason is not None
    return [
        {"root": root, "photos": photos[root], "gone": gone[root], "unreadable": unread[root]}
        for root in sorted(photos)
    ]


def command_of(desk: Desk, name: str, source: str = "") -> str:
    """What does the same as a button in a terminal."""
    given = [words.name(source)] if source else []
    return f"{words.program()} {shlex.join([*ACTIONS[name].command.split(), *given, '--store', desk.store.path])}"


def elsewhere(desk: Desk) -> str:
    """That another process is writing to the store, in words; empty where none is."""
    if is_address(desk.store.path):
        return ""
    process = writer(Folder.at(desk.store.path))
    return f"another run (process {process}) is writing to the store" if process and process != getpid() else ""


def state(desk: Desk) -> dict[str, Any]:
    """What is under way: the job that was begun here, and whether another process writes to the store."""
    job = jobs.current(desk)
    return {"job": job.document() if job else None, "elsewhere": elsewhere(desk), "report": "report" in desk.more}


async def _library(asked: Request) -> Response:
    return page(asked, "library.html", **await run_in_threadpool(_shown, desk_of(asked)))


def _shown(desk: Desk) -> dict[str, Any]:
    found = held(desk)
    buttons = [(name, ACTIONS[name].title, command_of(desk, name)) for name in ("fit", "index", "map", "report")]
    sources = [
        {**one, "name": words.name(one["root"]), "command": command_of(desk, "embed", one["root"]), "number": number}
        for number, one in enumerate(found["sources"])
    ]
    info = found["info"]
    store = words.name(desk.store.path) if not is_address(desk.store.path) else desk.store.path
    export = f"{words.program()} export photos.parquet --store {shlex.quote(desk.store.path)}"
    more = {"store": store, "shown": SHOWN, "export": export}
    return {"info": info, "sources": sources, "buttons": buttons, **more, **state(desk)}


async def _state(asked: Request) -> Response:
    return JSONResponse(await run_in_threadpool(state, desk_of(asked)))


async def _begin(asked: Request) -> Response:
    """Begin one of the actions; a source is named by its number, and by the name that goes with it."""
    desk, name = desk_of(asked), asked.path_params["name"]
    async with asked.form(max_files=0, max_fields=5) as form:
        source = str(form.get("source", ""))
    action = ACTIONS.get(name)
    known = {one["root"] for one in (await run_in_threadpool(held, desk))["sources"]}
    if action is None or (name == "embed") != (source in known):
        return page(asked, "problem.html", 404, problem="the store knows no such thing")
    begun = jobs.begin(desk, action.title, command_of(desk, name, source), lambda job: action.work(desk, job, source))
    if begun is None:
        return page(asked, "problem.html", 409, problem="something else is under way: wait for it")
    return RedirectResponse("../map" if name == "map" else "../library", 303)


async def _reported(asked: Request) -> Response:
    """The report that was made, as a file: its own style is not this page's to allow."""
    made = desk_of(asked).more.get("report")
    if made is None:
        return page(asked, "problem.html", 404, problem="there is no report yet: make it first")
    return FileResponse(Path(made.name, REPORT), media_type="text/html", filename=REPORT)


async def _exported(asked: Request) -> Response:
    """The store's photos as a file: `photos.csv` says what is known of each, `photos.parquet` the embeddings too."""
    desk, ending = desk_of(asked), asked.path_params["ending"]
    if ending not in EXPORTS:
        return page(asked, "problem.html", 404, problem="the store is not to be had as such a file")
    folder = Path(tempfile.mkdtemp(prefix="petrieve-"))
    clean = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
    file = folder / f"photos.{ending}"
    try:
        await run_in_threadpool(EXPORTS[ending], desk, file)
    except PetrieveError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return FileResponse(file, filename=file.name, background=clean)


def _csv(desk: Desk, file: Path) -> None:
    cache = desk.store.cache()
    names = cache.columns()
    batches = cache.photos(["root", "uri", *names])
    rows = (row for batch in batches for row in batch.to_pylist())
    told = (
        [path_of(row["root"], row["uri"]), *("" if (one := row[name]) is None else one for name in names)]
        for row in rows
    )
    write(file, ["photo", *names], told)


def _parquet(desk: Desk, file: Path) -> None:
    desk.store.export(file)


EXPORTS = {"csv": _csv, "parquet": _parquet}

routes = [
    Route("/library", _library),
    Route("/library/state", _state),
    Route("/library/report.html", _reported),
    Route("/library/photos.{ending}", _exported),
    Route("/library/{name}", _begin, methods=["POST"]),
]
