"""What people have decided about photos. Each act is a line that stays, an undo too; of two acts the later counts.

STORE/decisions.jsonl    every act, added to and never written anew
STORE/review.csv         the labels that stand, for `embed --labels`; made from the acts and what the store holds
STORE/to-go.csv          the photos that are to go, and for which other; nothing is deleted
"""

import json
import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from petrieve.gallery.spreadsheet import write
from petrieve.store.errors import PetrieveError

ACTS, LABELS, TO_GO = "decisions.jsonl", "review.csv", "to-go.csv"
# Lists that ask the same question: what one has an answer to, the others do not ask.
QUESTIONS = dict.fromkeys(("labels", "conflicts", "outliers", "unsure", "browse"), "label")
WAIT = 30  # seconds for another process that writes
Places = Callable[[Iterable[bytes]], Mapping[bytes, Sequence[str]]]  # where contents are now, by their digests


@dataclass(frozen=True)
class Decision:
    """What was decided about a photo, or about a pair of near-copies."""

    key: str  # what was asked about: a digest, or two
    what: str  # `label`, `keep`, `go` or `skip`
    digest: str  # of the photo that it is said of
    photo: str  # its path, as it was then
    label: str | None = None
    old: str | None = None
    other: str = ""  # the digest of the copy that stays


@dataclass(frozen=True, eq=False)
class Decisions:
    """The acts in a folder; other tabs and other processes may add to them too."""

    folder: Path
    _acts: list[dict[str, Any]] = field(default_factory=list)
    _read: list[int] = field(default_factory=lambda: [0])  # bytes of the file
    _last: list[tuple[int, Mapping[tuple[str, str], Decision]]] = field(
        default_factory=list
    )  # what stood after so many
    _lock: Lock = field(default_factory=Lock)

    def standing(self) -> Mapping[tuple[str, str], Decision]:
        """What stands, by the question and the key: of two acts about the same the later, and none that was undone."""
        acts = self._all()
        for known, standing in self._last:
            if known == len(acts):
                return standing
        undone = {act["undone"] for act in acts if "undone" in act}
        found: dict[tuple[str, str], Decision] = {}
        for act in acts:
            for said in () if act["id"] in undone else act.get("decisions", ()):
                one = Decision(**said)
                question = (act["list"], one.key) if one.what == "skip" else (question_of(act["list"]), one.key)
                found.pop(question, None)  # so that the order is that of the acts
                found[question] = one
        self._last[:] = [(len(acts), found)]
        return found

    def add(self, name: str, decisions: Sequence[Decision], places: Places) -> str:
        """The id of an act that is kept when this returns: what was decided at once, in a list of this name.

        Raises:
            PetrieveError: it cannot be written.
        """
        act = {"id": uuid.uuid4().hex, "list": name, "decisions": [asdict(one) for one in decisions]}
        self._append(act, places)
        return str(act["id"])

    def undo(self, act: str, places: Places) -> list[str]:
        """The keys of what an act had decided, which is undone now.

        Raises:
            PetrieveError: it cannot be written.
        """
        found = next((one for one in self._all() if one["id"] == act and "decisions" in one), None)
        if found is None:
            return []
        self._append({"id": uuid.uuid4().hex, "undone": act}, places)
        return [one["key"] for one in found["decisions"]]

    def write(self, places: Places) -> None:
        """Write the labels and what is to go, as they stand, for where the photos are now.

        Raises:
            PetrieveError: a file cannot be written.
        """
        with self._writing():
            self._write(places)

    def _append(self, act: Mapping[str, Any], places: Places) -> None:
        line = json.dumps({**act, "when": datetime.now(UTC).isoformat(timespec="seconds")}) + "\n"
        with self._writing():
            _append(self.folder / ACTS, line.encode())
            self._write(places)

    def _write(self, places: Places) -> None:
        standing = self.standing()
        labels = [one for one in standing.values() if one.what == "label"]
        now = places([bytes.fromhex(one.digest) for one in labels])
        rows = {path: one.label or "" for one in labels for path in now.get(bytes.fromhex(one.digest), ())}
        write(self.folder / LABELS, ["photo", "label"], sorted(rows.items()))
        write(self.folder / TO_GO, ["photo", "copy_of"], sorted(to_go(standing, places).items()))

    def _writing(self) -> Any:
        from filelock import FileLock, Timeout

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return FileLock(self.folder / f".{ACTS}.lock", timeout=WAIT).acquire()
        except (OSError, Timeout) as error:
            raise _unwritable(self.folder / ACTS, error) from error

    def _all(self) -> list[dict[str, Any]]:
        """All acts; of the file only what is new is read. A line that was cut off by a kill was never answered for."""
        with self._lock:
            try:
                with (self.folder / ACTS).open("rb") as file:
                    file.seek(self._read[0])
                    new = file.read()
            except FileNotFoundError:
                return []
            whole = new[: new.rfind(b"\n") + 1]
            self._read[0] += len(whole)
            self._acts.extend(act for line in whole.splitlines() if (act := _act(line)))
            return list(self._acts)


def question_of(name: str) -> str:
    """What a list asks: others may ask the same."""
    return QUESTIONS.get(name, name)


def to_go(standing: Mapping[tuple[str, str], Decision], places: Places) -> dict[str, str]:
    """The photos that are to go, and the copy that stays for each (empty: none has to).

    Where the copy of a photo is to go as well, the photo stays: the last one of a picture goes only by its own name.
    """
    going = [one for one in standing.values() if one.what == "go"]
    now = places({bytes.fromhex(digest) for one in going for digest in (one.digest, one.other) if digest})
    found = {path: one for one in going if (path := _place(one, now))}
    kept = {path: _stays(one, found, now, {path}) for path, one in found.items()}
    return {path: there for path, there in kept.items() if there is not None}


def _stays(
    one: Decision, going: Mapping[str, Decision], now: Mapping[bytes, Sequence[str]], seen: set[str]
) -> str | None:
    """The copy that stays for a photo, also by way of others that go; empty where none has to, None where none does."""
    if not one.other:
        return ""
    copies = now.get(bytes.fromhex(one.other), ())
    if free := [path for path in copies if path not in going]:
        return free[0]
    for path in copies:
        if path not in seen and going[path].other:
            seen.add(path)
            if there := _stays(going[path], going, now, seen):
                return there
    return None


def _place(one: Decision, now: Mapping[bytes, Sequence[str]]) -> str | None:
    """Where a photo that is to go is now; of several with its bytes it has to be called as it was."""
    paths = now.get(bytes.fromhex(one.digest), ())
    return one.photo if one.photo in paths else paths[0] if len(paths) == 1 and one.other != one.digest else None


def _append(file: Path, line: bytes) -> None:
    """Add a line to a file, for good: behind one that was cut off it begins anew.

    Raises:
        PetrieveError: it cannot be written.
    """
    try:
        with file.open("ab+", buffering=0) as opened:
            end = opened.seek(0, os.SEEK_END)
            if end:
                opened.seek(end - 1)
                line = line if opened.read(1) == b"\n" else b"\n" + line
            if opened.write(line) != len(line):
                raise OSError("the disk is full")
            os.fsync(opened.fileno())
    except OSError as error:
        raise _unwritable(file, error) from error


def _act(line: bytes) -> dict[str, Any] | None:
    try:
        act = json.loads(line)
    except ValueError:
        return None
    return act if isinstance(act, dict) and "id" in act else None


def _unwritable(file: Path, error: Exception) -> PetrieveError:
    why = getattr(error, "strerror", None) or str(error)
    return PetrieveError(f"cannot write {file}: {why}", "make room there, or make it writable: nothing was decided")
