"""A trunk and a head, or a head alone → an ONNX file, compared with ours before it is written."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from petrieve.extractor.exchange.card import MAKER, check_own
from petrieve.extractor.exchange.graph import head_network, network
from petrieve.extractor.pixels.decode import decode
from petrieve.extractor.pixels.view import canonical_view
from petrieve.extractor.sources.reading import Reader
from petrieve.extractor.trunks.kinds import ONNX, kind
from petrieve.extractor.trunks.trunk import Trunk, load_trunk
from petrieve.extractor.trunks.weights import read_weights
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError, Undecodable, not_installed
from petrieve.store.files import write_named
from petrieve.store.photo import digest_of, path_of

if TYPE_CHECKING:
    import numpy as np
    from onnx import ModelProto
    from torch import Tensor

COMPARED = 8  # photos; 0.1 s each
# Of a probability in onnxruntime from ours, both in float32; benchmarks/RESULTS.md has what it is.
TOLERANCE = 1e-3


# A model's input, for those who have the file alone: JavaScript shows no metadata, and ONNX knows no range.
PHOTO = {
    "name": "photo",
    "type": "uint8",
    "shape": ["photos", "height", "width", 3],
    "range": [0, 255],
    "is": "upright photos of one size, any size; RGB, row by row from the top; transparency on white",
}


@dataclass(frozen=True)
class Exported:
    """What was written, and how far its probabilities are from ours at most (None where no photo was at hand)."""

    size_bytes: int
    beside: str  # the file that says what goes in and what comes out
    compared: int  # photos; of a head alone, embeddings
    largest_difference: float | None  # from ours in float32, of the same pixels
    predict_difference: float | None  # from what `predict` says: by the store's embeddings, in whatever precision


def export(file: Path, cache: Cache, *, weight: "np.ndarray", bias: "np.ndarray", classes: Sequence[str]) -> Exported:
    """What was written: the trunk of the cache and a head, weight (C, D) and bias (C,), as one ONNX file.

    Its input `photo` is uint8 (N, H, W, 3), upright RGB of any size; `probabilities` (N, C) and `embedding` (N, D) are
    float32. Before it is written, onnxruntime's probabilities are compared with ours on photos of the cache. NAME.json
    beside it says what goes in and what comes out.

    Raises:
        PetrieveError: the extra is not installed, the store's weights cannot be had or are others by now, onnxruntime
            disagrees, or the file cannot be written.
    """
    _installed()
    own = kind(cache.made.kind)
    if own.family not in ONNX:
        raise PetrieveError(
            f"a {own.title} is not exported as a whole", f"export its head alone: {file.with_suffix('.head.onnx')}"
        )
    trunk = load_trunk(cache.weights, "cpu", "float32", cache.made.kind)
    cache.check(trunk.fingerprint, cache.weights)
    model = network(own, read_weights(cache.weights, own), weight, bias)
    data = _model_bytes(model, facts := {**_facts(cache, classes), "view": own.recipe})
    compared = list(_differences(data, trunk, weight, bias, cache))
    predicted = [difference for _, difference in compared if difference is not None]
    outputs = {"probabilities": len(classes), "embedding": cache.dimension}
    beside = _write(file, data, facts, PHOTO, outputs, [difference for difference, _ in compared])
    return replace(beside, predict_difference=max(predicted, default=None))


def export_head(
    file: Path, cache: Cache, *, weight: "np.ndarray", bias: "np.ndarray", classes: Sequence[str]
) -> Exported:
    """What was written: a head alone as an ONNX file, `embedding` (N, D) → `probabilities` (N, C), both float32.

    An embedding is as the cache and its exports have it, not of unit length. It is compared with ours as in `export`.

    Raises:
        PetrieveError: the extra is not installed, onnxruntime disagrees, or the file cannot be written.
    """
    _installed()
    data = _model_bytes(head_network(weight, bias), facts := _facts(cache, classes))
    _, embeddings = cache.sample(COMPARED)
    (theirs,) = _session(data).run(["probabilities"], {"embedding": embeddings})
    far = [_far(one, weight, bias, row) for one, row in zip(embeddings, theirs, strict=True)]
    given = {
        "name": "embedding",
        "type": "float32",
        "shape": ["photos", cache.dimension],
        "range": [0, None],  # behind a ReLU
        "is": "embeddings as the trunk makes them, not of unit length",
    }
    return _write(file, data, facts, given, {"probabilities": len(classes)}, far)


def _facts(cache: Cache, classes: Sequence[str]) -> dict[str, Any]:
    made = {"weights": cache.weights, "trunk": cache.made.kind, "fingerprint": cache.fingerprint}
    return {"classes": list(classes), **made}


def _model_bytes(model: "ModelProto", facts: dict[str, Any]) -> bytes:
    """A model as it is written, with facts about it as its metadata, once it has been checked."""
    onnx, _ = _installed()
    onnx.helper.set_model_props(model, {**facts, "classes": json.dumps(facts["classes"])})
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _write(
    file: Path,
    data: bytes,
    facts: dict[str, Any],
    given: dict[str, Any],
    sizes: dict[str, int],
    differences: list[float],
) -> Exported:
    """What was written: the model and its JSON, unless its probabilities differ from ours."""
    if any(not difference <= TOLERANCE for difference in differences):
        raise PetrieveError(
            f"onnxruntime's probabilities are {max(differences):.2g} from ours, more than {TOLERANCE}",
            "install another version of onnxruntime",
        )
    check_own(beside := file.with_suffix(".json"))
    outputs = [{"name": name, "type": "float32", "shape": ["photos", size]} for name, size in sizes.items()]
    told = {MAKER: file.name, **facts, "inputs": [given], "outputs": outputs}
    write_named(file, data)
    write_named(beside, json.dumps(told, indent=1, ensure_ascii=False).encode())
    return Exported(len(data), str(beside), len(differences), max(differences, default=None), None)


def _installed() -> tuple[ModuleType, ModuleType]:
    try:
        import onnx.checker
        import onnx.helper
        import onnxruntime
    except ImportError as error:
        raise not_installed("an ONNX file", error.name, "onnx") from error
    return onnx, onnxruntime


def _session(data: bytes) -> Any:
    _, onnxruntime = _installed()
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as the commands ask of torch's threads
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _differences(
    data: bytes, trunk: Trunk, weight: "np.ndarray", bias: "np.ndarray", cache: Cache
) -> Iterator[tuple[float, float | None]]:
    """For some photos of the cache, the largest difference of a probability in onnxruntime from ours.

    From ours of the same pixels in float32; and by the embedding that the cache has, None where the photo has changed.
    """
    session = _session(data)
    for pixels, held in _some_photos(cache):
        (theirs,) = session.run(["probabilities"], {"photo": pixels.permute(1, 2, 0)[None].contiguous().numpy()})
        far = partial(_far, weight=weight, bias=bias, theirs=theirs[0])
        yield far(trunk(canonical_view(pixels)[None])[0].numpy()), None if held is None else far(held)


def _far(embedding: "np.ndarray", weight: "np.ndarray", bias: "np.ndarray", theirs: "np.ndarray") -> float:
    """How far these probabilities (C,) are from ours of an embedding (D,), at most."""
    import torch

    logits = torch.from_numpy(embedding) @ torch.from_numpy(weight).T + torch.from_numpy(bias)
    return float((logits.softmax(0) - torch.from_numpy(theirs)).abs().max())


def _some_photos(cache: Cache) -> "Iterator[tuple[Tensor, np.ndarray | None]]":
    """Pixels (3, H, W) of photos spread over the beginning of the cache that can still be read.

    Each comes with the cache's embedding (D,) of the same bytes.
    """
    rows = next(cache.photos(["root", "uri"]), None)
    photos = rows.to_pylist() if rows else []
    paths = [path_of(photo["root"], photo["uri"]) for photo in photos[:: -(-len(photos) // COMPARED) or 1]]
    read = Reader(cache)
    read.know(paths)
    for path in paths:
        try:
            data = read(path)
            pixels = decode(data)
        except (OSError, Undecodable):  # it was cached, and has gone since
            continue
        held = cache.views_of([digest_of(data)])
        yield pixels, next((views[0] for views in held.values()), None)
