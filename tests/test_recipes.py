"""The recipes for maintainers: each page's diffs are applied to a copy of the repository, and run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

RECIPES = sorted((ROOT / "docs" / "recipes").glob("*.md"))
NOT_OURS = shutil.ignore_patterns(".*", "build", "dist", "demo", "data", "results", "*.egg-info", "__pycache__")


@pytest.mark.skipif(not shutil.which("git"), reason="git applies the diffs")
@pytest.mark.parametrize("run", ["command source", pytest.param("command source trunk", marks=pytest.mark.torture)])
def test_what_the_recipes_show_can_be_applied_and_its_tests_pass(tmp_path: Path, run: str) -> None:
    copy = tmp_path / "petrieve"
    shutil.copytree(ROOT, copy, ignore=NOT_OURS)
    tests = []
    for page in RECIPES:
        diffs = re.findall(r"```diff\n(.*?)```", page.read_text(), re.DOTALL)
        assert diffs, page.name
        for diff in diffs:
            command = ["git", "apply", "--whitespace=error", "-"]
            done = subprocess.run(command, cwd=copy, input=diff, text=True, capture_output=True, check=False)
            assert done.returncode == 0, f"{page.name}: {done.stderr}"
            if page.stem in run.split():
                tests += re.findall(r"^\+\+\+ b/(tests/.*/test_\w+\.py)$", diff, re.MULTILINE)
    named = {name for page in RECIPES for name in re.findall(r"tests/\w+/[\w/]*test_\w+\.py", page.read_text())}
    assert set(tests) <= named
    here = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for command in (
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["pytest", "-q", "-p", "no:cacheprovider", *tests],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=copy, env=here, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("." * len(tests))
