"""Who writes to a store in a bucket: one run at a time, which says so in a file there, again and again.

A lock that the system frees does not reach so far. A run whose lease is over, because it was killed or cut off, loses
it to the next that asks; and each commit renews the lease first, so that a run which comes back stops before it.
Times are the server's own: clocks of two machines need not agree.
"""

import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from petrieve.store.errors import PetrieveError
from petrieve.store.key import Key, tag_of

if TYPE_CHECKING:
    from obstore import UpdateVersion as Tag

SECONDS = 60  # that a lease lasts unless it is renewed, which is tried four times in it
# What is in the lock's file of a store on a disk, which may have been copied from there.
LOCK = re.compile(rb"(\d+ \S+)?")
ROUNDING = 1  # second: servers say when a file was written in whole ones
UNFIT = "it would let two runs write at once (it has no conditional puts)"


@dataclass
class Held:
    """How a run came to hold a store for writing, and how it leaves it."""

    after_a_failure: bool  # the run that held it last did not come to its end, or may still believe that it holds it
    leaves: bool = False  # files that no version names, it may be: for the next run to remove, as after a failure


class Lease:
    """A run's lease on the store whose lock's file is `key`."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self._name = uuid4().hex
        self._tag: Tag = {"e_tag": None, "version": None}
        self._one_at_a_time = threading.Lock()

    def take(self) -> bool:
        """Take the lease, or that of a run which is over: then it is True.

        Raises:
            PetrieveError: another run has it, or the server cannot say who has.
        """
        from obstore.exceptions import AlreadyExistsError

        with suppress(AlreadyExistsError):
            self._put("create")
            self._check_server()
            return False
        try:
            holder, tag, since = _read(self.key)
        except FileNotFoundError:  # it has ended meanwhile
            return self.take()
        seconds = holder["seconds"]
        mine = holder["name"] == self._name
        free = mine or not seconds or (_now(self.key) - since).total_seconds() > seconds + ROUNDING
        if not free or not self._replaced(tag):
            raise PetrieveError(
                f"another run (process {holder['process']} on {holder['host']}) is writing to the store "
                f"{self.key.parent}",
                f"wait for it, or name another `--store`; one that was killed counts for {seconds} s",
            )
        return bool(holder["name"] != self._name)

    def renew(self) -> None:
        """Make sure that the lease is this run's, and for how long it lasts from now.

        Raises:
            PetrieveError: another run has it, or the server cannot be reached.
        """
        with self._one_at_a_time:
            if not self._replaced(self._tag):
                raise PetrieveError(
                    f"another run has begun to write to the store {self.key.parent}: this one was cut off from it",
                    "run the command again when that one has ended: what was committed stays",
                )

    def end(self, *, well: bool) -> None:
        """Let go of it, if it is still this run's; after a failure the file stays, so that the next run looks for more.

        A failed run that was to make the store leaves no trace.
        """
        with suppress(PetrieveError, FileNotFoundError), self._one_at_a_time:
            if not well and (self.key.parent / "store.json").exists():
                self._replaced(self._tag, seconds=0)
            elif _read(self.key)[0]["name"] == self._name:
                self.key.unlink()

    def _put(self, mode: "Literal['create'] | Tag", seconds: int | None = None) -> None:
        """Write who has the lease; always in other words, because a server may name a state by its bytes alone."""
        seconds = SECONDS if seconds is None else seconds
        said = {"name": self._name, "process": os.getpid(), "host": socket.gethostname(), "seconds": seconds}
        self._tag = self.key.put(json.dumps({**said, "now": uuid4().hex}).encode(), mode)

    def _replaced(self, tag: "Tag", seconds: int | None = None) -> bool:
        """Whether this run could write itself in the place of what the server calls so."""
        from obstore.exceptions import PreconditionError

        try:
            self._put(tag, seconds)
        except (PreconditionError, FileNotFoundError):
            with suppress(FileNotFoundError):
                holder, there, _ = _read(self.key)
                if holder["name"] == self._name:  # the answer to a put was lost, and it was tried again
                    self._tag = there
                    return True
            return False
        return True

    def _check_server(self) -> None:
        """Refuse a server that overwrites what it was asked not to."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            others: list[Literal["create"] | Tag] = ["create", {"e_tag": '"0"', "version": "0"}]
            for mode in others:
                with suppress(AlreadyExistsError, PreconditionError):
                    self._put(mode)
                    raise PetrieveError(f"no store can lie at {self.key.parent}: {UNFIT}", "name another `--store`")
        except BaseException:
            self.key.unlink()
            raise


def _read(key: Key) -> "tuple[dict[str, Any], Tag, datetime]":
    """Who has the lease that is in this file, what the server calls its state, and since when it has it.

    Raises:
        FileNotFoundError: nobody has.
    """
    holder = {"name": None, "process": "?", "host": "a machine that does not say", "seconds": SECONDS}
    data, found = key.read()
    if LOCK.fullmatch(data):
        holder["seconds"] = 0
    with suppress(ValueError, TypeError, KeyError):
        said = json.loads(data)
        holder |= {**said, "seconds": int(said["seconds"]), "name": str(said["name"])}
    return holder, tag_of(found), found["last_modified"]


def _now(key: Key) -> datetime:
    """The server's time, which it says of files alone."""
    file = key.parent / f"{key.name}.{uuid4().hex}"
    file.put(b"", "overwrite")
    _, found = file.read()
    file.unlink()
    return found["last_modified"]


@contextmanager
def leased(key: Key) -> Iterator[Held]:
    """Hold the store whose lock's file is `key` for writing, and renew that until the end.

    Raises:
        PetrieveError: another run holds it, or the bucket cannot be written to, or cannot hold a store.
    """
    lease, over = Lease(key), threading.Event()
    held = Held(lease.take())
    thread = threading.Thread(target=_keep, args=(lease, over), daemon=True)
    thread.start()
    key.bucket.renew, well = lease.renew, False
    try:
        yield held
        well = not held.leaves
    finally:
        key.bucket.renew = None
        over.set()
        thread.join()
        lease.end(well=well)


def _keep(lease: Lease, over: threading.Event) -> None:
    """Renew a lease until it is over; where that fails, the next commit says so."""
    while not over.wait(SECONDS / 4):
        with suppress(PetrieveError):
            lease.renew()
