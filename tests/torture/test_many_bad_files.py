"""Two thousand damaged photos and one of every odd kind, in one run."""

from collections.abc import Callable
from pathlib import Path

import corpus
import pytest
from conftest import Done
from damaging import check, check_the_scene

pytestmark = pytest.mark.torture


def test_in_two_thousand_bad_files_every_good_photo_is_embedded(run: Callable[..., Done], tmp_path: Path) -> None:
    expected = corpus.make_corpus(tmp_path / "corpus", damaged=2000, seed=1)
    check(run, tmp_path / "corpus", tmp_path / "s", expected)
    check_the_scene(tmp_path / "corpus", tmp_path / "s", expected)
