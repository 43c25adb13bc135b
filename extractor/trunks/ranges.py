"""The trunk in integers, with ranges that a store measures once, on its own photos, and then keeps."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from extractor.engines.local import View, load
from extractor.trunks.trunk import MEAN, STD, Trunk
from extractor.trunks.weights import fingerprint, read_weights
from store.errors import PetrieveError
from store.files import write_file
from store.folder import Store
from store.photo import Photo

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE = 160  # photos that the ranges are measured on; with 32 the worst cosine falls from 0.995 to 0.987
INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "amx_int8")  # without these, oneDNN's sums of uint8 × int8 can overflow


def quantised(trunk: Trunk, store: Store, photos: Sequence[Photo] = ()) -> Trunk:
    """The same trunk in int8, from the float32 one, with the ranges that `store` keeps for its weights.

    Where it keeps none they are measured on SAMPLE of `photos`, whatever their order, and kept.

    Raises:
        PetrieveError: no CPU, or one without these instructions; damaged ranges; none, and too few photos to measure.
    """
    import torch

    from extractor.trunks.int8 import Int8DenseNet121

    _check_device(trunk)
    ranges = kept(store, trunk.fingerprint) or _measured(trunk, store, photos)
    tensors = {name.removeprefix("features."): tensor for name, tensor in read_weights(trunk.weights).items()}
    mean, std = torch.tensor(MEAN) * 255, torch.tensor(STD) * 255
    return replace(trunk, network=Int8DenseNet121(tensors, ranges, mean=mean, std=std), precision=torch.int8)


def kept(store: Store, weights: str) -> "dict[str, Tensor] | None":
    """The ranges in the store; None where there are none for weights of this fingerprint.

    Raises:
        PetrieveError: they are damaged.
    """
    from safetensors import SafetensorError, safe_open

    from extractor.trunks.int8 import shapes

    if not store.ranges.exists():
        return None
    try:
        with safe_open(str(store.ranges), "pt") as opened:
            metadata = opened.metadata() or {}
            ranges = {name: opened.get_tensor(name) for name in shapes()}
        if metadata["digest"] != fingerprint(ranges):
            raise ValueError("other numbers than were written")
    except (SafetensorError, KeyError, ValueError) as error:
        raise PetrieveError(
            f"the ranges {store.ranges} are damaged", "remove the file and run `embed --precision int8` again"
        ) from error
    return ranges if metadata["fingerprint"] == weights else None


def _check_device(trunk: Trunk) -> None:
    import torch

    if trunk.device.type != "cpu":
        raise PetrieveError(
            f"int8 is for processors, not for {trunk.device}", "use `--device cpu`, or another `--precision`"
        )
    found = torch.cpu.get_capabilities()
    if not any(found.get(name, False) for name in INSTRUCTIONS):
        raise PetrieveError(
            "int8 needs a processor with VNNI or AMX, which this one lacks", "use another `--precision`"
        )


def _measured(trunk: Trunk, store: Store, photos: Sequence[Photo]) -> "dict[str, Tensor]":
    import torch
    from safetensors.torch import save

    from extractor.trunks.densenet import DenseNet121
    from extractor.trunks.int8 import measure

    if not photos:
        raise PetrieveError(f"there are no int8 ranges in {store.path}", "run `embed --precision int8` first")
    views = list(islice(_drawn(photos), SAMPLE))
    if len(views) < SAMPLE:
        raise PetrieveError(
            f"int8 is measured on {SAMPLE} photos, and here are {len(views)} that can be read",
            "embed more at once, or use another `--precision`",
        )
    assert isinstance(trunk.network, DenseNet121)
    batches = (torch.stack(views[start : start + trunk.batch]) for start in range(0, SAMPLE, trunk.batch))
    ranges = measure(trunk.network, batches)
    metadata = {"fingerprint": trunk.fingerprint, "digest": fingerprint(ranges)}
    write_file(store.ranges, save(ranges, metadata))
    return ranges


def _drawn(photos: Sequence[Photo]) -> "Iterator[Tensor]":
    """The views of photos in an order that their names alone decide, as by chance."""
    for photo in sorted(photos, key=lambda one: (hashlib.blake2b(one.uri.encode()).digest(), one.path)):
        loaded = load(photo, {})
        if isinstance(loaded, View):
            yield loaded.pixels[0]
