"""The store read by other tools, as docs/store.md says, in an environment that knows nothing of ours."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import ROOT, Done

Run = Callable[..., Done]
PAGE = (ROOT / "docs" / "store.md").read_text()
SNIPPETS = {
    block.split("\n")[0].lstrip("# ").split(",")[0].split()[0]: block
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
}
PACKAGES = ("polars", "pandas", "duckdb", "lancedb", "daft", "daft-lance")


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with what the page names; where the registry cannot be reached, its tests are skipped."""
    place = tmp_path_factory.mktemp("elsewhere") / "venv"
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        pytest.skip("uv is not installed")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, place], check=True)
    wanted = [*PACKAGES, f"pylance=={version('pylance')}"]
    install = [uv, "pip", "install", "--quiet", "--python", place / "bin" / "python", *wanted]
    if subprocess.run(install, capture_output=True, timeout=300, check=False).returncode:
        pytest.skip("the registry cannot be reached")
    return place / "bin" / "python"


def test_every_tool_that_is_named_has_its_snippet() -> None:
    assert sorted(SNIPPETS) == ["Daft", "DuckDB", "LanceDB", "Polars", "pandas", "pylance"]


@pytest.mark.parametrize("tool", SNIPPETS)
def test_a_tool_reads_the_store_as_the_page_says(
    run: Run, elsewhere: Path, made_store: Path, drawn: Path, tmp_path: Path, tool: str
) -> None:
    shutil.copytree(made_store, ".petrieve")
    assert run("embed", sorted(drawn.rglob("*.jpg"))[0], "--views", 1).status == 0
    assert run("export", "out").status == 0
    done = subprocess.run([elsewhere, "-c", SNIPPETS[tool]], capture_output=True, text=True, timeout=120, check=False)
    shown = {"pylance": "_distance", "Polars": "(40, 3)", "pandas": "cat/rocky-5.bmp", "DuckDB": "'cat', 20"}
    assert shown.get(tool, "embedding") in done.stdout, done.stdout + done.stderr
    assert not re.search("^Traceback", done.stderr, re.MULTILINE)  # Daft's threads may outlive it, and abort at its end
