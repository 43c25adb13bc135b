"""Photos to look at, one after the other: a key, a button or a form decides, and the next one is there."""

from collections import Counter
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from petrieve.gallery.web import deciding, jobs
from petrieve.gallery.web.decisions import ACTS, LABELS, TO_GO
from petrieve.gallery.web.desk import Desk, digest_from, large_of, placed, told
from petrieve.gallery.web.page import desk_of, page
from petrieve.gallery.web.queues import LISTS
from petrieve.store.errors import PetrieveError

FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}


async def _overview(asked: Request) -> Response:
    desk = desk_of(asked)
    return page(asked, "review.html", **await run_in_threadpool(_overviewed, desk))


def _overviewed(desk: Desk) -> dict[str, Any]:
    queues, kept = deciding.lists_of(desk), deciding.decisions_of(desk)
    rows = []
    for name, (title, what) in LISTS.items():
        far = deciding.progress(desk, name, queues) if name in queues.lists else {}
        rows.append({"name": name, "title": title, "what": what, "problem": queues.problems.get(name), **far})
    standing = kept.standing().values()
    count = Counter(one.what for one in standing)
    wrong = next((one["wrong"] for one in rows if one["name"] == "labels" and "wrong" in one), None)
    named = (("labels", LABELS), ("go", TO_GO), ("acts", ACTS))
    files = {name: placed(desk, str(kept.folder / file)) for name, file in named}
    unread = len(desk.store.index().cache.unreadable())
    shown = {"rows": rows, "busy": queues.busy, "count": count, "wrong": wrong, "files": files, "unreadable": unread}
    shown |= {"unused": deciding.unused(desk), "unsure": LISTS["unsure"][0]}
    return {**shown, "job": jobs.document(desk), "commands": deciding.commands(desk)}


async def _state(asked: Request) -> Response:
    """Whether the lists are made, and how far a job is; for pages that wait."""
    desk = desk_of(asked)
    queues = await run_in_threadpool(deciding.lists_of, desk)
    made = [name for name in LISTS if queues.is_made(name)]
    return JSONResponse({"busy": queues.busy, "made": made, "job": jobs.document(desk)})


async def _queue(asked: Request) -> Response:
    """One list: a photo, or two, and what can be decided."""
    name, desk = asked.path_params["name"], desk_of(asked)
    if name not in LISTS:
        return page(asked, "problem.html", 404, problem="there is no such list")
    return page(
        asked, "queue.html", **await run_in_threadpool(_queued, desk, name), done=asked.query_params.get("done")
    )


def _queued(desk: Desk, name: str) -> dict[str, Any]:
    queues, labels = deciding.lists_of(desk), deciding.labels_of(desk)
    title, what = LISTS[name]
    list_ = {"name": name, "title": title, "what": what, "labels": labels, "made": queues.is_made(name)}
    one = deciding.progress(desk, name, queues)
    shown = {"item": (one["items"] or [None])[0], "far": one, "problem": queues.problems.get(name)}
    keys = {
        "choices": deciding.choices(name, labels),
        "naming": deciding.NAME,
        "undo": deciding.UNDO,
        "names": name not in ("copies", "leaks"),
        "sides": 2 if name in ("copies", "conflicts", "leaks") else 1,
    }
    return {
        **list_,
        **shown,
        **keys,
        "file": placed(desk, str(deciding.decisions_of(desk).folder / LABELS)),
        "command": deciding.command_of(desk, name),
    }


async def _items(asked: Request) -> Response:
    """The next items of a list, for the script."""
    name, desk = asked.path_params["name"], desk_of(asked)
    if name not in LISTS:
        return JSONResponse({"problem": "there is no such list"}, 404)
    return JSONResponse(await run_in_threadpool(lambda: deciding.progress(desk, name, deciding.lists_of(desk))))


async def _decide(asked: Request) -> Response:
    """Keep a decision, or undo one; the script is told so, and a form goes to the next photo."""
    name, desk = asked.path_params["name"], desk_of(asked)
    by_script = asked.headers.get("accept") == "application/json"
    async with asked.form(max_files=0, max_fields=20) as form:
        given = {one: str(form.get(one, "")) for one in ("key", "decision", "act", "label")}
    if given["decision"] == deciding.NAME.value:
        given["decision"] = f"label:{given['label']}"
    try:
        if name not in LISTS:
            raise PetrieveError("there is no such list", "go back to Review")
        done = await run_in_threadpool(deciding.act, desk, name, given["key"], given["decision"], given["act"])
    except PetrieveError as error:
        said = told(desk, str(error))
        return JSONResponse({"problem": said}, 409) if by_script else page(asked, "problem.html", 409, problem=said)
    return JSONResponse(done) if by_script else RedirectResponse(f"{name}?done={done['act']}", 303)


async def _fit(asked: Request) -> Response:
    """Begin to learn from what was decided."""
    desk = desk_of(asked)
    command = (await run_in_threadpool(deciding.commands, desk))["fit"]
    jobs.begin(desk, "Learn again", command, lambda job: deciding.fit_again(desk, job))
    return RedirectResponse("../review#decided", 303)


async def _large(asked: Request) -> Response:
    """A photo, large enough to decide about it."""
    digest = digest_from(asked.path_params["digest"])
    jpeg = await run_in_threadpool(large_of, desk_of(asked), digest) if digest else None
    if jpeg is None:
        return RedirectResponse(f"../../photo/{asked.path_params['digest'][:32]}.jpg", 303)
    return Response(jpeg, media_type="image/jpeg", headers=FOREVER)


routes = [
    Route("/review", _overview),
    Route("/review/state", _state),
    Route("/review/fit", _fit, methods=["POST"]),
    Route("/review/large/{digest}.jpg", _large),
    Route("/review/{name}", _queue),
    Route("/review/{name}", _decide, methods=["POST"]),
    Route("/review/{name}/items", _items),
]
