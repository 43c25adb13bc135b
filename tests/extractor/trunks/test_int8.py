"""The trunk in integers: its bounds, and the ranges that a store measures once and keeps."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PHOTOS, Done, need
from planting import of_trunk
from reference import reference_embeddings, reference_trunk
from safetensors.torch import load_file

from petrieve.extractor.pixels.decode import decode
from petrieve.extractor.pixels.view import canonical_view
from petrieve.extractor.sources.sample import draw_sample
from petrieve.extractor.trunks.choice import Compute, asking_trunk
from petrieve.extractor.trunks.densenet import DenseNet
from petrieve.extractor.trunks.int8 import Int8DenseNet, measure
from petrieve.extractor.trunks.kinds import FIRST
from petrieve.extractor.trunks.ranges import INSTRUCTIONS, SAMPLE
from petrieve.store.cache import Cache

Run = Callable[..., Done]
FOUND = torch.cpu.get_capabilities()
pytestmark = pytest.mark.skipif(not any(FOUND.get(one, False) for one in INSTRUCTIONS), reason="no VNNI, no AMX")
INT8 = ("--weights", "bundled", "--device", "cpu", "--precision", "int8")


def links(paths: list[Path], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for path in paths:
        (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few more photos than int8 is measured on, in two folders: real ones where they are at hand."""
    folder = tmp_path_factory.mktemp("many")
    if (PHOTOS / "train").exists():
        paths = sorted((PHOTOS / "train").iterdir())[:: 1600 // (SAMPLE + 8)][: SAMPLE + 8]
    else:
        draw_sample(folder / "drawn", photos=SAMPLE + 8, seed=1)
        drawn = sorted(path for path in (folder / "drawn").rglob("*.*") if path.is_file())
        paths = [path.rename(path.with_name(f"{path.parent.name}.{n}{path.suffix}")) for n, path in enumerate(drawn)]
    links(paths[::2], folder / "a")
    links(paths[1::2], folder / "b")
    return folder


@pytest.fixture(scope="session")
def made_int8(many: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("int8") / "store"
    done = run("embed", many / "a", many / "b", "--store", store, *INT8, "--json")
    assert done.json["precision"] == "int8"
    assert run("fit-head", "--store", store).status == 0
    return store


@pytest.fixture
def int8_store(made_int8: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_int8, tmp_path / "store"))


def in_store(store: Path) -> dict[str, np.ndarray]:
    found = {}
    for photos, batch in Cache.open(store).embeddings():
        found |= dict(zip(photos["uri"].to_pylist(), batch, strict=True))
    return found


def views_of(paths: list[Path]) -> torch.Tensor:
    return torch.stack([canonical_view(decode(path.read_bytes())) for path in paths])


def check_bounds(paths: list[Path], found: torch.Tensor) -> None:
    cosine = torch.nn.functional.cosine_similarity(found, reference_embeddings(paths))
    assert cosine.min() >= 0.98
    assert cosine.median() >= 0.995


@pytest.mark.real
def test_photos_that_int8_was_not_measured_on_are_within_its_bounds(made_int8: Path) -> None:
    paths = sorted(need(PHOTOS / "breeds").rglob("*.jpg"))[::6]
    check_bounds(paths, asking_trunk(Cache.open(made_int8), Compute(None, "cpu", "int8"))(views_of(paths)))


def test_what_a_run_keeps_is_within_the_bounds(made_int8: Path, many: Path) -> None:
    paths = sorted((many / "a").iterdir())[:24]
    kept = in_store(made_int8)
    check_bounds(paths, torch.from_numpy(np.stack([kept[path.name] for path in paths])).float())


def test_an_embedding_in_int8_is_the_same_bit_by_bit_in_every_batch(made_int8: Path, many: Path) -> None:
    views = views_of(sorted((many / "a").iterdir())[:17])
    network = asking_trunk(Cache.open(made_int8), Compute(None, "cpu", "int8")).network
    with torch.inference_mode():
        together = network(views)
        for size in (1, 3, 16):
            assert torch.equal(torch.cat([network(part) for part in views.split(size)]), together)  # type: ignore[no-untyped-call]


def test_neither_ranges_nor_embeddings_depend_on_the_order_of_photos(
    made_int8: Path, many: Path, run: Run, tmp_path: Path
) -> None:
    assert run("embed", many / "b", many / "a", "--store", tmp_path / "other", *INT8).status == 0
    there, here = load_file(of_trunk(made_int8).ranges), load_file(of_trunk(tmp_path / "other").ranges)
    assert there.keys() == here.keys()
    assert all(torch.equal(there[name], here[name]) for name in there)
    first, second = in_store(made_int8), in_store(tmp_path / "other")
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_the_ranges_stay_when_other_photos_come(int8_store: Path, photos: Path, run: Run) -> None:
    before = of_trunk(int8_store).ranges.read_bytes()
    done = run("embed", photos, "--store", int8_store, *INT8, "--json")
    assert done.json["precision"] == "int8"
    assert done.json["embedded"] > 0
    assert of_trunk(int8_store).ranges.read_bytes() == before


def test_a_new_photo_is_looked_up_with_the_ranges_of_the_store(int8_store: Path, photos: Path, run: Run) -> None:
    photo = next((photos / "cat").iterdir())
    predicted = run("predict", photo, "--store", int8_store, "--precision", "int8", "--json")
    assert predicted.status == 0, predicted.err
    similar = run("similar", photo, "--store", int8_store, "--precision", "int8", "--json")
    assert similar.status == 0, similar.err
    assert len(similar.json["neighbours"]) == 10


@pytest.mark.parametrize("command", ["predict", "similar", "doctor"])
def test_without_ranges_int8_says_how_to_get_them(command: str, store: Path, photos: Path, run: Run) -> None:
    done = run(command, next((photos / "cat").iterdir()), "--store", store, "--precision", "int8")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert "run `embed --precision int8` first" in done.err


def test_too_few_photos_to_measure_are_an_error_that_leaves_nothing(photos: Path, run: Run) -> None:
    done = run("embed", photos, *INT8)
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert f"int8 is measured on {SAMPLE} photos, and here are 40 that can be read; embed more" in done.err
    assert not Path(".petrieve").exists()


def test_a_processor_without_its_instructions_is_told_so(
    store: Path, photos: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True})
    done = run("embed", photos, "--store", store, *INT8)
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert "VNNI or AMX, which this one lacks; use another `--precision`" in done.err


@pytest.mark.parametrize("at", [0.0, 0.1, 0.5, 0.99])
def test_damaged_ranges_are_refused(at: float, int8_store: Path, photos: Path, run: Run) -> None:
    file = of_trunk(int8_store).ranges
    data = bytearray(file.read_bytes())
    data[int(at * len(data))] ^= 1
    file.write_bytes(data)
    done = run("predict", photos, "--store", int8_store, "--precision", "int8")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert "are damaged; remove the file and run `embed --precision int8` again" in done.err


def test_other_weights_are_refused_before_anything_is_measured(int8_store: Path, photos: Path, run: Run) -> None:
    before = of_trunk(int8_store).ranges.read_bytes()
    tensors = {f"features.{name}": tensor.clone() for name, tensor in reference_trunk().state_dict().items()}
    tensors["features.conv0.weight"][0, 0, 0, 0] += 1e-3
    torch.save(tensors, "other.pth")
    done = run("embed", photos, "--store", int8_store, "--weights", "other.pth", "--precision", "int8")
    assert done.status == 1
    assert "was made with densenet121 and weights bundled" in done.err
    assert of_trunk(int8_store).ranges.read_bytes() == before


@pytest.mark.parametrize("seed", range(2))
def test_int8_comes_near_whatever_the_batch_norms_are(seed: int, many: Path) -> None:
    """Slopes of both signs, slopes of zero, and slopes so small that a channel is always on or off."""
    chance = torch.Generator().manual_seed(seed)
    theirs = copy.deepcopy(reference_trunk())
    tensors = {name: tensor.clone() for name, tensor in theirs.state_dict().items() if "num_batches" not in name}
    for name, tensor in tensors.items():
        if "norm" in name and name.endswith("weight"):
            kind = torch.randint(0, 8, tensor.shape, generator=chance)
            tensor.mul_(torch.tensor([1, 1, 1, 1, 1, -1, 0, 1e-9])[kind])
    views = views_of(sorted((many / "a").iterdir())[:8])
    exact = DenseNet(FIRST, tensors, device=torch.device("cpu"), dtype=torch.float32)
    with torch.inference_mode():
        wanted = exact(views)
        found = Int8DenseNet(FIRST, tensors, measure(exact, [views]))(views)
    assert (found - wanted).norm() <= 0.1 * wanted.norm()
