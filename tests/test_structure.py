"""The import arrows of DESIGN.md: photos → pixels → trunk → cache, two readers below, and no way back."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("extractor", "classifier", "index", "gallery", "commands")
# What a room outside the extractor may know of it.
NARROW_WAIST = {"extractor.cache", "extractor.errors", "extractor.rows", "extractor.store", "extractor.photos"}
ALLOWED = {
    "classifier": NARROW_WAIST | {"extractor.device"},
    "index": NARROW_WAIST,
    "gallery": NARROW_WAIST | {"extractor.pixels", "extractor.upright"},
}
# Each file of the extractor may import those before it.
ORDER = (
    "errors device store labels filters photos upright apart pixels views weights densenet int8 trunk rows tables "
    "upgrade contents cache plan stream calibration embed graph onnx verify doctor watch copies interop"
).split()


def imported(file: Path) -> set[str]:
    """Our own modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if "." in node.module else [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {name for name in names if name.split(".")[0] in ROOMS}
    return found


def test_readers_know_the_cache_and_never_each_other() -> None:
    for room, allowed in ALLOWED.items():
        for file in (ROOT / room).glob("*.py"):
            others = {name for name in imported(file) if not name.startswith(f"{room}.")}
            assert others <= allowed, f"{file} imports {others - allowed}"


def test_the_extractor_flows_one_way() -> None:
    for file in (ROOT / "extractor").glob("*.py"):
        for name in imported(file):
            assert name.startswith("extractor."), f"{file} looks back to {name}"
            if file.stem in ORDER and not (file.stem == "labels" and name == "extractor.photos"):  # its type alone
                assert ORDER.index(name.split(".")[1]) < ORDER.index(file.stem), f"{file} imports {name}"


def test_exactly_one_line_pairs_photos_with_vectors() -> None:
    lines = [
        line.strip()
        for file in (ROOT / "extractor").glob("*.py")
        for line in file.read_text().splitlines()
        if "zip(views" in line
    ]
    assert lines == ["for view, made in zip(views, np.split(embeddings, ends[:-1]), strict=True):"]


def test_files_stay_readable_in_one_sitting() -> None:
    for file in [ROOT / "cli.py", *(path for room in ROOMS for path in (ROOT / room).glob("*.py"))]:
        assert len(file.read_text().splitlines()) <= 400, f"{file} wants to be two"


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    heavy = {"torch", "torchvision", "faiss", "sklearn", "lance", "pyarrow", "numpy", "PIL", "torchcodec", "pandas"}
    for file in [ROOT / "cli.py", *(path for room in ROOMS for path in (ROOT / room).glob("*.py"))]:
        if file.stem in ("densenet", "int8"):  # torch from end to end, and themselves imported when needed
            continue
        for node in ast.parse(file.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not heavy & {name.split(".")[0] for name in names}, f"{file} imports {names} at once"
