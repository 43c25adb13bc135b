"""The built wheel brings one name, `petrieve`, which nothing beside it can take away."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

import petrieve

UV = Path(sys.executable).with_name("uv")
TAKEN = ("index", "classifier", "cli", "commands", "extractor", "gallery", "store", "api", "tests")
LEFT_OUT = (".venv", ".git", ".*_cache", "__pycache__", "build", "*.egg-info", "stores", ".hypothesis", "demo")
USER = """
import os
import petrieve

petrieve.sample("photos", photos=12)
store = petrieve.open("pets.petrieve")
assert store.embed("photos", weights="bundled", quiet=True).embedded == 12
assert store.fit_head().classes == ["cat", "dog"]
print(store.similar("photos/cat/" + os.listdir("photos/cat")[0], k=1)[0].label, len(store.predict("photos")))
"""


def done(*words: str | Path, folder: Path, status: int = 0) -> str:
    """What a process prints to which this checkout is not known."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    run = subprocess.run(words, cwd=folder, env=clean, capture_output=True, text=True, timeout=200, check=False)
    assert run.returncode == status, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution, as an index of packages would have it built."""
    if not UV.exists():
        pytest.skip("uv is not installed")
    folder = tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT, folder / "checkout", ignore=shutil.ignore_patterns(*LEFT_OUT))  # what is built leaves files
    words = ("build", "--quiet", "--offline", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder)
    done(UV, *words, folder / "checkout", folder=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path) -> Path:
    """A Python with the wheel, what it depends on, and other people's packages that are called as our rooms are."""
    place = wheel.parent / "fresh"
    done(UV, "venv", "--quiet", "--offline", "--python", sys.executable, place, folder=wheel.parent)
    found = place / "bin" / "python"
    done(UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", found, wheel, folder=wheel.parent)
    (packages,) = place.glob("lib/python*/site-packages")
    # The folder's packages are found there, and its `.pth` files are not read: this checkout is one of them.
    (packages / "others.pth").write_text("\n".join(one for one in sys.path if one.endswith("site-packages")))
    for name in TAKEN:
        (packages / name).mkdir()
        (packages / name / "__init__.py").write_text("raise ImportError('this is not ours')\n")
    return found


def test_the_wheel_has_one_name_and_all_that_its_parts_need(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"petrieve", f"petrieve-{petrieve.__version__}.dist-info"}
    inside = {name.removeprefix("petrieve/") for name in names}
    assert not inside & {"tests", "benchmarks", "docs"} | {name for name in inside if name.split("/")[0] == "tests"}
    ours = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    rooms = {
        name for name in ours.splitlines() if name.split("/")[0] not in ("tests", "benchmarks", "examples", "docs")
    }
    assert rooms <= inside, rooms - inside
    weights = {name for name in inside if name.startswith("extractor/trunks/bundled/")}
    assert {"py.typed", "gallery/report/report.css"} <= inside
    assert any(name.endswith(".safetensors") for name in weights)


def test_the_installed_package_works_beside_packages_of_the_same_names(python: Path, tmp_path: Path) -> None:
    (tmp_path / "classifier.py").write_text("raise ImportError('this is not ours')\n")  # beside a notebook, say
    version = f"petrieve {petrieve.__version__}\n"
    assert done(python.with_name("petrieve"), "--version", folder=tmp_path) == version
    assert done(python, "-m", "petrieve", "--version", folder=tmp_path) == version
    where = done(python, "-c", "import petrieve; print(petrieve.__file__)", folder=tmp_path)
    assert Path(where).is_relative_to(python.parents[1])
    assert done(python, "-c", USER, folder=tmp_path) == "cat 12\n"


PUBLIC = """
from pathlib import Path

import numpy as np
import petrieve
from PIL import Image
from petrieve import Match, PetrieveError, Prediction

made: petrieve.Sample = petrieve.sample("photos", photos=4, seed=1, origin=None)
store: petrieve.Store = petrieve.open(Path("pets.petrieve"), trunk=None)


def halted() -> bool:
    return False


def told(summary: petrieve.Summary) -> None:
    print(summary.embedded + 1)


ran: petrieve.Summary = store.embed(["photos", Path("more")], labels="a.csv", views=1, stop=halted, then=told)
report: petrieve.Report = store.fit_head(method="linear", l2=1.0, balanced=True)
said: petrieve.Predictions = store.predict([Image.new("RGB", (9, 9)), b"", "a.jpg", Path("b.jpg")], max_error=0.01)
first: Prediction = said[0]
some: tuple[Prediction, ...] = said[1:]
likely: float | None = first.probability
place: str = first.path
alike: petrieve.Neighbours = store.similar("a.jpg", k=3, where="label = 'cat'", group_by="label", sheet=Path("s.jpg"))
nearest: Match = alike[0]
close: list[float] = [one.similarity for one in alike]
for appeared in store.watch("inbox"):
    if isinstance(appeared, petrieve.Neighbours):
        print(appeared.photos[0])
    else:
        bad: petrieve.Unreadable = appeared
        print(bad.path, bad.reason)
audit: petrieve.Audit = store.audit(csv="a.csv", sheet="a.jpg")
worst: list[petrieve.Finding] = audit.worst()
copies: petrieve.Duplicates = store.duplicates()
figures: petrieve.Evaluation = store.evaluate("breed")
held: petrieve.Verification = store.verify(sample=1, every=True)
speed: petrieve.Diagnosis = store.doctor("photos")
held_info: petrieve.Info = store.info()
trunks: petrieve.Comparison = store.compare_trunks(["densenet121"])
card: petrieve.IndexCard = store.build_index(kind=None, recall=0.99, on="local")
plane: petrieve.MapCard = store.build_map()
page: petrieve.Page = store.report(out=Path("report.html"))
written: petrieve.Exported = store.export("pets.parquet")
read: petrieve.Imported = store.import_("pets.parquet", photos="photos")
table, frame = store.to_arrow(), store.to_pandas()
paths, embeddings = store.to_numpy()
shape: tuple[int, ...] = embeddings.shape
data: petrieve.EmbeddingDataset = store.dataset("train", where="label = 'cat'")
features = petrieve.PhotoEmbedder(store, device="cpu").transform(["a.jpg", b""])
classes = petrieve.HeadClassifier(l2=1.0, balanced=True).fit(data.embeddings, data.targets).predict(features)
lines: str = str(report) + repr(audit)
answers = [ran, report, said, alike, audit, copies, figures, held, speed, held_info, trunks, card, page, written, read]
frames = [one.to_pandas() for one in answers]
documents = [one.document() for one in answers]
number: int = len(store) + len(said)
try:
    store.info()
except PetrieveError as error:
    print(error.what, error.remedy)
"""


@pytest.mark.torture
def test_a_file_that_calls_everything_passes_mypy_strict_with_the_installed_package(
    python: Path, tmp_path: Path
) -> None:
    """Every public name and method is in that file, and a slip in one is found."""
    methods = {name for name in dir(petrieve.Store) if not name.startswith("_")} - {"cache", "index", "warm"}
    assert [name for name in methods if f"store.{name}(" not in PUBLIC] == []
    assert [name for name in petrieve.__all__ if name not in PUBLIC] == []
    (tmp_path / "mine.py").write_text(PUBLIC)
    (tmp_path / "slip.py").write_text("import petrieve\nprint(petrieve.open('a').similar('a.jpg', n=3))\n")
    words = (sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "--cache-dir", "cache")
    found = done(*words, "mine.py", "slip.py", folder=tmp_path, status=1)
    (slip,) = [line for line in found.splitlines() if ": error:" in line]
    assert slip.startswith('slip.py:2: error: Unexpected keyword argument "n" for "similar"')


def instructions() -> list[tuple[str, str]]:
    """What the Containerfile says, line by line: a word in capitals and what stands behind it."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Containerfile").read_text(), flags=re.MULTILINE).replace("\\\n", "")
    return [(name, told) for name, _, told in (line.partition(" ") for line in text.splitlines() if line)]


def test_the_container_copies_what_the_wheel_is_built_from(wheel: Path, tmp_path: Path) -> None:
    """No container can be built here: what it copies is put where it would be, and the wheel is built of that."""
    source = tmp_path / "src"
    source.mkdir()
    for files, place in (
        told.rsplit(" ", 1) for name, told in instructions() if name == "COPY" and "--from" not in told
    ):
        for file in files.split():
            if (ROOT / file).is_dir():
                assert place == f"/src/{file}"
                shutil.copytree(ROOT / file, source / file, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                assert place == "/src/"
                shutil.copy(ROOT / file, source)
    words = (
        "--wheel",
        "--quiet",
        "--offline",
        "--no-build-isolation",
        "--python",
        sys.executable,
        "--out-dir",
        tmp_path,
    )
    done(UV, "build", *words, source, folder=tmp_path)
    (built,) = tmp_path.glob("*.whl")
    assert sorted(zipfile.ZipFile(built).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


def test_the_container_s_lines_are_sound_and_ask_for_the_index_that_they_need() -> None:
    told = instructions()
    assert {name for name, _ in told} <= set("ARG FROM RUN ENV COPY USER WORKDIR VOLUME EXPOSE ENTRYPOINT CMD".split())
    for line in (line for name, line in told if name == "RUN"):
        subprocess.run(["sh", "-n"], input=line, text=True, check=True)
    (asks,) = [line for name, line in told if name == "RUN" and "CPU_INDEX=ADDRESS" in line]
    for torch, index, status in (("cpu", "", 1), ("cpu", "there", 0), ("cuda", "", 0)):
        here = {**os.environ, "TORCH": torch, "CPU_INDEX": index}
        assert subprocess.run(["sh", "-c", asks], env=here, capture_output=True, check=False).returncode == status
    (extras,) = [line.removeprefix("EXTRAS=").split(",") for name, line in told if name == "ARG" and "EXTRAS" in line]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras) <= set(project["optional-dependencies"])
    assert [line for name, line in told if name == "ENTRYPOINT"] == ['["petrieve"]']
