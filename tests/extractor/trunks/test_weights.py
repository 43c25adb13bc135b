"""Which weights a new store takes, with servers that answer, refuse, hang, dribble or give something else."""

import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Event, Thread

import pytest
import torch
from conftest import Done
from reference import reference_trunk

from petrieve.extractor.trunks import kinds
from petrieve.extractor.trunks.kinds import FIRST, KINDS, Kind
from petrieve.extractor.trunks.trunk import load_trunk
from petrieve.extractor.trunks.weights import LARGEST, at_hand, fingerprint, imagenet_file, read_weights
from petrieve.store.errors import PetrieveError

Run = Callable[..., Done]
SHORT = {"answer": 0.5, "in_all": 1.5}  # seconds
SLACK = 2.0  # seconds, of a machine that has other things to do
SMALL = bytes(range(256)) * 4000


class Served(BaseHTTPRequestHandler):
    """Gives `content`, piece by piece."""

    content = SMALL
    pause = 0.0  # seconds between pieces
    piece = 1 << 16

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        with suppress(OSError):  # the other side has had enough
            for start in range(0, len(self.content), self.piece):
                self.wfile.write(self.content[start : start + self.piece])
                self.wfile.flush()
                time.sleep(self.pause)

    def log_message(self, *_: object) -> None:
        pass


class Missing(Served):
    def do_GET(self) -> None:
        self.send_error(404)


class CutShort(Served):
    """Says how long it is, and ends before."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content[: len(self.content) // 2])


class Endless(Served):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            while True:
                self.wfile.write(bytes(1 << 20))


@contextmanager
def listening(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a server that does as `talk` says with each who connects, until the test is over."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    Thread(target=talk, args=(connection,), daemon=True).start()

        Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in `accept`


@contextmanager
def serving(handler: type[Served]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty torch hub; nothing here goes through a proxy or out into the world."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(kinds, "WEIGHTS", "http://127.0.0.1:9")
    return tmp_path / "home" / "hub" / "checkpoints"


def named(content: bytes) -> Kind:
    """A DenseNet-121 whose ImageNet weights are this file."""
    return replace(FIRST, imagenet=f"densenet121-{hashlib.sha256(content).hexdigest()[:8]}.pth")


def within(seconds: float, kind: Kind) -> str:
    """The weights at hand, found within these seconds."""
    started = time.monotonic()
    found = at_hand(kind, **SHORT)
    assert time.monotonic() - started <= seconds + SLACK
    return found


def left(hub: Path) -> list[str]:
    return sorted(path.name for path in hub.iterdir()) if hub.exists() else []


@cache
def right_file() -> bytes:
    """The bundled weights, as torchvision's files are written."""
    file = BytesIO()
    torch.save({f"features.{name}": tensor for name, tensor in reference_trunk().state_dict().items()}, file)
    return file.getvalue()


def test_the_right_file_is_fetched_whole_and_not_asked_for_again(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = named(right_file())
    with serving(type("Right", (Served,), {"content": right_file()})) as address:
        monkeypatch.setattr(kinds, "WEIGHTS", address)
        assert at_hand(kind) == "imagenet"
    assert left(hub) == [kind.imagenet]
    assert at_hand(kind) == "imagenet", "with nobody there to ask"
    assert fingerprint(read_weights("imagenet", kind), kind.recipe) == load_trunk("bundled").fingerprint


def test_a_file_that_dribbles_and_still_comes_in_time_is_taken(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = named(SMALL)
    with serving(type("Slow", (Served,), {"pause": 0.02})) as address:
        monkeypatch.setattr(kinds, "WEIGHTS", address)
        assert within(SHORT["in_all"], kind) == "imagenet"
    assert imagenet_file(kind).read_bytes() == SMALL


TROUBLE = {
    "missing": Missing,
    "another file": type("Wrong", (Served,), {"content": b"<p>log in first</p>"}),
    "cut short": CutShort,
    "too slow": type("TooSlow", (Served,), {"pause": 0.1, "piece": 1 << 10}),
    "slower than a chunk": type("Trickle", (Served,), {"pause": 0.3, "piece": 1}),
    "stops half way": type("Stops", (Served,), {"pause": 60.0, "piece": len(SMALL) // 2}),
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_what_does_not_come_right_is_given_up_for_the_bundled_weights(
    trouble: str, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(TROUBLE[trouble]) as address:
        monkeypatch.setattr(kinds, "WEIGHTS", address)
        assert within(SHORT["in_all"] + SHORT["answer"], named(SMALL)) == "bundled"
    assert left(hub) == []


def test_a_file_without_end_is_given_up_before_it_fills_the_memory(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Endless) as address:
        monkeypatch.setattr(kinds, "WEIGHTS", address)
        started = time.monotonic()
        assert at_hand(named(bytes(LARGEST + 1)), in_all=60) == "bundled"
        assert time.monotonic() - started < 30, "it is the size that ends it"
    assert left(hub) == []


def test_a_port_where_nobody_listens_is_given_up_at_once(hub: Path) -> None:
    assert within(0, named(SMALL)) == "bundled"
    assert left(hub) == []


def hang(connection: socket.socket) -> None:
    connection.recv(1 << 16)
    time.sleep(60)


def dribble_headers(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            connection.sendall(b"x")
            time.sleep(0.1)


def talk_nonsense(connection: socket.socket) -> None:
    connection.recv(1 << 16)
    connection.sendall(b"220 mail.example ESMTP\r\n")
    connection.close()


@pytest.mark.parametrize("talk", [hang, dribble_headers, talk_nonsense])
def test_a_server_that_does_not_answer_is_given_up_within_seconds(
    talk: Callable[[socket.socket], None], hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(talk) as address:
        monkeypatch.setattr(kinds, "WEIGHTS", address)
        assert within(SHORT["answer"], named(SMALL)) == "bundled"
    assert left(hub) == []


def test_a_name_server_that_does_not_answer_is_given_up_within_seconds(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = Event()

    def unanswered(*_: object, **__: object) -> None:
        over.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", unanswered)
    monkeypatch.setattr(kinds, "WEIGHTS", "http://weights.invalid")
    assert within(SHORT["answer"], named(SMALL)) == "bundled"
    over.set()
    assert left(hub) == []


def test_a_hub_that_cannot_be_written_to_leaves_the_bundled_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_text("a file where the folder would be")
    with serving(Served) as address:
        monkeypatch.setattr(kinds, "WEIGHTS", address)
        assert within(SHORT["in_all"], named(SMALL)) == "bundled"


@pytest.mark.parametrize("name", [name for name in KINDS if name != FIRST.name])
def test_a_kind_that_is_not_bundled_has_imagenets_weights_or_none(name: str, hub: Path) -> None:
    assert within(0, KINDS[name]) == "imagenet"
    with pytest.raises(PetrieveError, match="cannot download the ImageNet weights from http://127") as refused:
        read_weights("imagenet", KINDS[name])
    assert refused.value.remedy.endswith(f'{KINDS[name].imagenet}, or give `weights="FILE.pth"`')
    with pytest.raises(PetrieveError, match=f'no {KINDS[name].title} is bundled; give `weights="imagenet"`'):
        read_weights("bundled", KINDS[name])
    assert left(hub) == []


@pytest.mark.parametrize("trouble", ["missing", "another file", "cut short"])
def test_weights_that_are_asked_for_by_name_never_become_others(
    trouble: str, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(TROUBLE[trouble]) as address:
        monkeypatch.setattr(kinds, "WEIGHTS", address)
        with pytest.raises(PetrieveError, match=r"cannot download the ImageNet weights .* give `weights=.bundled.`"):
            read_weights("imagenet", named(SMALL))
    assert left(hub) == [], "torch's own half file is gone too"


def test_a_server_of_another_kind_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(talk_nonsense) as address:
        monkeypatch.setattr(kinds, "WEIGHTS", address)
        with pytest.raises(PetrieveError, match="cannot download the ImageNet weights"):
            read_weights("imagenet", FIRST)


def test_a_new_store_without_a_network_says_which_weights_it_takes(run: Run, photos: Path) -> None:
    done = run("embed", photos, "--json")
    assert (done.status, done.json["weights"]) == (0, "bundled")
    assert "the bundled trunk is used, which knows cats and dogs" in done.err


def test_the_fingerprint_is_that_of_releases_before() -> None:
    tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor([0.5])}
    assert fingerprint(tensors, FIRST.recipe) == "57597f9d39056f76ee4ce9e1b42251b74c1ab98f862cc25bee843e7d2a2e6eb8"


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_all_kinds_are_shown_the_same_view(kind: Kind) -> None:
    """A photo's views are made once, and the fingerprint of each kind covers how."""
    assert (kind.recipe, kind.mean, kind.std) == (FIRST.recipe, FIRST.mean, FIRST.std)
