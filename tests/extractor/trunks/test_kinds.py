"""Every kind of trunk, compared with torchvision's network with random weights."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Done, bits
from embedding import again
from planting import of_trunk, said_in
from safetensors.torch import save_file

from petrieve.extractor.exchange.graph import network
from petrieve.extractor.pixels.view import canonical_view
from petrieve.extractor.trunks.arrays import ArrayNet
from petrieve.extractor.trunks.densenet import DenseNet, levels, shapes
from petrieve.extractor.trunks.int8 import Int8DenseNet, measure
from petrieve.extractor.trunks.kinds import KINDS, Kind
from petrieve.extractor.trunks.ranges import INSTRUCTIONS
from petrieve.extractor.trunks.weights import plain
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError
from petrieve.store.trunks import trunks_of

Run = Callable[..., Done]
CPU = torch.device("cpu")
OTHERS = [one for one in KINDS.values() if one.family == "densenet" and one.name != "densenet121"]
NO_INTEGERS = not any(torch.cpu.get_capabilities().get(one, False) for one in INSTRUCTIONS)


def random_network(kind: Kind, seed: int = 0) -> torch.nn.Module:
    """Torchvision's network with random weights, and batch norms whose slopes have both signs."""
    import torchvision

    chance = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    made: torch.nn.Module = getattr(torchvision.models, kind.name)(weights=None).features.eval()
    for name, tensor in made.state_dict().items():
        if "norm" in name and "num_batches" not in name:
            shape = tensor.shape
            drawn = torch.rand(shape, generator=chance) + 0.5
            if name.endswith(("bias", "running_mean")):
                drawn = torch.randn(shape, generator=chance) * 0.1
            elif name.endswith("weight"):
                drawn = drawn * torch.where(torch.rand(shape, generator=chance) < 0.2, -1, 1)
            tensor.copy_(drawn)
    return made


def tensors_of(made: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in made.state_dict().items() if "num_batches" not in name}


def some_views(count: int = 2) -> torch.Tensor:
    chance = torch.Generator().manual_seed(1)
    small = torch.randint(0, 256, (count, 3, 14, 14), dtype=torch.uint8, generator=chance)
    return torch.stack([canonical_view(one) for one in small])


@pytest.mark.parametrize("kind", OTHERS, ids=[kind.name for kind in OTHERS])
def test_a_kind_computes_what_torchvisions_network_does(kind: Kind) -> None:
    theirs, views = random_network(kind), some_views()
    mean, std = levels(kind)
    with torch.inference_mode():
        wanted = theirs((views - mean.view(3, 1, 1)) / std.view(3, 1, 1)).relu().mean((2, 3))
        found = DenseNet(kind, tensors_of(theirs), device=CPU, dtype=torch.float32)(views)
    assert found.shape == (2, kind.dimension)
    assert (found - wanted).norm() <= 1e-5 * wanted.norm()
    arrays = ArrayNet(kind, {name: tensor.numpy() for name, tensor in tensors_of(theirs).items()})
    assert np.linalg.norm(arrays(views[0].numpy()) - wanted[0].numpy()) <= 1e-5 * wanted[0].norm()
    assert shapes(kind) == {f"features.{name}": tuple(tensor.shape) for name, tensor in tensors_of(theirs).items()}


@pytest.mark.skipif(NO_INTEGERS, reason="no VNNI, no AMX")
@pytest.mark.parametrize("kind", OTHERS, ids=[kind.name for kind in OTHERS])
def test_a_kind_in_integers_is_near_and_the_same_in_every_batch(kind: Kind) -> None:
    tensors, views = tensors_of(random_network(kind)), some_views(6)
    exact = DenseNet(kind, tensors, device=CPU, dtype=torch.float32)
    with torch.inference_mode():
        integers = Int8DenseNet(kind, tensors, measure(exact, [views]))
        found, wanted = integers(views), exact(views)
        assert torch.equal(torch.cat([integers(part) for part in views.split(1)]), found)  # type: ignore[no-untyped-call]
    assert torch.nn.functional.cosine_similarity(found, wanted).min() > 0.98


def test_another_kind_as_an_onnx_file_computes_the_same() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    kind = KINDS["densenet161"]
    tensors = {f"features.{name}": tensor for name, tensor in tensors_of(random_network(kind)).items()}
    draw = np.random.default_rng(0)
    weight, bias = draw.normal(size=(3, kind.dimension)).astype(np.float32), np.zeros(3, np.float32)
    made = network(kind, tensors, weight, bias).SerializeToString()
    session = onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"])
    photo = draw.integers(0, 256, (300, 260, 3), np.uint8)
    ((embedding,),) = session.run(["embedding"], {"photo": photo[None]})
    with torch.inference_mode():
        ours = DenseNet(kind, plain(tensors), device=CPU, dtype=torch.float32)
        wanted = ours(canonical_view(torch.from_numpy(photo).permute(2, 0, 1))[None])[0].numpy()
    assert embedding.shape == (kind.dimension,)
    assert np.linalg.norm(embedding - wanted) <= 1e-4 * np.linalg.norm(wanted)


@pytest.fixture(scope="session")
def other_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DenseNet-169 with random weights."""
    file = tmp_path_factory.mktemp("weights") / "densenet169.safetensors"
    named = {f"features.{name}": tensor for name, tensor in tensors_of(random_network(KINDS["densenet169"])).items()}
    save_file(copy.deepcopy(named), file)
    return file


@pytest.fixture
def two(run: Run, store: Path, drawn: Path, other_weights: Path) -> Path:
    """The store of the drawn photos, with what a second trunk makes of them."""
    done = run("embed", drawn, "--store", store, "--trunk", "densenet169", "--weights", other_weights, "--json")
    assert (done.status, done.json["embedded"], done.json["trunk"]) == (0, 40, trunks_of(store)[1])
    return store


def test_a_second_trunk_stands_beside_the_first_which_stays_as_it_was(
    run: Run, two: Path, made_store: Path, drawn: Path
) -> None:
    photo = sorted((drawn / "cat").iterdir())[0]
    words = ("similar", photo, "--json", "--store")
    assert run(*words, two).json == run(*words, made_store).json, "the first is what commands take"
    assert run(*words, two, "--trunk", "densenet169").json != run(*words, two).json
    assert run("predict", photo, "--store", two).out == run("predict", photo, "--store", made_store).out
    refused = run("predict", photo, "--store", two, "--trunk", "densenet169")
    assert (refused.status, "there is no head" in refused.err) == (1, True), "each has its own"
    assert run("fit-head", "--store", two, "--trunk", "densenet169").status == 0
    assert run("predict", photo, "--store", two, "--trunk", "densenet169").status == 0
    assert said_in(Cache.open(two)) == said_in(Cache.open(two, "densenet169")), "the photos are the same"
    assert Cache.open(two, "densenet169").dimension == 1664
    assert run("verify", "--store", two, "--trunk", "densenet169", "--sample", 4).status == 0
    assert run("verify", "--store", two, "--sample", 4).status == 0


def test_what_is_new_or_moved_reaches_the_trunk_that_is_asked(
    run: Run, two: Path, photos: Path, other_weights: Path
) -> None:
    """A run is for one trunk; what another made of a content stays its own."""
    done = run("embed", photos, "--store", two, "--trunk", "densenet169", "--json")
    assert (done.json["copied"], done.json["embedded"]) == (40, 0)
    (photos / "new.png").write_bytes((photos / "cat" / "milo-3.png").read_bytes() + b"\0")
    assert run("embed", photos, "--store", two, "--json").json["embedded"] == 1
    done = run("verify", "--store", two, "--trunk", "densenet169", "--sample", 0)
    assert (done.status, "has no embedding by densenet169" in done.out) == (1, True)
    assert run("embed", photos, "--store", two, "--trunk", "densenet169", "--json").json["embedded"] == 1
    assert run("verify", "--store", two, "--trunk", "densenet169", "--sample", 0).status == 0


def test_a_damaged_photo_that_was_kept_is_kept_by_a_second_trunk_too(
    run: Run, few: Path, tmp_path: Path, other_weights: Path
) -> None:
    photo, store = next((few / "cat").glob("*.jpg")), tmp_path / "s"
    photo.write_bytes(photo.read_bytes()[: photo.stat().st_size * 7 // 10])
    assert again(run, store, few, "--keep-damaged") == {"found": 6, "embedded": 6}
    before = bits(store)
    done = run("embed", few, "--store", store, "--trunk", "densenet169", "--weights", other_weights, "--json")
    assert (done.status, done.json["embedded"], done.json["unreadable"]) == (0, 6, 0)
    assert bits(store) == before, "what the first trunk has stays"
    assert len(run("info", "--store", store, "--json").json["caveats"]) == 1


def test_trunks_are_compared_and_one_is_let_go(run: Run, two: Path, drawn: Path) -> None:
    document = run("compare-trunks", "--store", two, "--json").json
    first, second = document["trunks"]
    assert (first["dimension"], second["dimension"]) == (1024, 1664)
    assert document["measured_on"] == 40
    assert first["accuracy"] > second["accuracy"]
    assert first["right_alone"] >= round(40 * (first["accuracy"] - second["accuracy"]))
    assert 1024 * 2 < first["bytes_a_photo"] < second["bytes_a_photo"] < 2 * 1664 * 2
    assert first["seconds_a_photo"] > 0
    assert max(map(len, run("compare-trunks", "--store", two).out.splitlines())) <= 80
    done = run("embed", drawn, "--store", two, "--drop-trunk", "densenet121")
    assert (done.status, "is what this run embeds with" in done.err) == (1, True)
    before = of_trunk(two).path
    done = run("embed", drawn, "--store", two, "--trunk", "densenet169", "--drop-trunk", "densenet121")
    assert done.status == 0
    assert not before.exists()
    assert [name.partition("-")[0] for name in trunks_of(two)] == ["densenet169"]
    assert run("similar", sorted(drawn.rglob("*.jpg"))[0], "--store", two).status == 0
    refused = run("compare-trunks", "--store", two)
    assert (refused.status, "has one trunk" in refused.err) == (1, True)


def test_what_cannot_be_is_one_line(run: Run, store: Path, drawn: Path, other_weights: Path) -> None:
    for words, said in (
        (("--trunk", "densenet5"), "use one of densenet121, densenet161, densenet169, densenet201"),
        (("--trunk", "densenet201", "--weights", "bundled"), "no DenseNet-201 is bundled"),
        (("--trunk", "densenet201", "--weights", other_weights), "add `--trunk densenet169`, whose they are"),
        (("--weights", other_weights), "add `--trunk densenet169`, whose they are"),
        (("--drop-trunk", "densenet169"), "holds nothing of a trunk 'densenet169'"),
        (("--trunk", "densenet121-00000000", "--weights", "bundled"), "not of densenet121-00000000"),
    ):
        done = run("embed", drawn, "--store", store, *words)
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1), words
        assert said in done.err
    done = run("similar", sorted(drawn.rglob("*.jpg"))[0], "--store", store, "--trunk", "densenet201")
    assert (done.status, "run `cli.py embed FOLDER --trunk densenet201` first" in done.err) == (1, True)
    with pytest.raises(PetrieveError, match="holds nothing of a trunk 'x'"):
        Cache.open(store, "x")
