"""A condition that somebody has typed on a page: how long it may take."""

from collections.abc import Callable
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool

from petrieve.gallery.web.desk import Desk

T = TypeVar("T")


async def bounded(desk: Desk, where: str, work: Callable[..., T], *given: Any) -> T:
    """What the work gives that looks for a condition, if there is one: alone, and not waited for without end.

    Raises:
        HTTPException: 503 where too many wait, or this has taken too long.
    """
    return await (desk.conditions.run if where else run_in_threadpool)(work, *given)
