"""Keys that obstore has no name for (`a//b`, `../a`, one with a tab): in S3 and its like, boto3 reads them."""

import errno
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from petrieve.store.buckets import YES, parted
from petrieve.store.errors import PetrieveError

CHANGED = "it changed while it was read"


def is_odd(key: str) -> bool:
    """Whether obstore would refuse a key or take it for another: for an empty part, `.`, `..` or a control."""
    return any(part in ("", ".", "..") for part in key.split("/")) or any(char < " " or char == "\x7f" for char in key)


def pages(address: str, store: Any, after: str | None = None) -> Iterator[list[dict[str, Any]]]:
    """What lies below an address, after the key `after`, page by page, in obstore's form."""
    client, bucket, prefix = _client(address, store)
    more = {"StartAfter": after} if after else {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **more, **_pays(store)):
        yield [
            {"path": one["Key"], "size": one["Size"], "last_modified": one["LastModified"], "e_tag": one["ETag"]}
            for one in page.get("Contents", ())
        ]


def begin_with_slash(address: str, store: Any) -> bool:
    """Whether some keys of a bucket begin with a slash, which obstore would leave out."""
    if not address.startswith("s3"):
        return False
    client, bucket, _ = _client(address, store)
    return bool(client.list_objects_v2(Bucket=bucket, Prefix="/", MaxKeys=1, **_pays(store)).get("Contents"))


def ends_behind(address: str, store: Any, last: str | None) -> bool:
    """Whether nothing lies below an address behind this key.

    obstore takes a listing's answer of 200 that says SlowDown for an empty page, which would be the end.
    """
    client, bucket, prefix = _client(address, store)
    more = {"StartAfter": last} if last else {}
    page = client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=2, **more, **_pays(store))
    # A "folder" that a console has made is `last` with a slash, which obstore leaves out.
    return all(one["Key"].removesuffix("/") in (last, prefix.removesuffix("/")) for one in page.get("Contents", ()))


def get(
    address: str, store: Any, *, within: tuple[int, int] | None = None, match: str | None = None
) -> tuple[dict[str, Any], bytes]:
    """An object or the bytes `within` it, with what is known of it; only while its ETag is `match`."""
    from botocore.exceptions import ClientError

    client, bucket, key = _client(address, store)
    more = {"IfMatch": match} if match else {}
    more |= {"Range": f"bytes={within[0]}-{within[1] - 1}"} if within else {}
    try:
        answer = client.get_object(Bucket=bucket, Key=key, **more, **_pays(store))
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 412:
            raise OSError(errno.EBUSY, CHANGED) from None
        raise
    data = answer["Body"].read()
    size = int(answer.get("ContentRange", f"/{len(data)}").rpartition("/")[2])
    return {"size": size, "last_modified": answer["LastModified"], "e_tag": answer["ETag"]}, data


def head(address: str, store: Any) -> dict[str, Any]:
    """What is known of an object."""
    client, bucket, key = _client(address, store)
    answer = client.head_object(Bucket=bucket, Key=key, **_pays(store))
    return {"size": answer["ContentLength"], "last_modified": answer["LastModified"], "e_tag": answer["ETag"]}


def _client(address: str, store: Any) -> tuple[Any, str, str]:
    bucket, key = parted(address)
    scheme, _, name = bucket.partition("://")
    if not scheme.startswith("s3"):
        raise PetrieveError(
            f"{bucket} holds a key with an empty part (`a//b`), `.`, `..` or a control character",
            "rename it, or name a prefix that does not hold it",
        )
    config = store.config
    virtual = str(config.get("virtual_hosted_style_request")).lower() in YES
    anonymous = str(config.get("skip_signature")).lower() in YES
    endpoint = (config.get("endpoint") or "").replace(f"://{name}.", "://") or None
    return _made(endpoint, config.get("region"), virtual, anonymous), name, key


@lru_cache(maxsize=8)
def _made(endpoint: str | None, region: str | None, virtual: bool, anonymous: bool) -> Any:
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    config = Config(
        s3={"addressing_style": "virtual" if virtual else "path"},
        retries={"total_max_attempts": 1},
        connect_timeout=5,
        read_timeout=20,
        max_pool_connections=100,
        **({"signature_version": UNSIGNED} if anonymous else {}),
    )
    return boto3.client("s3", endpoint_url=endpoint, region_name=region, config=config)


def _pays(store: Any) -> dict[str, str]:
    return {"RequestPayer": "requester"} if store.config.get("request_payer") else {}
