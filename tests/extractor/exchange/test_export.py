"""Exported heads give elsewhere what `predict` gives here."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import onnxruntime
import pytest
import torch
from conftest import PHOTOS, ROOT, Done, need
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from planting import of_trunk, whole
from pyarrow import parquet
from safetensors.torch import load_file

from petrieve.classifier import head
from petrieve.extractor.exchange import onnx
from petrieve.extractor.pixels.view import canonical_view
from petrieve.extractor.trunks.trunk import load_trunk
from petrieve.extractor.trunks.weights import BUNDLED
from petrieve.store.cache import Cache
from petrieve.store.photo import path_of

Run = Callable[..., Done]
CALLS = {"onnx": "onnxruntime.InferenceSession", "safetensors": "safe_open"}  # of the examples
DOCUMENT = (ROOT / "docs" / "export.md").read_text()


def by_hand(file: Path, store: Path) -> float:
    """The largest difference of a probability in onnxruntime from what `predict` says, on the photos compared."""
    session, fitted = onnxruntime.InferenceSession(file), head.load(Cache.open(store))
    every = list(whole(Cache.open(store)).items())
    found = []
    for path, one in every[:: -(-len(every) // onnx.COMPARED)]:
        pixels = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
        found.append(np.abs(of_pixels(session, pixels)[0] - fitted.predict(one.embedding[None])[0]).max())
    return float(max(found))


@pytest.fixture(scope="module")
def exported(run: Run, made_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what is made of the drawn photos' head."""
    folder = tmp_path_factory.mktemp("exported")
    for suffix in ("onnx", "head.onnx", "safetensors"):
        done = run("export", folder / f"pets.{suffix}", "--store", made_store, "--json")
        assert done.status == 0, done.err
        assert done.json["size_bytes"] == (folder / f"pets.{suffix}").stat().st_size
        if suffix == "onnx":
            assert done.json["compared"] == onnx.COMPARED
            assert done.json["largest_difference"] < 1e-4
            assert done.json["predict_difference"] == pytest.approx(by_hand(folder / "pets.onnx", made_store), abs=1e-6)
    return folder


def test_a_suffix_in_capitals_is_the_same_suffix(run: Run, made_store: Path) -> None:
    done = run("export", "PETS.SafeTensors", "--store", made_store)
    assert (done.status, Path("PETS.SafeTensors").exists()) == (0, True)


@pytest.fixture(scope="module")
def session(exported: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(exported / "pets.onnx")


def of_pixels(session: onnxruntime.InferenceSession, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    (probabilities,), (embedding,) = session.run(["probabilities", "embedding"], {"photo": pixels[None]})
    return probabilities, embedding


def ours(store: Path, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    view = canonical_view(torch.from_numpy(pixels.copy()).permute(2, 0, 1))
    embedding = load_trunk("bundled", "cpu", "float32")(view[None]).numpy()
    return head.load(Cache.open(store)).predict(embedding)[0], embedding[0]


@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 700), width=st.integers(1, 700), seed=st.integers(0, 9))
def test_onnx_sees_the_very_pixels_of_a_photo_of_any_size(
    session: onnxruntime.InferenceSession, made_store: Path, height: int, width: int, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    found, wanted = of_pixels(session, pixels), ours(made_store, pixels)
    assert np.abs(found[0] - wanted[0]).max() < 1e-4
    np.testing.assert_allclose(found[1], wanted[1], atol=1e-3 * np.abs(wanted[1]).max())


@pytest.mark.real
def test_onnx_gives_real_photos_our_probabilities(session: onnxruntime.InferenceSession, made_store: Path) -> None:
    files = sorted(need(PHOTOS).glob("train/*.jpg"))[::400] + sorted(need(PHOTOS).glob("breeds/*/*"))[::90]
    for file in files:
        pixels = np.asarray(ImageOps.exif_transpose(Image.open(file)).convert("RGB"))
        assert np.abs(of_pixels(session, pixels)[0] - ours(made_store, pixels)[0]).max() < 1e-4, file


def test_onnx_says_what_it_is(session: onnxruntime.InferenceSession, made_store: Path) -> None:
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["classes"]) == ["cat", "dog"]
    assert (facts["weights"], facts["fingerprint"]) == ("bundled", Cache.open(made_store).fingerprint)
    (photo,) = session.get_inputs()
    assert (photo.name, photo.type, photo.shape) == ("photo", "tensor(uint8)", ["photos", "height", "width", 3])


def test_a_batch_gives_what_each_of_its_photos_gives_alone(session: onnxruntime.InferenceSession) -> None:
    batch = np.random.default_rng(0).integers(0, 256, (3, 300, 260, 3), np.uint8)
    together = session.run(["probabilities", "embedding"], {"photo": batch})
    for number, pixels in enumerate(batch):
        for found, wanted in zip(together, of_pixels(session, pixels), strict=True):
            np.testing.assert_allclose(found[number], wanted, atol=1e-5 * np.abs(wanted).max())


def test_the_head_alone_takes_what_exports_of_embeddings_hold(run: Run, made_store: Path, exported: Path) -> None:
    assert run("export", "pets.parquet", "--store", made_store).status == 0
    embeddings = np.stack(parquet.read_table("pets.parquet")["embedding"].to_numpy())
    (found,) = onnxruntime.InferenceSession(exported / "pets.head.onnx").run(None, {"embedding": embeddings})
    wanted = head.load(Cache.open(made_store)).predict(embeddings)
    assert np.abs(found - wanted).max() < 1e-5


@pytest.mark.parametrize("name", ["pets", "pets.head"])
def test_a_json_beside_a_model_says_what_its_metadata_and_shapes_say(exported: Path, name: str) -> None:
    model = onnxruntime.InferenceSession(exported / f"{name}.onnx")
    said = json.loads((exported / f"{name}.json").read_text())
    facts = model.get_modelmeta().custom_metadata_map
    assert {key: said[key] for key in facts} == {**facts, "classes": json.loads(facts["classes"])}
    for told, there in ((said["inputs"], model.get_inputs()), (said["outputs"], model.get_outputs())):
        types = [f"tensor({one['type'].removesuffix('32')})" for one in told]
        assert [(one["name"], one["shape"]) for one in told] == [(one.name, one.shape) for one in there]
        assert types == [one.type for one in there]
    assert [one["range"] for one in said["inputs"]] == [[0, 255] if name == "pets" else [0, None]]


def test_a_json_of_somebodys_own_is_not_written_over(run: Run, store: Path) -> None:
    Path("pets.json").write_text('{"pets": ["Milo"]}')
    done = run("export", "pets.onnx", "--store", store)
    assert (done.status, "pets.json is there already, and no export; name another file" in done.err) == (1, True)
    assert Path("pets.json").read_text() == '{"pets": ["Milo"]}'
    assert not Path("pets.onnx").exists()


def test_an_index_for_faiss_finds_what_similar_finds(run: Run, store: Path, drawn: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copies" / "again.jpg"
    copy.parent.mkdir()
    shutil.copy(sorted((drawn / "dog").iterdir())[0], copy)  # a photo more, and no content more
    assert run("embed", copy.parent, "--store", store).status == 0
    done = run("export", "pets.faiss", "--store", store, "--json")
    assert done.json == {"written": "pets.faiss", "photos": 41, "beside": "pets.ids.parquet"}
    index, ids = faiss.read_index("pets.faiss"), parquet.read_table("pets.ids.parquet").to_pylist()
    paths = [path_of(row["root"], row["photo"]) for row in ids]
    held = whole(Cache.open(store))
    assert sorted(paths) == sorted(held)
    for row, path in enumerate(paths):
        unit = held[path].embedding / np.linalg.norm(held[path].embedding)
        np.testing.assert_allclose(index.reconstruct(row), unit, atol=1e-6)
    for asked in (drawn / paths[0], copy):
        row = paths.index(str(asked))
        ((cosines,), (rows,)) = index.search(index.reconstruct(row)[None], 41)
        found = {paths[one]: float(cosine) for one, cosine in zip(rows, cosines, strict=True)}
        wanted = run("similar", asked, "--store", store, "-k", 40, "--json").json["neighbours"]
        similar = {str(Path(one["photo"]).absolute()): one["similarity"] for one in wanted}
        assert similar == pytest.approx({path: found[path] for path in paths if path != str(asked)}, abs=2e-4)


def test_the_same_head_gives_the_same_file(run: Run, made_store: Path, exported: Path, tmp_path: Path) -> None:
    assert run("export", tmp_path / "again.onnx", "--store", made_store).status == 0
    assert (tmp_path / "again.onnx").read_bytes() == (exported / "pets.onnx").read_bytes()


@pytest.mark.parametrize("kind", ["onnx", "safetensors"])
def test_the_documents_examples_run_as_they_stand(
    kind: str,
    exported: Path,
    made_store: Path,
    drawn: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (example,) = [text for text in re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL) if f"{CALLS[kind]}(" in text]
    shutil.copy(exported / f"pets.{kind}", tmp_path)
    photo = Image.open(sorted((drawn / "dog").iterdir())[0]).convert("RGB").resize((330, 290))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side, as phones have it
    photo.save(tmp_path / "photo.jpg", exif=exif)
    # In place of the ImageNet weights that torchvision would download.
    weights = {**load_file(BUNDLED), "classifier.weight": torch.zeros(1000, 1024), "classifier.bias": torch.zeros(1000)}
    hub = tmp_path / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    torch.save({name: tensor.float() for name, tensor in weights.items()}, hub / "densenet121-a639ec97.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    exec(compile(example, "docs/export.md", "exec"), {})
    found = eval(capsys.readouterr().out)
    pixels = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "photo.jpg")).convert("RGB"))
    wanted = dict(zip(("cat", "dog"), ours(made_store, pixels)[0].tolist(), strict=True))
    assert found == pytest.approx(wanted, abs=2e-2 if kind == "safetensors" else 1e-4)


def test_the_example_for_torchvision_has_ten_lines_of_work() -> None:
    (example,) = [text for text in re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL) if "safetensors" in text]
    assert len([line for line in example.splitlines() if line and not re.match("import|from", line)]) <= 10


def test_nothing_is_written_that_gives_other_probabilities(
    run: Run, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "TOLERANCE", -1.0)
    done = run("export", tmp_path / "pets.onnx", "--store", store)
    assert (done.status, "from ours" in done.err) == (1, True)
    assert not (tmp_path / "pets.onnx").exists()


def test_an_export_whose_photos_are_gone_says_that_it_was_not_compared(run: Run, photos: Path, tmp_path: Path) -> None:
    run("embed", photos, "--store", tmp_path / "s", "--weights", "bundled")
    run("fit-head", "--store", tmp_path / "s")
    shutil.rmtree(photos)
    done = run("export", tmp_path / "pets.onnx", "--store", tmp_path / "s")
    assert (done.status, "not compared" in done.err) == (0, True)
    assert (tmp_path / "pets.onnx").exists()


def test_what_cannot_be_exported_is_one_clear_line(
    run: Run, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "`NAME.onnx`" in run("export", "pets.pth", "--store", store).err
    assert "name another file" in run("export", of_trunk(store).head, "--store", store).err
    assert "name a file in a folder that is there" in run("export", "no/x.safetensors", "--store", store).err
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    done = run("export", "pets.onnx", "--store", store)
    assert (done.status, 'run `pip install "petrieve[onnx]"`' in done.err) == (1, True)
    monkeypatch.undo()
    (of_trunk(store).head).unlink()
    assert "run `cli.py fit-head`" in run("export", tmp_path / "pets.onnx", "--store", store).err
