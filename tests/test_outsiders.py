"""The store and its exports, read by other tools as the pages say, in environments without our package."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from conftest import ROOT, Done
from PIL import Image
from pyarrow import parquet

Run = Callable[..., Done]
DOCS = ROOT / "docs"


def snippets(page: str, language: str = "python") -> dict[str, str]:
    """What a page shows of each tool, by its name: the first word of a first line that is a comment."""
    blocks = re.findall(rf"```{language}\n((?:#|//) .*?)```", (DOCS / page).read_text(), re.DOTALL)
    return {block.split("\n")[0].lstrip("#/ ").split(",")[0].split()[0]: block for block in blocks}


SNIPPETS, EXPORTED, SCRIPTS = snippets("store.md"), snippets("export.md"), snippets("export.md", "js")
PACKAGES = ("polars", "pandas", "duckdb", "lancedb", "daft", "daft-lance", "datasets", "qdrant-client", "faiss-cpu")
ALONE = {  # each in an environment of its own: they are large, or ask for old versions of what others have
    "Chroma": ("chromadb", "pandas", "pyarrow"),
    "autofaiss": ("autofaiss", "pyarrow<20"),
    "Spotlight": ("renumics-spotlight",),
    "OpenVINO": ("openvino", "pillow"),
}
OURS = ("cleanlab", "embedding-reader")  # of the extra `dev`
ELSEWHERE = {"onnxruntime": "tests/extractor/exchange/test_export.py"}


def environment(place: Path, *packages: str) -> Path:
    """A Python with these packages alone; where the registry cannot be reached, its tests are skipped."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        pytest.skip("uv is not installed")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, place], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", place / "bin" / "python", *packages]
    if subprocess.run(install, capture_output=True, timeout=400, check=False).returncode:
        pytest.skip("the registry cannot be reached")
    return place / "bin" / "python"


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with what the pages name and is small."""
    return environment(tmp_path_factory.mktemp("elsewhere") / "venv", *PACKAGES, f"pylance=={version('pylance')}")


@pytest.fixture
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A Python with one tool."""
    return cache(lambda *packages: environment(tmp_path_factory.mktemp("alone") / "venv", *packages))


@pytest.fixture(scope="module")
def exports(run: Run, made_store: Path, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that can be exported, and a photo."""
    folder = tmp_path_factory.mktemp("exports")
    for name in ("out", "pets.parquet", "pets.faiss", "out.clip-retrieval", "pets.onnx"):
        assert run("export", folder / name, "--store", made_store).status == 0
    Image.open(sorted((drawn / "cat").iterdir())[0]).convert("RGB").resize((330, 290)).save(folder / "photo.png")
    shutil.move(folder / "photo.png", folder / "photo.jpg")  # so that each decoder gives the same pixels
    return folder


@pytest.fixture
def here(exports: Path, tmp_path: Path) -> Path:
    """The same, the test's own, where it works."""
    return Path(shutil.copytree(exports, tmp_path, dirs_exist_ok=True))


def said_by(*command: str | Path, **environ: str) -> str:
    """What a tool prints, which must not fail."""
    env = {**os.environ, **environ}
    done = subprocess.run([*command], capture_output=True, text=True, timeout=300, check=False, env=env)
    assert not re.search("^Traceback", done.stderr, re.MULTILINE), done.stderr
    return done.stdout


def test_every_tool_that_is_named_has_its_snippet() -> None:
    assert sorted(SNIPPETS) == ["Daft", "DuckDB", "LanceDB", "Polars", "pandas", "pylance"]
    small = ["DuckDB", "FAISS", "LanceDB", "Polars", "Qdrant", "datasets", "pandas"]
    assert sorted(EXPORTED) == sorted([*small, *ALONE, *OURS, *ELSEWHERE])
    assert sorted(SCRIPTS) == ["Browser", "Node"]


@pytest.mark.parametrize("tool", SNIPPETS)
def test_a_tool_reads_the_store_as_the_page_says(
    run: Run, elsewhere: Path, made_store: Path, drawn: Path, tmp_path: Path, tool: str
) -> None:
    shutil.copytree(made_store, ".petrieve")
    assert run("embed", sorted(drawn.rglob("*.jpg"))[0], "--views", 1).status == 0
    assert run("export", "pets.parquet").status == 0
    # Daft's threads may outlive it, and abort at its end
    shown = {"pylance": "_distance", "Polars": "(40, 3)", "pandas": "cat/rocky-5.bmp", "DuckDB": "'cat', 20"}
    assert shown.get(tool, "embedding") in said_by(elsewhere, "-c", SNIPPETS[tool])


SHOWN = {
    "pandas": "\n39 ",
    "Polars": "20",
    "DuckDB": "cat/",
    "datasets": "40 (8, 1024)",
    "LanceDB": "cat/",
    "Qdrant": "cat/",
    "FAISS": ", 1.0)",
    "embedding-reader": "(40, 1024) ['",
    "cleanlab": "/",
    "Chroma": "/",
    "autofaiss": "",
    "Spotlight": "",
}


@pytest.mark.parametrize("tool", [*sorted({*EXPORTED} - {*ALONE, *OURS, *ELSEWHERE}), *OURS])
def test_a_tool_reads_what_is_exported_as_the_page_says(elsewhere: Path, here: Path, tool: str) -> None:
    python = sys.executable if tool in OURS else elsewhere
    assert SHOWN[tool] in said_by(python, "-c", EXPORTED[tool], HF_HUB_OFFLINE="1", HF_HOME=str(here / "hf"))


@pytest.mark.torture
@pytest.mark.parametrize("tool", ["Chroma", "Spotlight", "autofaiss"])
def test_a_large_tool_reads_what_is_exported_as_the_page_says(
    alone: Callable[..., Path], here: Path, tool: str
) -> None:
    assert SHOWN[tool] in said_by(alone(*ALONE[tool]), "-c", EXPORTED[tool])
    assert tool != "autofaiss" or json.loads((here / "auto.json").read_text())["nb vectors"] == 40


@pytest.mark.torture
def test_clip_retrieval_indexes_its_layout(alone: Callable[..., Path], here: Path) -> None:
    python = alone("clip-retrieval", "setuptools<81")
    tool = python.with_name("clip-retrieval")
    said_by(tool, "index", "--embeddings_folder", here / "out.clip-retrieval", "--index_folder", here / "index")
    assert (here / "index" / "image.index").stat().st_size > 0
    assert len(parquet.read_table(here / "index" / "metadata" / "metadata_0000.parquet")) == 40


@pytest.mark.torture
def test_embedding_atlas_draws_a_map(alone: Callable[..., Path], here: Path) -> None:
    tool = alone("embedding-atlas").with_name("embedding-atlas")
    said_by(tool, "pets.parquet", "--vector", "embedding", "--export-application", "atlas.zip")
    with zipfile.ZipFile("atlas.zip") as atlas:
        found = parquet.read_table(io.BytesIO(atlas.read("data/dataset.parquet")))
    assert {"projection_x", "projection_y", "photo", "label"} <= set(found.column_names)
    assert len(found) == 40


FORMATS = """
import datasets
pets = datasets.load_dataset("out", split="train")
print(pets.num_rows, pets.with_format("torch")[:4]["embedding"].dtype, len(pets.with_format("torch")[:4]))
"""


def test_every_column_of_a_data_set_passes_torchs_format(elsewhere: Path, here: Path) -> None:
    """Hugging Face's datasets gave two rows for each photo, and stopped at the first moment."""
    (packages,) = elsewhere.parent.parent.glob("lib/*/site-packages")
    found = said_by(sys.executable, "-c", FORMATS, PYTHONPATH=str(packages), HF_HOME=str(here), HF_HUB_OFFLINE="1")
    assert found.split()[:2] == ["40", "torch.float32"]


def probabilities(said: str) -> dict[str, float]:
    found: dict[str, float] = json.loads(said.replace("'", '"'))
    return found


@pytest.fixture
def ours(here: Path) -> dict[str, float]:
    return probabilities(said_by(sys.executable, "-c", EXPORTED["onnxruntime"]))


@pytest.mark.torture
def test_openvino_gives_the_probabilities_of_onnxruntime(
    alone: Callable[..., Path], here: Path, ours: dict[str, float]
) -> None:
    found = probabilities(said_by(alone(*ALONE["OpenVINO"]), "-c", EXPORTED["OpenVINO"]))
    assert found == pytest.approx(ours, abs=1e-4)


def modules(folder: Path, *names: str) -> None:
    """Packages of npm's in a folder; without Node, or where the registry cannot be reached, the test is skipped."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Node is not installed")
    # Scripts would fetch a CUDA library from elsewhere.
    install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", folder, *names]
    if subprocess.run(install, capture_output=True, timeout=300, check=False).returncode:
        pytest.skip("the registry cannot be reached")


@pytest.mark.torture
def test_node_gives_the_probabilities_of_onnxruntime(here: Path, ours: dict[str, float]) -> None:
    modules(here, "onnxruntime-node", "sharp")
    (here / "ask.mjs").write_text(SCRIPTS["Node"])
    assert probabilities(said_by("node", here / "ask.mjs")) == pytest.approx(ours, abs=1e-4)


PAGE = """
<script type="importmap">
{"imports": {"onnxruntime-web": "./node_modules/onnxruntime-web/dist/ort.bundle.min.mjs"}}
</script>
<script type="module">
import { env } from "onnxruntime-web";
import { predict } from "./predict.mjs";
env.wasm.numThreads = 1;
document.title = JSON.stringify(await predict(await (await fetch("photo.jpg")).blob()));
</script>
"""


@pytest.fixture
def served(here: Path) -> Iterator[str]:
    """The address of what lies here."""
    handler = partial(Quiet, directory=str(here))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    """Files, without a line for each."""

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.mark.torture
def test_a_browser_gives_the_probabilities_of_onnxruntime(here: Path, served: str, ours: dict[str, float]) -> None:
    if not CHROMIUM:
        pytest.skip("Chromium is not installed")
    modules(here, "onnxruntime-web")
    (here / "predict.mjs").write_text(SCRIPTS["Browser"])
    (here / "page.html").write_text(PAGE)
    with Browser(here / "browser") as page:
        page.open(f"{served}/page.html")
        until = time.monotonic() + 100
        while not (said := page.evaluate("document.title")) and time.monotonic() < until:
            time.sleep(0.2)
        assert said, page.complaints()
    assert probabilities(said) == pytest.approx(ours, abs=1e-4)
