"""The trunk in integers, with ranges that a store measures once, on its own photos, and then keeps."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from petrieve.extractor.trunks.kinds import INT8, kind
from petrieve.extractor.trunks.trunk import Trunk
from petrieve.extractor.trunks.weights import fingerprint, plain, read_weights
from petrieve.store.errors import PetrieveError
from petrieve.store.files import write_file
from petrieve.store.key import Where
from petrieve.store.near import local

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE = 160  # photos that the ranges are measured on; with 32 the worst cosine falls from 0.995 to 0.987
INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "amx_int8")  # without these, oneDNN's sums of uint8 × int8 can overflow


def quantised(
    trunk: Trunk, file: Where, views: "Iterable[Tensor]" = (), tensors: "dict[str, Tensor] | None" = None
) -> Trunk:
    """The same trunk in int8, from the float32 one, with the ranges that a file keeps for its weights.

    Where it keeps none they are measured on SAMPLE views (3, 224, 224), uint8, and kept. `tensors` are the weights,
    where they have been read.

    Raises:
        PetrieveError: no CPU, or one without these instructions; damaged ranges; none, and too few photos to measure.
    """
    import torch

    from petrieve.extractor.trunks.int8 import Int8DenseNet

    own = kind(trunk.kind)
    if own.family not in INT8:
        raise PetrieveError(f"there is no int8 of a {own.title}", "use another `precision=…`")
    _check_device(trunk)
    ranges = read_ranges(file, trunk.fingerprint, trunk.kind) or _measured(trunk, file, views)
    weights = plain(tensors or read_weights(trunk.weights, own))
    return replace(trunk, network=Int8DenseNet(own, weights, ranges), precision=torch.int8)


def read_ranges(file: Where, weights: str, name: str) -> "dict[str, Tensor] | None":
    """The ranges in a file, of a trunk of this kind; None where there are none for weights of this fingerprint.

    Raises:
        PetrieveError: they are damaged.
    """
    from safetensors import SafetensorError, safe_open

    from petrieve.extractor.trunks.int8 import shapes

    if not file.exists():
        return None
    try:
        with safe_open(str(local(file)), "pt") as opened:
            metadata = opened.metadata() or {}
            ranges = {part: opened.get_tensor(part) for part in shapes(kind(name))}
        if metadata["digest"] != fingerprint(ranges, kind(name).recipe):
            raise ValueError("other numbers than were written")
    except (SafetensorError, KeyError, ValueError) as error:
        raise PetrieveError(
            f"the ranges {file} are damaged", "remove the file and run `embed --precision int8` again"
        ) from error
    return ranges if metadata["fingerprint"] == weights else None


def _check_device(trunk: Trunk) -> None:
    import torch

    if trunk.device.type != "cpu":
        raise PetrieveError(
            f"int8 is for processors, not for {trunk.device}", 'use `device="cpu"`, or another `precision=…`'
        )
    found = torch.cpu.get_capabilities()
    if not any(found.get(name, False) for name in INSTRUCTIONS):
        raise PetrieveError(
            "int8 needs a processor with VNNI or AMX, which this one lacks", "use another `precision=…`"
        )


def _measured(trunk: Trunk, file: Where, views: "Iterable[Tensor]") -> "dict[str, Tensor]":
    import torch
    from safetensors.torch import save

    from petrieve.extractor.trunks.densenet import DenseNet
    from petrieve.extractor.trunks.int8 import measure

    some = list(islice(views, SAMPLE))
    if not some:
        raise PetrieveError(f"there are no int8 ranges in {file.parent}", "run `embed --precision int8` first")
    if len(some) < SAMPLE:
        raise PetrieveError(
            f"int8 is measured on {SAMPLE} photos, and here are {len(some)} that can be read",
            "embed more at once, or use another `precision=…`",
        )
    assert isinstance(trunk.network, DenseNet)
    batches = (torch.stack(some[start : start + trunk.batch]) for start in range(0, SAMPLE, trunk.batch))
    ranges = measure(trunk.network, batches)
    metadata = {"fingerprint": trunk.fingerprint, "digest": fingerprint(ranges, kind(trunk.kind).recipe)}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, save(ranges, metadata))
    return ranges
