"""A head → a file that torchvision's own network loads."""

import json
from pathlib import Path

from petrieve.classifier.head import Head
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError
from petrieve.store.files import write_named


def export(file: Path, head: Head, cache: Cache, name: str = "classifier") -> int:
    """How many bytes were written: the head as `NAME.weight` (C, D) and `NAME.bias` (C,), safetensors.

    The name is what torchvision's network of the trunk calls its head.

    The metadata has `classes` as a JSON list, `weights` and `fingerprint` of the trunk that belongs to it.

    Raises:
        PetrieveError: the file is the store's own head, or cannot be written.
    """
    from safetensors.numpy import save

    if file.resolve() == cache.folder.head.resolve():
        raise PetrieveError(f"{file} is the store's own head", "name another file")
    facts = {"classes": json.dumps(head.classes), "weights": cache.weights, "fingerprint": head.fingerprint}
    data = save({f"{name}.weight": head.weight, f"{name}.bias": head.bias}, facts)
    write_named(file, data)
    return len(data)
