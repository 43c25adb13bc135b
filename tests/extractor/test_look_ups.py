"""Up to eight new photos are looked up without torch, with the answers that torch gives."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Done, Process
from corpus import FORMATS, encoded, scene
from embedding import state
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from petrieve.extractor.pixels.decode import decode_small
from petrieve.extractor.pixels.resize import canonical_array
from petrieve.extractor.pixels.view import canonical_view
from petrieve.extractor.query import QUERY_BATCH, query
from petrieve.extractor.trunks.trunk import load_trunk
from petrieve.store.cache import Cache

Run = Callable[..., Done]
Start = Callable[..., Process]
NO_TORCH = "sys.modules['torch'] = None"  # whoever imports it fails
BY_TORCH = ("--precision", "float32", "--device", "cpu")


@pytest.fixture(scope="module")
def formats(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One scene in every format, a large JPEG among them."""
    picture = scene(tmp_path_factory.mktemp("scene") / "drawn")
    folder = tmp_path_factory.mktemp("formats")
    for ending, options in FORMATS.items():
        (folder / f"plain.{ending}").write_bytes(encoded(picture, **options))
    (folder / "large.jpg").write_bytes(encoded(picture.resize((2300, 1700)), **FORMATS["jpg"]))
    return sorted(folder.iterdir())


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 900), width=st.integers(1, 900), flat=st.booleans(), seed=st.integers(0, 9))
def test_the_view_is_torchs_bit_by_bit_at_any_size(height: int, width: int, flat: bool, seed: int) -> None:
    check_view(height, width, flat, seed)


@pytest.mark.parametrize("size", [(1, 5000), (3000, 2000), (255, 255), (3100, 40), (510, 510), (1, 1), (1200, 4100)])
def test_the_view_is_torchs_bit_by_bit_at_sizes_of_their_own(size: tuple[int, int]) -> None:
    check_view(*size, False, 0)


def check_view(height: int, width: int, flat: bool, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    pixels = np.where(pixels > 127, np.uint8(255), np.uint8(0)) if flat else pixels  # edges, on which sums round
    wanted = canonical_view(torch.from_numpy(pixels).permute(2, 0, 1)).numpy()
    assert np.array_equal(canonical_array(pixels), wanted)


def test_a_photo_of_every_format_has_torchs_embedding(formats: list[Path], made_store: Path) -> None:
    cache, trunk = Cache.open(made_store), load_trunk("bundled", "cpu", "float32")
    for file in formats:
        (found,) = query(file, cache)
        decoded = decode_small(file.read_bytes())
        wanted = trunk(canonical_view(decoded.pixels)[None])[0].numpy()
        lengths = np.linalg.norm(found.embedding) * np.linalg.norm(wanted)
        assert found.embedding @ wanted / lengths >= 0.9999, file.name
        assert (found.width, found.height) == (decoded.width, decoded.height)


@pytest.mark.parametrize("command", ["similar", "predict"])
def test_new_photos_are_looked_up_without_torch(
    command: str, formats: list[Path], run: Run, start: Start, store: Path
) -> None:
    asked = formats if command == "similar" else formats[:QUERY_BATCH]
    done = start(command, *asked, "--store", store, "--json", first=NO_TORCH).done()
    assert done.status == 0, done.err
    check_same(done.json, run(command, *asked, "--store", store, "--json", *BY_TORCH).json)


def check_same(found: Any, wanted: Any) -> None:
    """The same answer but for the last digits of its numbers."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key in wanted:
            if key != "pairs_as_close":  # counts pairs beside a rounded similarity
                check_same(found[key], wanted[key])
    elif isinstance(wanted, list):
        for one, other in zip(found, wanted, strict=True):
            check_same(one, other)
    else:
        assert found == (pytest.approx(wanted, abs=3e-4) if isinstance(wanted, float) else wanted)


@pytest.fixture
def own_weights(run: Run, pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of six photos with weights that only torch reads, on a machine without a copy of them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "near"))
    torch.save(state(), tmp_path / "own.pth")
    load_trunk.cache_clear()
    done = run("embed", pets, "--store", tmp_path / "own", "--weights", tmp_path / "own.pth")
    assert done.status == 0, done.err
    return tmp_path / "own"


def test_a_copy_of_the_weights_is_used_only_where_it_is_the_trunks(
    run: Run, start: Start, own_weights: Path, formats: list[Path], tmp_path: Path
) -> None:
    (kept,) = (tmp_path / "near" / "petrieve" / "kept").iterdir()
    words = ("similar", formats[0], "--store", own_weights, "--json")
    wanted = run(*words, *BY_TORCH).json
    check_same(start(*words, first=NO_TORCH).done().json, wanted)  # `embed` has left it
    sound, others = kept.read_bytes(), load_file(kept)
    others["features.norm5.bias"] += 1
    save_file(others, tmp_path / "others")
    damaged = bytearray(sound)
    damaged[len(damaged) // 2] ^= 1
    for wrong in (bytes(damaged), (tmp_path / "others").read_bytes()):
        kept.write_bytes(wrong)
        done = start(*words).done()
        assert (done.status, done.err) == (0, "")
        check_same(done.json, wanted)
        assert kept.read_bytes() == sound  # torch has made it anew
    shutil.rmtree(kept.parent.parent)
    (tmp_path / "near" / "petrieve").write_bytes(b"")  # no folder can be made
    done = start(*words).done()
    assert (done.status, done.err) == (0, "")
    check_same(done.json, wanted)
