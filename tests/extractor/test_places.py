"""Where two photos are alike: a sum over pairs of places, exactly."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from petrieve.extractor.places import likeness, places, seen
from petrieve.extractor.trunks.densenet import DenseNet
from petrieve.extractor.trunks.int8 import Int8DenseNet, measure
from petrieve.extractor.trunks.kinds import KINDS
from petrieve.extractor.trunks.ranges import INSTRUCTIONS
from petrieve.extractor.trunks.trunk import Trunk, load_trunk, made_of
from petrieve.extractor.trunks.weights import plain, read_weights

NO_INTEGERS = not any(torch.cpu.get_capabilities().get(one, False) for one in INSTRUCTIONS)


def two(drawn: Path) -> list[torch.Tensor]:
    return [seen(min((drawn / kind).iterdir()).read_bytes()) for kind in ("cat", "dog")]


def check(trunk: Trunk, views: list[torch.Tensor]) -> None:
    found = places(trunk, views)
    embeddings = trunk(torch.stack(views)).numpy()
    assert found.shape == (2, 49, trunk.dimension)
    assert found.min() >= 0
    assert np.abs(found.mean(1) - embeddings).max() <= 1e-6 * np.abs(embeddings).max()
    cosine = embeddings[0] @ embeddings[1] / np.prod(np.linalg.norm(embeddings, axis=1))
    for heat in likeness(*found):
        assert heat.shape == (7, 7)
        assert heat.min() >= 0
        assert heat.sum() == pytest.approx(cosine, abs=1e-6)
    pairs = found[0].astype(float) @ found[1].T.astype(float) / 49**2 / np.prod(np.linalg.norm(embeddings, axis=1))
    assert likeness(*found)[0].ravel() == pytest.approx(pairs.sum(1), abs=1e-6)
    assert likeness(*found)[1].ravel() == pytest.approx(pairs.sum(0), abs=1e-6)
    assert likeness(found[0], found[0])[0].sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_likeness_of_two_photos_is_the_sum_of_what_comes_from_each_place(drawn: Path, precision: str) -> None:
    check(load_trunk("bundled", "cpu", precision), two(drawn))


@pytest.mark.parametrize("kind", [name for name in KINDS if name != "densenet121"])
def test_it_is_so_for_each_kind_of_trunk(drawn: Path, kind: str) -> None:
    import torchvision

    torch.manual_seed(0)
    state = getattr(torchvision.models, kind)(weights=None).state_dict()
    own = KINDS[kind]
    tensors = {name: one for name, one in state.items() if name.startswith(own.starts) and "num_batches" not in name}
    check(made_of(tensors, "random", "cpu", "float32", own), two(drawn))


@pytest.mark.skipif(NO_INTEGERS, reason="this CPU has no instructions for it")
def test_it_is_so_in_integers(drawn: Path) -> None:
    plain_trunk, views = load_trunk("bundled", "cpu", "float32"), two(drawn)
    own = KINDS[plain_trunk.kind]
    tensors = plain(read_weights("bundled", own))
    network = DenseNet(own, tensors, device=torch.device("cpu"), dtype=torch.float32)
    check(replace(plain_trunk, network=Int8DenseNet(own, tensors, measure(network, [torch.stack(views)]))), views)
