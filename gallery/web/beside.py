"""What takes long is made beside the pages, once, and kept for a while."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import Any

PATIENCE = 1.5  # seconds until a page says that something is being made


class Beside:
    """The last things that were made, at most `most`, by their keys."""

    def __init__(self, most: int) -> None:
        self._most, self._made, self._lock = most, OrderedDict[str, Future[Any]](), Lock()
        self._workers = ThreadPoolExecutor(2)

    def of(self, key: str, work: Callable[..., Any], *given: Any, seconds: float = PATIENCE) -> Any:
        """What the work gives, which is never None; None if it takes longer. What it raises is raised here."""
        with self._lock:
            if key not in self._made:
                self._made[key] = self._workers.submit(work, *given)
            making = self._made[key]
            self._made.move_to_end(key)
            for old in list(self._made)[: -self._most]:
                del self._made[old]
        if not wait([making], seconds).done:
            return None
        if making.exception():  # the next who asks tries again
            with self._lock:
                self._made.pop(key, None)
        return making.result()

    def known(self, key: str) -> Any:
        """What was made under a key; None where it is not kept, or not made yet."""
        with self._lock:
            making = self._made.get(key)
        return making.result() if making and making.done() and not making.exception() else None


def key_of(*parts: object) -> str:
    """A short name of what depends on these."""
    return hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).hexdigest()
