"""A condition that somebody has typed on a page: what it may call, and how long it may take."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool

from petrieve.gallery.web.desk import Desk
from petrieve.store.errors import PetrieveError
from petrieve.store.filters import TOKENS

T = TypeVar("T")
# Not `repeat` or `lpad`, with which thirty letters ask for 20 GB, and Lance ends the process that has not got them.
FUNCTIONS = frozenset(
    """abs cast ceil character_length coalesce contains date date_part date_trunc ends_with extract floor greatest
    isnan least left length lower ltrim nullif octet_length position regexp_like regexp_match right round rtrim
    starts_with strpos substr substring to_date to_timestamp trim try_cast upper""".split()
)
WORDS = frozenset("all and any between case else filter from in is like ilike not or then to when".split())
TYPES = frozenset("char decimal double float numeric time timestamp varchar".split())
CALL = re.compile(r"([\w`.]+)\s*\(")


def check_calls(condition: str) -> None:
    """Refuse functions other than those that take little room and time.

    Raises:
        PetrieveError: there is such a one.
    """
    plain = TOKENS.sub(_left, condition)
    called = {name.lower() for name in CALL.findall(plain)} - FUNCTIONS - WORDS - TYPES
    if called:
        raise PetrieveError(
            f"on this page a condition may not call {min(called)}",
            f"it may call {', '.join(sorted(FUNCTIONS))}; in a terminal it may call all that there are",
        )


def _left(token: re.Match[str]) -> str:
    """What is left of a token where only calls are looked for."""
    return {"'": "''", "`": "`", "-": " ", "/": " "}.get(token[0][0], token[0])


async def bounded(desk: Desk, where: str, work: Callable[..., T], *given: Any) -> T:
    """What the work gives that looks for a condition, if there is one: alone, and not waited for without end.

    Raises:
        HTTPException: 503 where too many wait, or this has taken too long.
    """
    return await (desk.conditions.run if where else run_in_threadpool)(work, *given)
