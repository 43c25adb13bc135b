"""Photos as cameras write them look right: turned, as HEIC, as RAW; small and large."""

import io
from pathlib import Path

import numpy as np
import pytest
from conftest import table
from pages import Gallery
from PIL import Image


@pytest.mark.parametrize("kind", ["photo", "review/large"])
def test_turned_photos_heic_and_raw_look_as_they_should(
    kind: str, shown: Gallery, varied: Path, varied_store: Path, golden: Image.Image
) -> None:
    digests = {Path(path).name: row[1].hex() for path, row in table(varied_store).items()}
    names = [*(f"turned-{one}.jpg" for one in range(2, 9)), "photo.heic", "photo.dng"]
    for name in names:
        with Image.open(io.BytesIO(shown.get(f"{kind}/{digests[name]}.jpg").content)) as made:
            assert made.format == "JPEG"
            side = 320 if kind == "photo" else 1280
            assert min(side * 7 // 8, max(golden.size)) <= max(made.size) <= side
            wanted = np.asarray(golden.resize(made.size, Image.Resampling.BOX), float)
            assert np.abs(np.asarray(made, float) - wanted).mean() < 6, name
            for way in Image.Transpose:  # what is turned otherwise is farther off
                other = golden.transpose(way).resize(made.size, Image.Resampling.BOX)
                assert np.abs(np.asarray(made, float) - np.asarray(other, float)).mean() > 12, (name, way)
