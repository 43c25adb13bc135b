"""Every file of a store, damaged many times: found, or without effect."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Done
from damaging import damages, harmless_or_found

pytestmark = pytest.mark.torture


@pytest.mark.parametrize("kind", ["flipped", "cut"])
def test_damage_to_any_file_is_found_or_harmless(
    run: Callable[..., Done], store: Path, photos: Path, kind: str
) -> None:
    (photos / "bad.jpg").write_bytes(b"no photo")
    run("embed", photos, "--store", store)
    print(kind, sorted(harmless_or_found(run, store, damages(1)[kind], 100).items()))
