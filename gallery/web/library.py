"""What is in the store, and what can be done with it as a whole."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from petrieve.gallery import words
from petrieve.gallery.spreadsheet import write
from petrieve.gallery.tables import Aside
from petrieve.gallery.web import jobs
from petrieve.gallery.web.desk import Desk, command, placed, told
from petrieve.gallery.web.page import desk_of, page
from petrieve.store.buckets import is_address
from petrieve.store.errors import PetrieveError
from petrieve.store.folder import Store as Folder
from petrieve.store.lock import writer
from petrieve.store.photo import digest_of, path_of

SHOWN = 200  # of a list: the export has all
NAMES_FOLDERS = "this file names folders of the machine: whoever opened the gallery makes it in a terminal"
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
    return [line for line in summary.lines() if not isinstance(line, Aside)]


ACTIONS = {
    "fit": Action("Fit the head", "fit-head", _fit),
    "index": Action("Build the index", "build-index", _index),
    "map": Action("Make the map", "build-map", _map),
    "report": Action("Make the report", f"report --out {REPORT}", _report),
    "embed": Action("Embed again", "embed", _embed),
}


def store_overview(desk: Desk) -> dict[str, Any]:
    """What is in the store: photos by source, label and split, what is unreadable, and what is known of the whole."""
    version, sources = desk.more.get("sources", ("", {}))
    cache = desk.store.cache()
    if version != cache.version:
        sources = _sources(desk)
        desk.more["sources"] = cache.version, sources
    return {"info": desk.store.info(), "sources": sources}


def _sources(desk: Desk) -> dict[str, dict[str, Any]]:
    """Each place where photos were found, with how many there are, are gone, and cannot be read; by what names it."""
    photos, gone, unread = Counter[str](), Counter[str](), Counter[str]()
    for batch in desk.store.cache().photos(["root", "gone", "reason"], None):
        rows = zip(*(batch[name].to_pylist() for name in ("root", "gone", "reason")), strict=True)
        for root, away, reason in rows:
            photos[root] += 1
            gone[root] += away is not None
            unread[root] += reason is not None
    return {
        digest_of(os.fsencode(root)).hex(): {
            "root": root,
            "photos": photos[root],
            "gone": gone[root],
            "unreadable": unread[root],
        }
        for root in sorted(photos)
    }


def command_of(desk: Desk, name: str, source: str = "") -> str:
    """The command that does in a terminal what a button does."""
    return command(desk, *ACTIONS[name].command.split(), *([words.name(source)] if source else []))


def elsewhere(desk: Desk) -> str:
    """A sentence that another process is writing to the store; empty where none is."""
    if is_address(desk.store.path):
        return ""
    process = writer(Folder.at(desk.store.path))
    if process in (None, os.getpid()):
        return ""
    there = len(desk.store.cache())
    return f"another run (process {process}) is writing to the store, which has {there:,} photos now"


def state(desk: Desk) -> dict[str, Any]:
    """What is under way: the job that was begun here, and whether another process writes to the store."""
    return {"job": jobs.document(desk), "elsewhere": elsewhere(desk), "report": "report" in desk.more}


async def _library(asked: Request) -> Response:
    return page(asked, "library.html", **await run_in_threadpool(_shown, desk_of(asked)))


def _shown(desk: Desk) -> dict[str, Any]:
    found = store_overview(desk)
    names = ("fit", "index", "map") if desk.shared else ("fit", "index", "map", "report")
    buttons = [(name, ACTIONS[name].title, command_of(desk, name)) for name in names]
    sources = [
        {**one, "name": placed(desk, one["root"]), "key": key, "command": command_of(desk, "embed", one["root"])}
        for key, one in found["sources"].items()
    ]
    info = found["info"]
    unreadable = [(placed(desk, one["photo"]), told(desk, one["reason"])) for one in info.unreadable[:SHOWN]]
    more = {"store": placed(desk, desk.store.path), "unreadable": unreadable, "files": not desk.shared}
    export = command(desk, "export", "photos.parquet")
    return {"info": info, "export": export, "sources": sources, "buttons": buttons, **more, **state(desk)}


async def _state(asked: Request) -> Response:
    return JSONResponse(await run_in_threadpool(state, desk_of(asked)))


async def _begin(asked: Request) -> Response:
    """Begin one of the actions; a source is named by the digest of its path."""
    desk, name = desk_of(asked), asked.path_params["name"]
    async with asked.form(max_files=0, max_fields=5) as form:
        key = str(form.get("source", ""))
    action = ACTIONS.get(name)
    source = (await run_in_threadpool(store_overview, desk))["sources"].get(key, {}).get("root", "")
    if action is None or (name == "embed") != bool(source):
        return page(asked, "problem.html", 404, problem="the store knows no such thing")
    begun = jobs.begin(desk, action.title, command_of(desk, name, source), lambda job: action.work(desk, job, source))
    if begun is None:
        return page(asked, "problem.html", 409, problem="something else is under way: wait for it")
    return RedirectResponse("../map" if name == "map" else "../library", 303)


async def _reported(asked: Request) -> Response:
    """The report that was made, as a file: its own style is not this page's to allow."""
    made = desk_of(asked).more.get("report")
    if desk_of(asked).shared:
        return page(asked, "problem.html", 403, problem=NAMES_FOLDERS)
    if made is None:
        return page(asked, "problem.html", 404, problem="there is no report yet: make it first")
    return FileResponse(Path(made.name, REPORT), media_type="text/html", filename=REPORT)


async def _exported(asked: Request) -> Response:
    """The store's photos as a file: `photos.csv` says what is known of each, `photos.parquet` the embeddings too."""
    desk, ending = desk_of(asked), asked.path_params["ending"]
    if ending not in EXPORTS:
        return page(asked, "problem.html", 404, problem="the store is not to be had as such a file")
    if desk.shared and ending == "parquet":
        return page(asked, "problem.html", 403, problem=NAMES_FOLDERS)
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
    table = (
        [
            row["uri"] if desk.shared else path_of(row["root"], row["uri"]),
            *("" if (one := row[name]) is None else one for name in names),
        ]
        for row in rows
    )
    write(file, ["photo", *names], table)


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
