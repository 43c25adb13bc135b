"""Servers of buckets on the loopback: an S3, one whose conditional puts do not hold, and a proxy that has a bad day."""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAOFTHETESTS", "AWS_SECRET_ACCESS_KEY": "SecretOfTheTests", "AWS_REGION": "us-east-1"}
COMPLAINT = '<?xml version="1.0"?><Error><Code>{}</Code><Message>No, {}</Message></Error>'
CODES = {"503": "SlowDown", "400": "ExpiredToken", "403": "AccessDenied"}


def environment(endpoint: str) -> dict[str, str]:
    """What the environment says to those who speak to a server."""
    return KEYS | {"AWS_ENDPOINT_URL": endpoint, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull}


@contextmanager
def moto_server() -> Iterator[str]:
    """The endpoint of an S3 whose conditional puts hold, in a process of its own."""
    port = free_port()
    with served([sys.executable, "-m", "moto.server", "-p", str(port)], port) as endpoint:
        yield endpoint


@contextmanager
def nanio_server(folder: Path) -> Iterator[str]:
    """The endpoint of an S3-like server that lets all win who put an object where none is, in its own process."""
    port = free_port()
    command = [sys.executable, "-m", "nanio", "serve", "--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
    keys = {"NANIO_ACCESS_KEY": KEYS["AWS_ACCESS_KEY_ID"], "NANIO_SECRET_KEY": KEYS["AWS_SECRET_ACCESS_KEY"]}
    with served([*command, "--data-dir", str(folder), "--log-level", "error"], port, keys) as endpoint:
        yield endpoint


def made_bucket(endpoint: str, name: str) -> Any:
    """A new bucket of a server, as boto3 sees it: not through our own code."""
    import boto3

    made = boto3.resource(
        "s3",
        endpoint_url=endpoint,
        region_name=KEYS["AWS_REGION"],
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    ).Bucket(name)
    made.create()
    return made


def put_folder(bucket: Any, folder: Path, prefix: str) -> None:
    """Put all files of a folder below a prefix."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            bucket.put_object(Key=prefix + file.relative_to(folder).as_posix(), Body=file.read_bytes())


@dataclass(frozen=True)
class Asked:
    """A request that a proxy has seen."""

    method: str
    path: str  # as it was sent: quoted, with its query
    headers: Mapping[str, str]
    port: int = 0  # of who asks


@dataclass
class Proxy:
    """What stands before a server: it counts, delays, and does to an answer what `fault` says.

    That is a status ("503"; "400" is for a token that has expired), "cut" (half of the body comes), "slow" (200 and
    SlowDown), "gone" (it hangs up without a word), or None: the server's own answer. It is called before the server is
    asked, and may change the object.
    """

    endpoint: str
    behind: str
    delay: float = 0.0  # seconds
    fault: Callable[[Asked], str | None] = lambda _: None
    asked: list[Asked] = field(default_factory=list)
    now: list[Asked] = field(default_factory=list)  # being answered
    most: int = 0  # answered at once

    def count(self, method: str, part: str = "") -> int:
        """How many requests of this kind have come whose path holds `part`."""
        return sum(one.method == method and part in one.path for one in self.asked)


def one_of_five(fault: str) -> Callable[[Asked], str | None]:
    """The fault for each fifth request."""
    lock, seen = threading.Lock(), [0]

    def chosen(_: Asked) -> str | None:
        with lock:
            seen[0] += 1
            return fault if seen[0] % 5 == 0 else None

    return chosen


@contextmanager
def proxied(behind: str) -> Iterator[Proxy]:
    """A proxy before a server, in a thread."""
    server = _Proxies(("127.0.0.1", 0), _Passed)
    server.proxy = Proxy(f"http://127.0.0.1:{server.server_port}", behind)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.proxy
    finally:
        server.shutdown()
        server.server_close()


class _Proxies(ThreadingHTTPServer):
    proxy: Proxy
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever hung up has his reasons."""


class _Passed(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body go out together

    def setup(self) -> None:
        super().setup()
        self.server: _Proxies
        self.behind = http.client.HTTPConnection(self.server.proxy.behind.removeprefix("http://"), timeout=60)

    def pass_on(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Asked(self.command, self.path, headers, self.client_address[1])
        proxy.asked.append(request)
        proxy.now.append(request)
        proxy.most = max(proxy.most, len(proxy.now))
        time.sleep(proxy.delay)
        proxy.now.remove(request)
        fault = proxy.fault(request)
        if fault == "gone":
            self.close_connection = True
        elif fault == "slow" and self.command != "HEAD":
            told = {"etag": '"0"', "last-modified": self.date_time_string()}
            self.answer(200, told, COMPLAINT.format("SlowDown", "").encode())
        elif fault and fault.isdigit():
            code = CODES.get(fault, "Other")
            self.answer(int(fault), {}, COMPLAINT.format(code, self.headers.get("authorization")).encode())
        else:
            self.behind.request(self.command, self.path, body, dict(self.headers.items()))
            told = self.behind.getresponse()
            data = told.read()
            left = {"connection", "transfer-encoding", "content-length", "date", "server"}
            headers = {name: value for name, value in told.getheaders() if name.lower() not in left}
            size = told.getheader("content-length") if self.command == "HEAD" else None
            if fault == "lost":  # the server has done it, and who asked hears otherwise
                self.answer(503, {}, b"")
                return
            self.answer(told.status, headers, data, size=size, cut=fault == "cut")

    def answer(
        self, status: int, headers: Mapping[str, str], data: bytes, *, size: str | None = None, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", size or str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        self.wfile.flush()
        self.close_connection = self.close_connection or cut

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815

    def log_message(self, *words: object) -> None:
        """Not on the terminal."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def served(command: list[str], port: int, settings: Mapping[str, str] = {}) -> Iterator[str]:
    """The endpoint of a server that answers; it ends with the block."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, env={**os.environ, **settings})
    try:
        endpoint = f"http://127.0.0.1:{port}"
        for _ in range(600):
            with suppress(ConnectionError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            assert process.poll() is None, f"{command} has ended"
            time.sleep(0.05)
        yield endpoint
    finally:
        process.terminate()
        process.wait(timeout=10)
