"""A trunk and a head → one ONNX file, held against ours before it is written."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from extractor.exchange.graph import network
from extractor.pixels.decode import decode
from extractor.pixels.view import canonical_view
from extractor.sources.reading import Reader
from extractor.trunks.kinds import kind
from extractor.trunks.trunk import Trunk, load_trunk
from extractor.trunks.weights import read_weights
from store.cache import Cache
from store.errors import PetrieveError, Undecodable
from store.files import write_named
from store.photo import digest_of, path_of

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

COMPARED = 8  # photos; 0.1 s each
# Of a probability in onnxruntime from ours, both in float32; benchmarks/RESULTS.md has what it is.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Exported:
    """What was written, and how far its probabilities are from ours at most (None where no photo was at hand)."""

    size_bytes: int
    compared: int
    largest_difference: float | None  # from ours in float32, of the same pixels
    predict_difference: float | None  # from what `predict` says: by the store's embeddings, in whatever precision


def export(file: Path, cache: Cache, *, weight: "np.ndarray", bias: "np.ndarray", classes: Sequence[str]) -> Exported:
    """What was written: the trunk of the cache and a head, weight (C, D) and bias (C,), as one ONNX file.

    Its input `photo` is uint8 (H, W, 3), upright RGB of any size; `probabilities` (C,) and `embedding` (D,) are
    float32. Before it is written, onnxruntime's probabilities are held against ours on photos of the cache.

    Raises:
        PetrieveError: the extra is not installed, the store's weights cannot be had or are others by now, onnxruntime
            disagrees, or the file cannot be written.
    """
    onnx, _ = _installed()
    trunk = load_trunk(cache.weights, "cpu", "float32", cache.made.kind)
    cache.check(trunk.fingerprint, cache.weights)
    own = kind(cache.made.kind)
    model = network(own, read_weights(cache.weights, own), weight, bias)
    facts = {
        "classes": json.dumps(list(classes)),
        "view": own.recipe,
        "weights": cache.weights,
        "trunk": own.name,
        "fingerprint": cache.fingerprint,
    }
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString(deterministic=True)
    compared = list(_differences(data, trunk, weight, bias, cache))
    differences = [difference for difference, _ in compared]
    if any(not difference <= TOLERANCE for difference in differences):
        raise PetrieveError(
            f"onnxruntime's probabilities are {max(differences):.2g} from ours, more than {TOLERANCE}",
            "install another version of onnxruntime",
        )
    write_named(file, data)
    predicted = [difference for _, difference in compared if difference is not None]
    return Exported(
        len(data), len(compared), max(differences, default=None), predict_difference=max(predicted, default=None)
    )


def _installed() -> tuple[ModuleType, ModuleType]:
    try:
        import onnx.checker
        import onnx.helper
        import onnxruntime
    except ImportError as error:
        raise PetrieveError(
            f"an ONNX file needs {error.name}, which is not installed", "run `pip install 'petrieve[onnx]'`"
        ) from error
    return onnx, onnxruntime


def _differences(
    data: bytes, trunk: Trunk, weight: "np.ndarray", bias: "np.ndarray", cache: Cache
) -> Iterator[tuple[float, float | None]]:
    """For some photos of the cache, the largest difference of a probability in onnxruntime from ours.

    From ours of the same pixels in float32; and by the embedding that the cache has, None where the photo has changed.
    """
    import torch

    _, onnxruntime = _installed()
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as the commands ask of torch's threads
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    for pixels, held in _some_photos(cache):
        (theirs,) = session.run(["probabilities"], {"photo": pixels.permute(1, 2, 0).contiguous().numpy()})

        def far(embedding: "Tensor", theirs: "np.ndarray" = theirs) -> float:
            logits = embedding @ torch.from_numpy(weight).T + torch.from_numpy(bias)
            return float((logits.softmax(0) - torch.from_numpy(theirs)).abs().max())

        yield far(trunk(canonical_view(pixels)[None])[0]), None if held is None else far(torch.from_numpy(held))


def _some_photos(cache: Cache) -> "Iterator[tuple[Tensor, np.ndarray | None]]":
    """Pixels (3, H, W) of photos spread over the beginning of the cache, those that can still be read.

    Each beside the embedding (D,) that the cache has of these very bytes.
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
