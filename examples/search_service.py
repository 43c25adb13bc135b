"""Answers a photo's bytes with the photos most like it: python search_service.py STORE PORT."""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import petrieve

store = petrieve.open(sys.argv[1])


async def similar(request: Request) -> JSONResponse:
    """The neighbours of the photo that was sent, or why there are none."""
    try:
        found = await run_in_threadpool(store.similar, await request.body(), k=5)
    except petrieve.PetrieveError as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    return JSONResponse(found.document())


uvicorn.run(Starlette(routes=[Route("/", similar, methods=["POST"])]), port=int(sys.argv[2]))
