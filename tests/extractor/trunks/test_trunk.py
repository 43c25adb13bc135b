"""Weights in the layouts that users have, and the trunk's numbers against the reference."""

import copy
import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PHOTOS, Done, need
from embedding import state
from PIL import Image
from reference import reference_embeddings, reference_trunk
from safetensors.torch import save_file

from petrieve.extractor.engines.local import pool
from petrieve.extractor.pixels.decode import decode, decode_small
from petrieve.extractor.pixels.view import canonical_view
from petrieve.extractor.trunks.densenet import DenseNet, levels
from petrieve.extractor.trunks.kinds import FIRST, KINDS, Kind
from petrieve.extractor.trunks.trunk import Trunk, load_trunk
from petrieve.extractor.trunks.weights import BUNDLED
from petrieve.store.errors import PetrieveError

OLD = {"norm1.": "norm.1.", "conv1.": "conv.1.", "norm2.": "norm.2.", "conv2.": "conv.2."}


def old_names(tensors: dict[str, Any]) -> dict[str, Any]:
    renamed = {}
    for name, tensor in tensors.items():
        for new, old in OLD.items():
            name = name.replace(new, old) if "denselayer" in name else name
        renamed[name] = tensor
    return renamed


LAYOUTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "plain": lambda tensors: tensors,
    "state_dict": lambda tensors: {"epoch": 3, "state_dict": tensors},
    "model": lambda tensors: {"model": tensors},
    "module": lambda tensors: {f"module.{name}": tensor for name, tensor in tensors.items()},
    "classifier": lambda tensors: {**tensors, "classifier.weight": torch.zeros(2, 1024)},
    "old names": old_names,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_plain_layout_is_the_same_trunk(layout: str, tmp_path: Path) -> None:
    torch.save(LAYOUTS[layout](state()), tmp_path / "w.pth")
    assert load_trunk(str(tmp_path / "w.pth")).fingerprint == load_trunk("bundled").fingerprint


def test_safetensors_are_read_too_and_another_number_is_another_fingerprint(tmp_path: Path) -> None:
    tensors = state()
    save_file(tensors, tmp_path / "same.safetensors")
    tensors["features.conv0.weight"][0, 0, 0, 0] += 1e-3
    save_file(tensors, tmp_path / "other.safetensors")
    same, other = (load_trunk(str(tmp_path / f"{name}.safetensors")).fingerprint for name in ("same", "other"))
    assert same == load_trunk("bundled").fingerprint != other


def test_a_tensor_that_does_not_fit_is_named_with_both_shapes(tmp_path: Path) -> None:
    tensors = state()
    tensors["features.denseblock1.denselayer2.conv1.weight"] = torch.zeros(128, 64, 1, 1)
    torch.save(tensors, tmp_path / "w.pth")
    wanted = r"denseblock1\.denselayer2\.conv1\.weight is \(128, 64, 1, 1\), expected \(128, 96, 1, 1\)"
    with pytest.raises(PetrieveError, match=wanted):
        load_trunk(str(tmp_path / "w.pth"))


def test_a_missing_tensor_and_a_strange_one_are_named(tmp_path: Path) -> None:
    tensors = state()
    del tensors["features.norm5.bias"]
    torch.save(tensors, tmp_path / "w.pth")
    with pytest.raises(PetrieveError, match=r"features\.norm5\.bias is missing"):
        load_trunk(str(tmp_path / "w.pth"))
    torch.save({**state(), "features.extra": torch.zeros(1)}, tmp_path / "more.pth")
    with pytest.raises(PetrieveError, match=r"features\.extra is \(1,\), expected no such tensor"):
        load_trunk(str(tmp_path / "more.pth"))


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("payload-was-run",)


def test_nothing_in_a_weights_file_is_run(tmp_path: Path) -> None:
    torch.save({"features.conv0.weight": Payload()}, tmp_path / "w.pth")
    with pytest.raises(PetrieveError, match="more than plain tensors"):
        load_trunk(str(tmp_path / "w.pth"))
    assert not (tmp_path / "payload-was-run").exists()


@pytest.mark.parametrize("kept", [0, 10, 5_000_000])
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_truncated_file_is_one_line(kept: int, ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"w.{ending}"
    torch.save(state(), file) if ending == "pth" else save_file(state(), file)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(PetrieveError, match="fetch it again") as refused:
        load_trunk(str(file))
    assert "\n" not in str(refused.value)


def test_a_weights_file_that_is_not_there_names_the_other_ways(run: Callable[..., Done], photos: Path) -> None:
    done = run("embed", photos, "--weights", "nowhere.pth")
    assert done.status == 1
    assert "--weights bundled" in done.err


def test_no_network_names_both_other_ways(
    run: Callable[..., Done], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    done = run("embed", photos, "--weights", "imagenet")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert "--weights bundled" in done.err
    assert "--weights FILE.pth" in done.err
    assert not (tmp_path / ".petrieve").exists()


def test_imagenet_weights_with_a_wrong_digest_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(state(), tmp_path / "hub" / "checkpoints" / "densenet121-a639ec97.pth")
    with pytest.raises(PetrieveError, match="not a639ec97; remove it"):
        load_trunk("imagenet")


def test_a_device_that_is_not_here_is_an_error(run: Callable[..., Done], photos: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = run("embed", photos, "--weights", "bundled", "--device", "cuda")
    assert (done.status, done.out) == (1, "")
    assert "--device cpu" in done.err
    assert not Path(".petrieve").exists()


def test_an_unknown_precision_is_an_error() -> None:
    with pytest.raises(PetrieveError, match="use one of auto, float32"):
        load_trunk("bundled", "cpu", "int4")


def some_views(folder: Path, count: int) -> tuple[list[Path], torch.Tensor]:
    paths = sorted(p for p in folder.rglob("*.*") if p.suffix in (".jpg", ".png", ".webp"))[:count]
    return paths, torch.stack([canonical_view(decode(path.read_bytes())) for path in paths])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_embedding_does_not_depend_on_its_batch(drawn: Path, precision: str) -> None:
    _, views = some_views(drawn, 32)
    trunk = load_trunk("bundled", "cpu", precision)
    together = trunk(views)
    alone = torch.cat([trunk(views[i : i + 1]) for i in (0, 7, 31)])
    torch.testing.assert_close(alone, together[[0, 7, 31]], rtol=1e-5, atol=1e-6)
    backwards = trunk(views.flip(0)).flip(0)
    assert torch.equal(backwards, together)


def test_a_precision_that_is_asked_for_is_that_of_stored_photos_too(
    run: Callable[..., Done], few: Path, tmp_path: Path
) -> None:
    """They were answered from the embeddings that the store has, in whatever precision: 0.4813 for 0.4718."""
    stored, copy_ = sorted(few.rglob("*.jpg"))[0], tmp_path / "copy.jpg"
    copy_.write_bytes(stored.read_bytes() + b"\0")  # the same pixels in bytes that no store has
    at = ("--store", tmp_path / "s")
    (tmp_path / "l.csv").write_text("photo,label\n" + "".join(f"{p},{n % 2}\n" for n, p in enumerate(few.rglob("*.*"))))
    run("embed", few, *at, "--weights", "bundled", "--precision", "bfloat16", "--labels", tmp_path / "l.csv")
    run("fit-head", *at)

    def probability(*words: object) -> list[float]:
        return [one["probabilities"]["1"] for one in run("predict", *words, *at, "--json").json]

    one, other = probability(stored, copy_, "--precision", "float32")
    assert one == other != probability(stored)[0]
    near = run("similar", copy_, *at, "--precision", "float32", "--json").json["neighbours"]
    same = run("similar", stored, *at, "--precision", "float32", "--json").json["neighbours"]
    assert same == [one for one in near if Path(one["photo"]).name != stored.name][: len(same)]


@pytest.mark.parametrize("seed", range(3))
def test_folding_changes_no_number_whatever_the_batch_norms_are(seed: int) -> None:
    """Slopes of both signs, slopes of zero, and slopes so small that a channel is always on or off."""
    chance = torch.Generator().manual_seed(seed)
    theirs = reference_trunk()
    tensors = {name: tensor.clone() for name, tensor in theirs.state_dict().items() if "num_batches" not in name}
    for name, tensor in tensors.items():
        if "norm" in name and name.endswith("weight"):
            kind = torch.randint(0, 8, tensor.shape, generator=chance)
            factor = torch.tensor([1, 1, 1, 1, 1, -1, 0, 1e-9])[kind]
            tensor.mul_(factor)
    theirs = copy.deepcopy(theirs)
    theirs.load_state_dict(tensors, strict=False)
    views = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8, generator=chance)
    mean, std = levels(FIRST)
    with torch.inference_mode():
        wanted = theirs((views - mean.view(3, 1, 1)) / std.view(3, 1, 1)).relu().mean((2, 3))
        for dtype, tolerance in ((torch.float32, 1e-5), (torch.float16, 2e-3), (torch.bfloat16, 1e-2)):
            ours = DenseNet(FIRST, tensors, device=torch.device("cpu"), dtype=dtype)
            found = ours(views)
            assert (found - wanted).norm() <= tolerance * wanted.norm(), dtype


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_address_of_the_imagenet_weights_is_torchvisions(kind: Kind) -> None:
    from torchvision.models import get_model_weights

    assert get_model_weights(kind.name)["IMAGENET1K_V1"].url == kind.url


BOUNDS = {"float32": (0.9995, 0.99999), "bfloat16": (0.995, 0.9995)}  # worst photo, median: DESIGN.md


def check_bounds(paths: list[Path], views: torch.Tensor, device: str, precision: str) -> None:
    found = load_trunk("bundled", device, precision)(views)
    cosine = torch.nn.functional.cosine_similarity(found, reference_embeddings(paths))
    worst, median = BOUNDS.get(precision, BOUNDS["bfloat16"])
    assert cosine.min() >= worst
    assert cosine.median() >= median


@pytest.mark.parametrize("precision", BOUNDS)
def test_drawn_photos_are_within_the_bounds_of_the_reference(drawn: Path, precision: str) -> None:
    check_bounds(*some_views(drawn, 16), "cpu", precision)


@pytest.mark.real
@pytest.mark.parametrize("precision", BOUNDS)
def test_real_photos_are_within_the_bounds_of_the_reference(precision: str) -> None:
    check_bounds(*some_views(need(PHOTOS / "breeds"), 48), "cpu", precision)


@pytest.mark.real
@pytest.mark.parametrize("orientation", [1, 6])
def test_large_photos_are_within_the_bounds_though_their_decoder_shrinks_them(
    drawn: Path, tmp_path: Path, orientation: int
) -> None:
    source = PHOTOS / "breeds" if PHOTOS.exists() else drawn
    exif = Image.Exif()
    exif[0x0112] = orientation
    paths = []
    for number, path in enumerate(some_views(source, 8)[0]):
        with Image.open(path) as photo:
            large = photo.convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
        paths.append(tmp_path / f"{number}.jpg")
        large.save(paths[-1], quality=90, exif=exif)
    shown = [decode_small(path.read_bytes()) for path in paths]
    assert [(width, height) for _, width, height, _ in shown] == [
        (4000, 3000) if orientation == 1 else (3000, 4000)
    ] * 8
    found = load_trunk("bundled", "cpu", "float32")(torch.stack([canonical_view(one.pixels) for one in shown]))
    cosine = torch.nn.functional.cosine_similarity(found, reference_embeddings(paths))
    assert cosine.min() >= 0.99
    assert cosine.median() >= 0.999


def check_halving(trunk: Trunk, views: torch.Tensor) -> None:
    """Every embedding arrives although only part of a batch fits, and the next batch is small from the start."""
    wanted = load_trunk("bundled", str(trunk.device), "float32")(views)
    with pytest.warns(UserWarning, match="ran out of memory: batches of"):
        found = trunk(views)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(trunk(views)) == len(views)


def test_a_device_without_room_for_a_batch_gets_smaller_ones(drawn: Path) -> None:
    roomy = load_trunk("bundled", "cpu", "float32")

    def network(views: torch.Tensor) -> torch.Tensor:
        if len(views) > 5:
            raise torch.OutOfMemoryError("no room")
        return roomy.network(views)

    _, views = some_views(drawn, 16)
    cramped = replace(roomy, network=network)
    check_halving(cramped, views)
    assert cramped.batch == 4


def test_a_device_without_room_for_one_photo_is_an_error() -> None:
    def network(views: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("no room")

    cramped = replace(load_trunk("bundled", "cpu", "float32"), network=network)
    with pytest.warns(UserWarning, match="batches of"), pytest.raises(PetrieveError, match='device="cpu"'):
        cramped(torch.zeros(4, 3, 224, 224, dtype=torch.uint8))


@pytest.mark.gpu
def test_a_gpu_that_is_nearly_full_gets_smaller_batches(drawn: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    _, views = some_views(drawn, 32)
    views = views.repeat(32, 1, 1, 1)  # 1024 views: 10 GB of maps
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, 2e9 / total))
    try:
        check_halving(replace(load_trunk("bundled", "cuda", "float32"), batch=1024), views)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_to_threads_that_share_it(drawn: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    _, views = some_views(drawn, 32)
    trunk = replace(load_trunk("bundled", "cuda"), batch=8)
    alone = torch.cat([trunk(part) for part in views.split(8)])
    with pool(8, "embed") as embedders:
        shared = torch.cat(list(embedders.map(trunk, views.split(8) * 10)))
    assert torch.equal(shared, alone.repeat(10, 1))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_gpu_is_within_the_bounds_of_the_reference(drawn: Path, precision: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    check_bounds(*some_views(drawn, 16), "cuda", precision)


def test_the_bundled_weights_are_those_of_their_card() -> None:
    card = (BUNDLED.parent / "README.md").read_text()
    assert load_trunk("bundled").weights == "bundled"
    assert str(BUNDLED.stat().st_size) in card.replace(",", "")
