"""Buckets: what an address names, and how it is reached as the usual environment says."""

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from petrieve.store.errors import PetrieveError, not_installed
from petrieve.store.photo import ADDRESS
from petrieve.store.photo import is_address as is_address

if TYPE_CHECKING:
    from obstore.store import ObjectStore, S3Credential

SCHEMES = ("s3", "s3a", "gs", "az", "abfs", "abfss")
NAME = re.compile(r"[\w.$-]+", re.ASCII)  # what the names of buckets are made of, at all that have them
# Variables that say how a bucket is reached: where one has changed, it is reached anew.
SETTINGS = ("AWS_", "AZURE_", "AZURITE_", "GOOGLE_", "STORAGE_EMULATOR_HOST")
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
YES = ("1", "true", "yes", "on")
# obstore asks for credentials again five minutes before they end, and so for those without an end each half minute:
# whoever writes a new token into the profile's file is heard.
ASKED_AGAIN = timedelta(minutes=5, seconds=30)
PATIENCE = timedelta(seconds=60)  # in which a request is tried again
_connecting = Lock()
ENDED = "the lender of credentials has none any more"


def parted(address: str) -> tuple[str, str]:
    """The bucket of an address (`s3://bucket`), and the key or prefix behind it, whose characters mean themselves.

    Raises:
        PetrieveError: it is not that of a bucket.
    """
    found = ADDRESS.match(address)
    scheme, rest = (found[1].lower(), found[2]) if found else ("", "")
    name, _, key = rest.partition("/")
    # What stands before an @, or behind a host that is not a bucket, may be a secret: a key, or a signature.
    shown = f"{scheme}://{re.split('[?#]', name.rpartition('@')[2])[0]}" if found else address
    if scheme not in SCHEMES or not NAME.fullmatch(name.replace("@", "", 1)):
        raise PetrieveError(f"{shown} is not the address of a bucket", "write s3://BUCKET/PREFIX, gs://… or az://…")
    if "@" in name and not scheme.startswith("abfs"):
        raise PetrieveError(f"the address of {shown} holds credentials", "put them into the environment or a profile")
    return f"{scheme}://{name}", key


def connected(address: str, *, retries: int = 10) -> "tuple[ObjectStore, str]":
    """The bucket of an address, made once and kept, and the key or prefix that the address names in it.

    It tries a request `tries` times again by itself.

    Raises:
        PetrieveError: no bucket's address, an extra is not installed, or the environment cannot be used.
    """
    bucket, key = parted(address)
    settings = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith(SETTINGS)))
    with _connecting:  # many threads begin at once
        return _connected(bucket, retries, settings), key


@lru_cache(maxsize=64)
def _connected(bucket: str, retries: int, settings: tuple[tuple[str, str], ...]) -> "ObjectStore":
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise not_installed("a bucket", error.name, "bucket") from error
    config, lender = _s3(bucket, dict(settings)) if bucket.startswith("s3") else _emulated(dict(settings))
    options = {"connect_timeout": timedelta(seconds=5), "read_timeout": timedelta(seconds=20), "timeout": 2 * PATIENCE}
    plain = {"allow_http": True} if any(str(one).startswith("http:") for one in config.values()) else {}
    arguments: dict[str, Any] = {
        "client_options": {**options, **plain},
        "retry_config": {"max_retries": retries, "retry_timeout": PATIENCE},
        **({"config": config} if config else {}),
        **({"credential_provider": lender} if lender else {}),
    }
    try:
        made: ObjectStore = from_url(bucket, **arguments)
        return made
    except Exception as error:  # its first line names the setting; more might say what it is
        why = str(error).splitlines()[0].rpartition(" error: ")[2]
        raise PetrieveError(f"cannot open {bucket}: {why}", "set in the environment what it lacks") from None


def _emulated(settings: Mapping[str, str]) -> tuple[dict[str, Any], Callable[[], Any] | None]:
    """How an emulator of GCS is reached that the environment names, as for Google's own libraries."""
    host = settings.get("STORAGE_EMULATOR_HOST")
    if not host:
        return {}, None
    return {"base_url": host if "://" in host else f"http://{host}"}, lambda: {"token": "none", "expires_at": None}


def _s3(bucket: str, settings: Mapping[str, str]) -> "tuple[dict[str, Any], Callable[[], S3Credential] | None]":
    """How S3 and its like are reached, beyond what obstore reads in the environment; and who lends credentials."""
    profile, region, lender = dict[str, Any](), None, None
    config: dict[str, Any] = {}
    if "AWS_ACCESS_KEY_ID" not in settings:  # which go before a profile, as in all of AWS's tools
        profile, region, lender = _profile()
    if lender is None and "AWS_ACCESS_KEY_ID" not in settings:
        config["skip_signature"] = True
    if settings.get("AWS_SKIP_SIGNATURE", "").lower() in YES:
        config["skip_signature"], lender = True, None
    endpoint = next((settings[name] for name in ENDPOINTS if settings.get(name)), profile.get("endpoint_url", ""))
    name = bucket.partition("://")[2]
    asked = settings.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "").lower() in YES
    virtual = asked if endpoint else "." not in name  # no certificate is for a host with dots in the bucket's name
    here = _place(name, endpoint or "https://s3.amazonaws.com", virtual)
    if endpoint:
        config["endpoint"] = here.removesuffix(f"/{name}")
    region = settings.get("AWS_REGION") or settings.get("AWS_DEFAULT_REGION") or region or "us-east-1"
    return config | {"region": _region(here) or region, "virtual_hosted_style_request": virtual}, lender


def _place(name: str, endpoint: str, virtual: bool) -> str:
    """Where the bucket with this name is at an endpoint: in its path, or in the name of its host."""
    scheme, _, host = endpoint.rstrip("/").partition("://")
    if not virtual:
        return f"{scheme}://{host}/{name}"
    return f"{scheme}://{host}" if host.startswith(f"{name}.") else f"{scheme}://{name}.{host}"


def _region(address: str) -> str | None:
    """Where a bucket says that it is: S3 tells those too who may not look into it, or ask in the wrong region."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    with suppress(OSError, ValueError):
        try:
            with urlopen(Request(address, method="HEAD"), timeout=5) as answer:
                return answer.headers.get("x-amz-bucket-region")  # type: ignore[no-any-return]
        except HTTPError as error:
            return error.headers.get("x-amz-bucket-region")
    return None


def _profile() -> "tuple[dict[str, Any], str | None, Callable[[], S3Credential] | None]":
    """What the chosen profile says, its region, and who lends its credentials, None where it has none."""
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise not_installed("a bucket", error.name, "bucket") from error
    try:
        session = boto3.Session()
        found = session.get_credentials()
        return session._session.get_scoped_config(), session.region_name, _lender(found) if found else None
    except BotoCoreError as error:  # no such profile, or one that cannot be
        raise PetrieveError(f"cannot use the AWS profile: {error}", "set `AWS_PROFILE` to one that is there") from None


def _lender(found: Any) -> "Callable[[], S3Credential]":
    """Who is asked for credentials whenever the last ones are about to end."""

    def lent() -> "S3Credential":
        import boto3

        ends = getattr(found, "_expiry_time", None)
        try:
            anew = found if ends else (boto3.Session().get_credentials() or found)
            keys = anew.get_frozen_credentials()
        except Exception:  # whatever a profile's program or its server has said: it may hold secrets
            raise PermissionError(ENDED) from None
        ends = (getattr(anew, "_expiry_time", None) or datetime.now(UTC) + ASKED_AGAIN).astimezone(UTC)
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token,
            "expires_at": ends,
        }

    return lent
