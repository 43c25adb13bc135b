"""Commands that are advised to a person."""

import shlex
from collections.abc import Sequence

from petrieve.gallery.words import program

DEFAULT_STORE = ".petrieve"
EXPORTED = (
    "a new folder or `NAME.parquet` (the embeddings), `NAME.faiss` (an index of them), `NAME.onnx` (pixels to "
    "probabilities), `NAME.head.onnx` or `NAME.safetensors` (the head alone), or a folder `NAME.clip-retrieval`"
)


def to_imagenet(trunk: str, weights: str, sources: Sequence[object], store: str) -> str | None:
    """The command that puts ImageNet's weights in the place of the bundled trunk; None where they are there."""
    if weights != "bundled":
        return None
    kind = trunk.partition("-")[0]
    words = ["embed", *map(str, sources), "--trunk", kind, "--weights", "imagenet", "--drop-trunk", trunk]
    return f"{program()} {shlex.join([*words, *(['--store', store] if store != DEFAULT_STORE else [])])}"
