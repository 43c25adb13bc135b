"""Files of arrays with a card that lie about themselves, with a digest that fits."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from petrieve.index.codes.arrays import digest_of

Lie = Callable[[dict[str, np.ndarray], dict[str, object]], None]


def forged(file: Path, change: Lie) -> None:
    """Rewrite an index or a map with other numbers and a digest that fits them."""
    held = load_file(file)
    with open(file, "rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        card = json.loads(json.loads(opened.read(size))["__metadata__"]["card"])
    change(held, card)
    words = json.dumps(card)
    held = {name: np.ascontiguousarray(array) for name, array in held.items()}
    save_file(held, file, {"card": words, "digest": digest_of(words, held)})
