"""A gallery's own server: on this machine alone, unless somebody says otherwise."""

import asyncio
import ipaddress
import logging
import secrets
import socket
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

from petrieve.api.store import Store
from petrieve.store.errors import PetrieveError, not_installed

LOOPBACK, EVERYWHERE = ("127.0.0.1", "localhost", "[::1]"), ("0.0.0.0", "::")
CONNECTIONS = 256  # at once, of all browsers
WAIT = 1  # seconds that a stop waits for what is being answered


def serve(
    store: Store,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    allow_host: Sequence[str] = (),
    password: str | None = None,
    library: Path | None = None,
    browse: bool = True,
    tell: Callable[[str], None] = print,
) -> None:
    """Answer for a store until Ctrl-C; `tell` hears the address, which has the key. Port 0 is a free one.
    What is dropped may be added to the folder `library`.

    Raises:
        PetrieveError: the extra is not installed, there is no store, the port is taken, or the page would be open to
            others without a password.
    """
    try:
        import uvicorn

        from petrieve.gallery.web.app import application
        from petrieve.gallery.web.desk import Desk
        from petrieve.gallery.web.safe import KEY, Door
    except ImportError as error:
        raise not_installed("the gallery", error.name, "gallery") from error
    if not is_own(host) and not password:
        raise PetrieveError(
            f"with --host {host} others reach your photos", "set a password in PETRIEVE_PASSWORD, or type one"
        )
    store.cache()
    listening = _listening(host, port)
    port = listening.getsockname()[1]
    door = Door(secrets.token_urlsafe(24), f"petrieve_{port}", password)
    everywhere = host.strip("[]") in EVERYWHERE
    reached = _own_addresses() if everywhere else [_bracketed(host)]
    app = application(
        Desk.of(store, port, library=library, shared=bool(password)), door, [*LOOPBACK, *reached, *allow_host]
    )
    address = f"http://{'127.0.0.1' if everywhere else _bracketed(host)}:{port}/?{KEY}={door.key}"
    tell(f"the gallery of {store.path}: {address}")
    if password:
        for other in reached:
            tell(f"others open http://{other}:{port}/ and type the password")
    tell("Ctrl-C ends it")
    settings = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        timeout_graceful_shutdown=WAIT,
        server_header=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,  # who asks, the connection says
        limit_concurrency=CONNECTIONS,
    )
    logging.getLogger("uvicorn.error").addFilter(lambda said: not said.getMessage().startswith("Cancel "))  # at the end
    if browse:
        webbrowser.open(address)
    # Not asyncio.run, which at the end waits for a photo that is being decoded.
    asyncio.new_event_loop().run_until_complete(uvicorn.Server(settings).serve([listening]))


def _bracketed(host: str) -> str:
    """A host as addresses have it."""
    return f"[{host.strip('[]')}]" if ":" in host else host


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Told that it is TCP, asyncio sets TCP_NODELAY; else a small answer waits 40 ms for the browser's acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host.strip("[]"), port))
        listening.listen()  # before anybody is told of it
    except (OSError, OverflowError) as error:
        listening.close()
        raise PetrieveError(f"cannot listen at {host}, port {port}: {error}", "name another with `--port`") from error
    return listening


def is_own(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _own_addresses() -> list[str]:
    """The name of this machine, and its addresses in its networks."""
    name = socket.gethostname()
    try:
        found = {str(one[4][0]) for one in socket.getaddrinfo(name, None, socket.AF_INET)}
    except OSError:
        found = set()
    return sorted({name, *(one for one in found if not is_own(one))})
