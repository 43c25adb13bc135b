"""The rooms of DESIGN.md and their arrows: its picture is the import graph, and nothing goes round in a circle."""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOUSES = ("api", "store", "extractor", "classifier", "index", "gallery", "commands")
# What a house may know of others.
ALLOWED = {
    "store": set[str](),
    "extractor": {"store"},
    "classifier": {"store"},
    "index": {"store"},
    "gallery": {"store"},
}
HEAVY = {"torch", "torchvision", "faiss", "sklearn", "lance", "pyarrow", "numpy", "PIL", "torchcodec", "pandas", "ray"}
HEAVY_THROUGHOUT = {  # themselves imported when they are needed
    "dataset.py",
    "densenet.py",
    "int8.py",
    "learning.py",
}
Graph = Mapping[str, set[str]]


def files() -> list[Path]:
    return [ROOT / "cli.py", *(file for house in HOUSES for file in (ROOT / house).rglob("*.py"))]


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> Graph:
    """Our own modules, and those that each imports, wherever in it and for whatever."""
    names = {name_of(file) for file in files()}
    return {name_of(file): set(imported(file, names)) - {name_of(file)} for file in files()}


def imported(file: Path, names: set[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from {alias.name.removeprefix("petrieve.") for alias in node.names} & names
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}".removeprefix("petrieve.")
                yield from {whole if whole in names else whole.rpartition(".")[0]} & names


def room(module: str) -> str:
    """The folder that a module is in."""
    parts = module.split(".")
    return "/".join(parts[:2] if len(parts) > 2 or (ROOT / Path(*parts)).is_dir() else parts[:1])


def rooms() -> Graph:
    found: dict[str, set[str]] = {}
    for module, others in modules().items():
        found.setdefault(room(module), set()).update(room(other) for other in others)
    return {name: others - {name} for name, others in found.items() if name != "cli"}


def circle(graph: Graph) -> list[str]:
    """A way from a name back to itself; empty where there is none."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph.get(name, ())):
            if found := walk(other, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_module_and_no_room_goes_round_in_a_circle() -> None:
    packages = {name for name in modules() if (ROOT / Path(*name.split("."))).is_dir()}
    assert circle({name: others - packages for name, others in modules().items() if name not in packages}) == []
    assert circle(rooms()) == []


@pytest.mark.parametrize("house", ALLOWED)
def test_readers_know_the_store_and_neither_the_maker_nor_each_other(house: str) -> None:
    for module, others in modules().items():
        if module.split(".")[0] != house or module.startswith("gallery.web"):  # a door, as the commands are
            continue
        for other in others:
            known = other.split(".")[0] in {house, *ALLOWED[house]} or other in ALLOWED[house]
            assert known, f"{module} imports {other}"


def test_only_the_command_line_knows_the_commands() -> None:
    for name, others in modules().items():
        if any(other.split(".")[0] == "commands" for other in others):
            assert name.split(".")[0] in ("cli", "commands"), f"{name} imports a command"


def test_the_picture_in_the_design_is_the_import_graph() -> None:
    """Lines of its block `rooms`: a room, what is in it, and behind ◄ the rooms that it takes from."""
    (block,) = re.findall(r"```rooms\n(.*?)```", (ROOT / "DESIGN.md").read_text(), re.DOTALL)
    drawn = {}
    for line in block.splitlines():
        told, _, others = line.partition("◄")
        drawn[told.split()[0].rstrip("/")] = {name.rstrip("/") for name in others.replace(",", " ").split()}
    assert drawn == rooms()


def test_files_stay_readable_in_one_sitting() -> None:
    for file in [*files(), *(ROOT / "tests").rglob("*.py")]:
        assert len(file.read_text().splitlines()) <= 400, f"{file} wants to be two"


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    for file in files():
        if file.name in HEAVY_THROUGHOUT:
            continue
        for node in ast.parse(file.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not HEAVY & {name.split(".")[0] for name in names}, f"{file} imports {names} at once"


def test_no_dimension_stands_outside_the_trunks() -> None:
    for file in files():
        if "trunks" not in file.parts:
            numbers = [node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)]
            dimensions = {1024, 1664, 1920, 2208} & {one for one in numbers if isinstance(one, int)}
            named = {"familiar.py": {1024}, "sample.py": {1024}}
            assert dimensions <= named.get(file.name, set()), f"{file}: {dimensions}"  # sizes of blocks and pictures
