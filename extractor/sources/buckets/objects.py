"""Objects of a bucket: listed, and their bytes."""

import errno
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from petrieve.extractor.sources.buckets import odd_keys
from petrieve.extractor.sources.buckets.fetching import fetching
from petrieve.store.asking import (
    CUT_OFF,
    Ended,
    asked,
    refused,
    says_slow_down,
    trouble_of,
    unreached,
    wait_after,
    waits,
)
from petrieve.store.buckets import connected, parted
from petrieve.store.errors import PetrieveError, first_line
from petrieve.store.rows import microseconds

Item = TypeVar("Item")
# Keys that are handled while the next are asked for: S3 sends no more in one page.
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Object:
    """What is known of an object that is not opened."""

    key: str
    size: int  # bytes
    modified: int  # microseconds since 1970, UTC
    version: str | None  # its ETag, without the quotes that some listings leave out


def objects_below(address: str) -> Iterator[Object]:
    """The objects below a prefix, by their keys, in the bucket's order; a page is asked for ahead.

    Raises:
        PetrieveError: the bucket is not there, not to be read or not to be reached.
    """
    for page in _ahead(_pages(address)):
        for one in page:
            yield _object(one["path"], one)


def object_at(address: str) -> Object | None:
    """The object with exactly this key; None if there is none.

    Raises:
        PetrieveError: the bucket is not there, not to be read or not to be reached.
    """
    try:
        return _asked_for(address)
    except (FileNotFoundError, PermissionError) as error:
        if isinstance(error, Ended):
            raise refused(address, error) from None
        return None  # nothing, or an object that may not be asked for alone: a listing says more
    except OSError as error:
        raise refused(address, error) from None


def trouble_at(address: str) -> str | None:
    """Why a bucket refuses to answer for an object; None if it answers, or nothing is there."""
    try:
        _asked_for(address)
    except FileNotFoundError:
        pass
    except OSError as error:
        return error.strerror or first_line(error)
    except PetrieveError as error:
        return error.what
    return None


def _asked_for(address: str) -> Object | None:
    store: Any
    store, key = connected(address, retries=0)
    if not key or key.endswith("/"):
        return None
    known = asked(address, lambda: odd_keys.head(address, store) if odd_keys.is_odd(key) else dict(store.head(key)))
    return _object(key, known)


def bytes_of(
    address: str, *, within: tuple[int, int] | None = None, version: str | None = None
) -> tuple[Object, bytes]:
    """What is known of an object, and its bytes or those `within` it; only while it is this `version`.

    Raises:
        FileNotFoundError, PermissionError, Unreached: as `store.asking.asked`.
        OSError: it is another version by now.
        PetrieveError: the credentials have ended.
    """
    store: Any
    store, key = connected(address, retries=0)
    match = version and (version if version.startswith("W/") else f'"{version}"')

    def ask() -> tuple[Object, bytes]:
        if odd_keys.is_odd(key):
            known, data = odd_keys.get(address, store, within=within, match=match)
        else:
            options: dict[str, Any] = {"if_match": match, "range": within}
            answer = store.get(key, options={name: value for name, value in options.items() if value})
            known, data = answer.meta, bytes(answer.bytes())
        whole = known["size"] if within is None else min(within[1], known["size"]) - within[0]
        if len(data) < 512 and says_slow_down(data):
            raise unreached(parted(address)[0], "it answered SlowDown")
        if len(data) != whole:
            raise unreached(parted(address)[0], CUT_OFF)
        now = _object(key, known)
        if version and now.version != version:  # some servers ignore the condition
            raise OSError(errno.EBUSY, odd_keys.CHANGED)
        return now, data

    try:
        return fetching().asked(address, ask)
    except Ended as error:
        raise refused(parted(address)[0], error) from None
    except Exception as error:
        if type(error).__name__ == "PreconditionError":
            raise OSError(errno.EBUSY, odd_keys.CHANGED) from None
        raise


def _object(key: str, known: Mapping[str, Any]) -> Object:
    tag = known["e_tag"]
    version = tag if tag is None or tag.startswith("W/") else tag.strip('"')
    return Object(key, known["size"], microseconds(known["last_modified"]), version)


def _pages(address: str) -> Iterator[Sequence[Any]]:
    """The pages of a listing; a page that failed is asked for again, after the last key."""
    store: Any
    store, prefix = connected(address, retries=0)
    odd, last, left = bool(prefix) and odd_keys.is_odd(prefix.removesuffix("/")), None, waits()
    while True:
        try:
            odd = odd or (not prefix and odd_keys.begin_with_slash(address, store))
            for page in (
                odd_keys.pages(address, store, last) if odd else store.list(prefix, offset=last, chunk_size=PAGE)
            ):
                fetching().answered(parted(address)[0])
                yield page
                last, left = (page[-1]["path"] if page else last), waits()
            if odd or not address.startswith("s3") or odd_keys.ends_behind(address, store, last):
                return
            odd = True  # obstore took an error for the end
        except Exception as error:
            if type(error).__name__ == "InvalidPathError" and not odd:
                odd = True
            else:
                time.sleep(_wait(address, error, left))


def _wait(address: str, error: Exception, left: Iterator[float]) -> float:
    """Wait after an error that may pass, and return the waits that are left; another error is raised."""
    trouble = trouble_of(address, error)
    wait = wait_after(trouble, left)
    if wait is None:
        raise (refused(address, trouble) if isinstance(trouble, OSError) else trouble) from None
    return wait


def _ahead(pages: Iterator[Item]) -> Iterator[Item]:
    """The same, the next one always under way."""
    with ThreadPoolExecutor(1, "list") as lister:
        coming: Future[Any] = lister.submit(next, pages, None)
        while (page := coming.result()) is not None:
            coming = lister.submit(next, pages, None)
            yield page
