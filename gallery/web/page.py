"""What every page is made with."""

from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse

from petrieve.gallery.web.desk import Desk

# In the head of each page.
PAGES = (("", "Ask"), ("browse", "Browse"), ("map", "Map"), ("review", "Review"), ("library", "Library"))


def page(asked: Request, template: str, status: int = 200, /, **told: Any) -> HTMLResponse:
    """A page from its template; addresses on it are relative, so that it may stand anywhere below a proxy."""
    path: str = asked.scope["path"].removeprefix(asked.scope.get("root_path", ""))
    up = "../" * (path.count("/") - 1) or "./"
    here = path.strip("/").partition("/")[0]
    return HTMLResponse(
        asked.app.state.pages.get_template(template).render(up=up, here=here, pages=PAGES, **told), status
    )


def desk_of(asked: Request) -> Desk:
    """The desk of the application that answers."""
    desk: Desk = asked.app.state.desk
    return desk


def number(word: str) -> int:
    """The whole number that an address gives; 0 where it is not one, or larger than there could be."""
    return int(word) if word.isascii() and word.isdigit() and len(word) < 12 else 0
