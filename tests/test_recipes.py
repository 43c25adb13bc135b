"""The recipes for maintainers: each page's diffs are applied to a copy of the repository, and run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

RECIPES = {page.stem: page for page in sorted((ROOT / "docs" / "recipes").glob("*.md"))}
NOT_OURS = shutil.ignore_patterns(".*", "build", "dist", "demo", "data", "*.egg-info", "__pycache__")
# What a new format, trunk or command may break elsewhere.
BESIDE = """tests/test_structure.py tests/test_docs.py tests/api/test_parity.py tests/extractor/test_shards.py
    tests/extractor/test_places.py tests/extractor/test_photos.py tests/extractor/trunks""".split()

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git applies the diffs")


def copy_with(folder: Path, *recipes: str) -> Path:
    """A copy of the repository in which these recipes were followed, as their pages say."""
    copy = folder / "petrieve"
    shutil.copytree(ROOT, copy, ignore=NOT_OURS)
    for recipe in recipes:
        called(copy, "docs/recipes/apply.py", f"docs/recipes/{recipe}.md")
    return copy


def called(copy: Path, *words: str) -> str:
    """What Python prints in a copy, which is the package `petrieve` there."""
    here = {**os.environ, "PYTHONPATH": str(copy.parent), "MYPYPATH": str(copy.parent)}
    done = subprocess.run([sys.executable, *words], cwd=copy, env=here, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def added_tests(*recipes: str) -> list[str]:
    """The tests that their diffs add; a page names each in the line that runs it."""
    found = []
    for page in (RECIPES[recipe].read_text() for recipe in recipes):
        found += re.findall(r"--- /dev/null\n\+\+\+ b/(tests/.*/test_\w+\.py)$", page, re.MULTILINE)
        (line,) = re.findall(r"^    \.venv/bin/python -m pytest (.*)$", page, re.MULTILINE)
        assert set(found[-1:]) <= set(line.split())
    return found


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_recipe_applies_alone(recipe: str, tmp_path: Path) -> None:
    copy = copy_with(tmp_path, recipe)
    called(copy, "-m", "ruff", "check", ".")
    called(copy, "-m", "ruff", "format", "--check", ".")
    assert added_tests(recipe)
    assert all((copy / test).is_file() for test in added_tests(recipe))


def test_a_recipe_that_no_longer_fits_changes_nothing(tmp_path: Path) -> None:
    copy = copy_with(tmp_path)
    (copy / "extractor" / "sources" / "formats.py").write_text("FORMATS = 'none'\n")
    before = (copy / "extractor" / "pixels" / "decode.py").read_bytes()
    command = [sys.executable, "docs/recipes/apply.py", "docs/recipes/source.md"]
    done = subprocess.run(command, cwd=copy, text=True, capture_output=True, check=False)
    assert (done.returncode, "patch failed: extractor/sources/formats.py" in done.stderr) == (1, True)
    assert (copy / "extractor" / "pixels" / "decode.py").read_bytes() == before


def test_what_the_recipes_show_passes_its_tests(tmp_path: Path) -> None:
    copy = copy_with(tmp_path, *RECIPES)
    tests = added_tests("command", "source")
    out = called(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, "tests/test_structure.py")
    assert out.startswith("." * len(tests))


@pytest.mark.torture
def test_what_the_recipes_show_breaks_nothing_elsewhere(tmp_path: Path) -> None:
    copy = copy_with(tmp_path, *RECIPES)
    called(copy, "-m", "mypy")
    called(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", *added_tests(*RECIPES), *BESIDE)
