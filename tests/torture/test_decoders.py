"""Ten minutes of damaged photos of every format: decoded, or refused with a reason, and no crash."""

import random
import struct
import time
import zlib
from collections import Counter
from pathlib import Path

import corpus
import pytest
from damaging import UGLY
from PIL import Image

from petrieve.extractor.pixels.decode import decode_small
from petrieve.extractor.pixels.view import canonical_view
from petrieve.store.errors import Undecodable

pytestmark = pytest.mark.torture

WAYS = (corpus.cut, corpus.flipped, corpus.flipped, corpus.flipped, corpus.blotted, corpus.spliced, corpus.shuffled)
# Most of the time goes to those that are decoded in the run's own process.
SECONDS = {"jpg": 100, "progressive.jpg": 80, "png": 140, "webp": 80}
ELSEWHERE = 25


def sealed(data: bytes) -> bytes:
    """A PNG whose chunks have right checksums again, so that damage reaches what reads them."""
    made, place = data[:8], 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        body = data[place + 4 : place + 8 + length]
        made += data[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place += 12 + length
    return made


def whole(ending: str) -> list[bytes]:
    """Small photos of a format, in the modes that it knows."""
    picture = Image.radial_gradient("L").resize((70, 60))
    made = []
    for mode in ("RGB", "L", "RGBA", "P", "CMYK", "1", "I;16"):
        try:
            made.append(corpus.encoded(picture.convert(mode), **corpus.FORMATS[ending]))
        except (OSError, ValueError, KeyError):  # a mode that the format lacks
            continue
    return made


@pytest.mark.parametrize("ending", corpus.FORMATS)
def test_damage_of_every_kind_is_decoded_or_refused(ending: str, tmp_path: Path) -> None:
    chance = random.Random(ending)
    photos, last = whole(ending), tmp_path / f"last.{ending}"  # what a crash leaves behind
    outcomes: Counter[str] = Counter()
    until = time.monotonic() + SECONDS.get(ending, ELSEWHERE)
    while time.monotonic() < until:
        data = chance.choice(photos)
        for _ in range(chance.randint(1, 3)):
            data = chance.choice(WAYS)(data, chance) if len(data) > 1 else data
        last.write_bytes(sealed(data) if ending == "png" and chance.random() < 0.8 else data)
        try:
            pixels, width, height, _ = decode_small(last.read_bytes())
            assert canonical_view(pixels).shape == (3, 224, 224)
            assert min(width, height) > 0
            outcomes["decoded"] += 1
        except Undecodable as refused:
            assert not UGLY.search(str(refused)), refused
            outcomes[str(refused)] += 1
            assert "decoder" not in str(refused), last
    print(ending, outcomes.total(), outcomes)
    assert outcomes["decoded"] > 10
    assert outcomes.total() > outcomes["decoded"]
