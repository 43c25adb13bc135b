"""What a command can do is one call away, with the same names and defaults; what it prints is what the call gives."""

import contextlib
import inspect
import io
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from conftest import Done

import petrieve
from petrieve import cli

Run = Callable[..., Done]
EVERY: dict[str, typer.core.TyperCommand] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
COMMANDS = {name: one for name, one in EVERY.items() if name not in ("demo", "gallery")}  # they are no calls
# All that differs between a command and its method; a new option needs its parameter.
CALLED = {
    "import": "import_",
    "compare-trunks": "compare_trunks",
    "fit-head": "fit_head",
    "build-index": "build_index",
    "build-map": "build_map",
}
OF_OPEN = {"store", "trunk"}  # whoever opens a store has said them
OF_THE_COMMAND = {"endpoint", "as_json", "zip_encoding"}  # the environment, how it prints, how zips are read
OF_ONE_COMMAND = {("info", "csv"), ("info", "unreadable"), ("similar", "watch")}  # `store.watch` is a call of its own
OF_ONE_CALL = {("embed", "quiet"), ("embed", "on_progress"), ("embed", "stop"), ("embed", "then")}
SLOW = ("fit-head", "duplicates", "report", "verify", "evaluate", "audit")  # whose text is not looked at here too
CALLS_ALONE = {"to_arrow", "to_numpy", "to_pandas", "dataset", "watch", "cache", "index", "warm"}


def function(command: str) -> Callable[..., Any]:
    name = CALLED.get(command, command)
    return petrieve.sample if name == "sample" else getattr(petrieve.Store, name)  # type: ignore[no-any-return]


def options(command: str) -> dict[str, Any]:
    """The parameters that a command and its method share, with their defaults."""
    own = OF_THE_COMMAND | (OF_OPEN if command != "compare-trunks" else {"store"})
    found = {one.name: one for one in COMMANDS[command].params if one.name not in own}
    return {
        str(name): inspect.Parameter.empty if one.required else one.default
        for name, one in found.items()
        if (command, name) not in OF_ONE_COMMAND
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_and_its_method_have_the_same_options_and_defaults(command: str) -> None:
    told = {
        name: str(one.default) if isinstance(one.default, Path) else one.default
        for name, one in inspect.signature(function(command)).parameters.items()
        if name != "self" and (command, name) not in OF_ONE_CALL
    }
    asked = {name: str(one) if isinstance(one, Path) else one for name, one in options(command).items()}
    if command == "similar":
        asked["photos"] = inspect.Parameter.empty  # the command may `--watch` instead
    assert told == asked


def test_watch_has_the_options_of_similar() -> None:
    watched, alike = (set(inspect.signature(one).parameters) for one in (petrieve.Store.watch, petrieve.Store.similar))
    assert watched - {"folder"} == alike - {"photos", "sheet"}


def test_each_method_has_its_command() -> None:
    methods = {name for name, _ in inspect.getmembers(petrieve.Store, inspect.isfunction) if not name.startswith("_")}
    assert methods - CALLS_ALONE == {CALLED.get(name, name) for name in COMMANDS} - {"sample"}


def spoken(*words: object) -> str:
    """What an installed `petrieve` prints."""
    out, before = io.StringIO(), sys.argv
    sys.argv = ["petrieve", *map(str, words)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), contextlib.suppress(SystemExit):
        cli.main()
    sys.argv = before
    return out.getvalue()


def calls(store: Path, photo: Path) -> Iterator[tuple[tuple[object, ...], Any]]:
    """Commands, and what their methods give."""
    opened: Any = petrieve.open(store)
    yield ("info",), opened.info()
    yield ("predict", photo), opened.predict(photo)
    yield ("similar", photo, "-k", 3), opened.similar(photo, k=3)
    yield ("audit",), opened.audit()
    yield ("evaluate",), opened.evaluate()
    yield ("duplicates",), opened.duplicates()
    yield ("verify", "--sample", 2), opened.verify(sample=2)
    yield ("fit-head",), opened.fit_head()
    yield ("build-index",), opened.build_index()
    yield ("build-map",), opened.build_map()
    yield ("report", "--out", "a.html"), opened.report("a.html")
    yield ("export", "a.parquet"), opened.export("a.parquet")
    yield ("import", "a.parquet"), opened.import_("a.parquet")


def timeless(document: str) -> Any:
    """A JSON document without its times."""
    return json.loads(document, object_hook=lambda one: {key: one[key] for key in one if key != "seconds"})


def test_what_a_command_prints_is_the_document_and_the_text_of_what_its_method_gives(store: Path, drawn: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for words, result in calls(store, sorted((drawn / "cat").iterdir())[0]):
            printed = spoken(*words, "--store", store, "--json")
            assert timeless(printed) == timeless(json.dumps(result.document(), default=str)), words
            if words[0] not in SLOW:
                assert spoken(*words, "--store", store) == f"{result}\n", words
            assert repr(result) == str(result)


def test_sample_and_embed_answer_as_their_commands_print() -> None:
    assert f"{petrieve.sample('drawn', photos=4)}\n" == spoken("sample", "drawn", "--photos", 4)
    said = petrieve.open("a").embed("drawn", weights="bundled", quiet=True)
    printed = json.loads(spoken("embed", "drawn", "--store", "b", "--weights", "bundled", "--json"))
    assert (said.found, said.embedded, said.labels) == (4, 4, printed["labels"])
    assert set(said.document()) == set(printed)
