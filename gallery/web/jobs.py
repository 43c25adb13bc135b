"""Long jobs that are begun on a page: one at a time, beside the pages, with their progress."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import Any

from petrieve.gallery import words
from petrieve.gallery.web.desk import Desk, told
from petrieve.store.errors import PetrieveError, first_line

LOCK = Lock()


@dataclass(eq=False)
class Job:
    """One that is under way, or the last one; the thread that does it writes, pages read."""

    name: str
    command: str  # that does the same
    done: int = 0
    of: int = 0  # 0 where that is not known
    said: list[str] = field(default_factory=list)  # what came of it
    problem: str = ""
    ended: bool = False
    began: float = field(default_factory=time.monotonic)

    def heard(self, done: int, of: int, _: int = 0) -> None:
        """Take in the progress, as `embed` reports it."""
        self.done, self.of = done, of


def begin(desk: Desk, name: str, command: str, work: Callable[[Job], list[str]]) -> Job | None:
    """The job that was begun; None where another is under way. `work` gives what came of it, in lines."""
    with LOCK:
        last = current(desk)
        if last and not last.ended:
            return None
        job = desk.more["job"] = Job(name, command)
    Thread(target=_do, args=(job, work), name=name, daemon=True).start()
    return job


def current(desk: Desk) -> Job | None:
    """The job that is under way, or else the last one."""
    found: Job | None = desk.more.get("job")
    return found


def document(desk: Desk) -> dict[str, Any] | None:
    """What pages say of the job that is under way, or of the last one."""
    if (job := current(desk)) is None:
        return None
    shown = {name: getattr(job, name) for name in ("name", "command", "done", "of", "ended")}
    shown |= {"said": [told(desk, line) for line in job.said], "problem": told(desk, job.problem)}
    return {**shown, "seconds": round(time.monotonic() - job.began)}


def _do(job: Job, work: Callable[[Job], list[str]]) -> None:
    try:
        job.said = work(job)
    except PetrieveError as error:
        job.problem = words.as_options(str(error))
    except OSError as error:
        job.problem = f"{error.strerror or first_line(error)}: {error.filename}"
    except Exception as error:  # a page has to say that it ended, whatever it was
        job.problem = f"{type(error).__name__}: {error}"
    finally:
        job.ended = True
