"""A bucket is asked: again where the trouble may pass, and what it could not do is said in words without secrets."""

import errno
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from petrieve.store.buckets import ENDED, parted
from petrieve.store.errors import PetrieveError, warn

Answer = TypeVar("Answer")
# The most seconds before a second try, and twice as many before each further one; all tries begin within PATIENCE.
FIRST_WAIT, LONGEST_WAIT, PATIENCE = 0.1, 15.0, 60.0
UNTOLD_WAIT = 3.0  # seconds; a longer one is told
# What S3 and its like answer where credentials were good and are no longer, and where a moment later the answer may
# be another.
EXPIRED = frozenset("ExpiredToken ExpiredTokenException TokenRefreshRequired RequestExpired InvalidToken".split())
SLOW = tuple(
    f"<Code>{code}</Code>".encode()
    for code in "SlowDown ServiceUnavailable InternalError RequestTimeout Throttling TooManyRequests".split()
)
# What is said of an object's state: answers, and no trouble.
ANSWERS = ("PreconditionError", "NotModifiedError", "AlreadyExistsError")
CUT_OFF = "cut off"


class Unreached(OSError):
    """Network or server did not answer as they should; later they may."""


class Ended(PermissionError):
    """The credentials were good once, and are no longer."""


def asked(address: str, ask: Callable[[], Answer]) -> Answer:
    """What `ask` answers of a bucket; where the trouble may pass, it is asked again.

    obstore's PreconditionError, NotModifiedError and AlreadyExistsError are answers, and come through as they are.

    Raises:
        FileNotFoundError: nothing has this key, or there is no such bucket.
        PermissionError: no access; `Ended` where credentials that were good are no longer.
        Unreached: no good answer within PATIENCE.
    """
    left = waits()
    while True:
        try:
            return ask()
        except Exception as error:
            trouble = trouble_of(address, error)
            wait = wait_after(trouble, left)
            if trouble is error and wait is None:
                raise
            if wait is None:  # the answer may hold secrets, so it is not given as the cause
                raise trouble from None
        time.sleep(wait)


def waits() -> Iterator[float]:
    """Seconds to wait before each next try: at random, up to twice as many each time, within PATIENCE."""
    started, most = time.monotonic(), FIRST_WAIT
    while time.monotonic() - started < PATIENCE:
        yield random.uniform(most / 2, most)
        most = min(2 * most, LONGEST_WAIT)


def wait_after(trouble: Exception, left: Iterator[float]) -> float | None:
    """Seconds to wait before the next try, of those that are left; None where there is none to come.

    Who waits long is told why: an endpoint with a slip in it has nobody who answers either.
    """
    if not isinstance(trouble, Unreached):
        return None
    wait = next(left, None)
    if wait and wait > UNTOLD_WAIT:
        warn(f"{trouble.strerror}; it is tried again for up to {PATIENCE:g} s")
    return wait


def trouble_of(address: str, error: Exception) -> Exception:
    """What obstore or boto3 could not do as an OSError, as `asked` raises it; other errors as they are.

    Its `strerror` holds no secret and no signed address.
    """
    if not _is_foreign(error) or type(error).__name__ in ANSWERS:
        return error
    bucket = parted(address)[0]
    status, code = _answered(error)
    if code in EXPIRED or ENDED in str(error):
        return Ended(errno.EACCES, f"the credentials for {bucket} have ended")
    if code in ("NoSuchBucket", "ContainerNotFound"):
        return FileNotFoundError(errno.ENOENT, f"there is no bucket {bucket}")
    if isinstance(error, FileNotFoundError) or status == 404:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if status in (401, 403) or type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError"):
        return PermissionError(errno.EACCES, f"no access to {bucket}")
    return unreached(bucket, _why(error, status, code))


def unreached(bucket: str, why: str) -> Unreached:
    """The error for a bucket that could not be reached, with the reason."""
    return Unreached(errno.EIO, f"{bucket} could not be reached: {why}")


def refused(address: str, error: OSError) -> PetrieveError:
    """The error of a command that cannot go on without this bucket."""
    remedy = "check the network and `--endpoint`, and run the command again"
    if isinstance(error, Ended):
        remedy = "renew them and run the command again: what was committed stays"
    elif isinstance(error, PermissionError):
        at_s3 = "`AWS_PROFILE` or the keys in the environment, or set `AWS_SKIP_SIGNATURE=true` if it is public"
        remedy = f"check {at_s3 if address.startswith('s3') else 'the credentials in the environment'}"
    elif isinstance(error, FileNotFoundError):
        remedy = "check its name, and `--endpoint` if it is not at AWS"
    return PetrieveError(f"cannot open {address}: {error.strerror}", remedy)


def says_slow_down(data: bytes) -> bool:
    """Whether what came in an object's place is a complaint: some servers say 200 first, and then SlowDown."""
    head = data[:512]
    return b"<Error>" in head and any(code in head for code in SLOW)


def _is_foreign(error: Exception) -> bool:
    # obstore raises Python's own FileNotFoundError, without a number.
    return type(error).__module__.partition(".")[0] in ("obstore", "botocore") or (
        isinstance(error, FileNotFoundError) and error.errno is None
    )


def _answered(error: Exception) -> tuple[int | None, str | None]:
    """The status and the code of what the server has answered, where it has."""
    told: Any = getattr(error, "response", None)  # boto3's
    if told:
        return told.get("ResponseMetadata", {}).get("HTTPStatusCode"), told.get("Error", {}).get("Code")
    text = str(error).partition("status code: ")[2]
    code = re.search(r"<Code>(\w+)</Code>", text)
    return int(text[:3]) if text[:3].isdigit() else None, code[1] if code else None


def _why(error: Exception, status: int | None, code: str | None) -> str:
    if status or code:
        return "it answered " + " ".join(str(one) for one in (status, code) if one)
    text = str(error).lower()
    words = {"timedout": "timed out", "timed out": "timed out", "connect": "no connection", "body": CUT_OFF}
    return next((said for word, said in words.items() if word in text), "no good answer")
