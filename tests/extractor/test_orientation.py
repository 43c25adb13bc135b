"""One reader decides how a photo is turned, however its file says so."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Done
from corpus import encoded
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from turning import BLUE, GREEN, HELD, RED, picture

from petrieve.extractor.pixels.decode import decode, decode_small, upright_image
from petrieve.store.cache import Cache

Run = Callable[..., Done]
WIDTHS = {1: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4}  # bytes of a number of each type (TIFF 6.0)
XMPS = (
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{}"/>',
    "<rdf:Description xmlns:tiff='http://ns.adobe.com/tiff/1.0/' tiff:Orientation = '{}'/>",
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/"><tiff:Orientation>{}</tiff:Orientation></rdf:Description>',
    '<rdf:Description xmlns:t="http://ns.adobe.com/tiff/1.0/"><t:Orientation> {} </t:Orientation></rdf:Description>',
)


def stored(orientation: int, width: int = 60, height: int = 48) -> Image.Image:
    """Red above on the left, green above on the right, blue below; as held so."""
    made = picture(width, height)
    return made.transpose(HELD[orientation]) if orientation > 1 else made


def tags(order: str, *entries: tuple[int, int, int, int], at: int = 8, behind: bytes = b"") -> bytes:
    """A TIFF of tags (tag, type, count, value) alone; `behind` their directory at an offset."""
    way = "<" if order == "II" else ">"
    made = order.encode() + struct.pack(f"{way}HI", 42, at) + bytes(at - 8) + struct.pack(f"{way}H", len(entries))
    for tag, type_, count, value in entries:
        number = value.to_bytes(WIDTHS[type_], "little" if order == "II" else "big").ljust(4, b"\0")
        made += struct.pack(f"{way}HHI", tag, type_, count) + number
    return made + bytes(4) + behind


def segment(payload: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload


def jpeg(image: Image.Image, *payloads: bytes) -> bytes:
    data = encoded(image, "JPEG", quality=95)
    return data[:2] + b"".join(map(segment, payloads)) + data[2:]


def png(image: Image.Image, kind: bytes, content: bytes) -> bytes:
    data = encoded(image, "PNG")
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return data[:33] + chunk + data[33:]


def profile(exif: bytes) -> bytes:
    """EXIF as ImageMagick writes it into a text."""
    return b"Raw profile type exif\0\0" + zlib.compress(f"\nexif\n{len(exif):8}\n{exif.hex()}\n".encode())


def tiff(image: Image.Image, order: str, orientation: tuple[int, int, int, int]) -> bytes:
    sizes = [(256, 4, 1, image.width), (257, 4, 1, image.height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 2)]
    plane = [(277, 3, 1, 3), (278, 4, 1, image.height), (279, 4, 1, 3 * image.width * image.height)]
    count = len(sizes) + len(plane) + 2
    return tags(order, *sizes, (273, 4, 1, 8 + 2 + 12 * count + 4), orientation, *plane, behind=image.tobytes())


def check(data: bytes) -> None:
    """It comes out upright from every door, and as large as is recorded."""
    pixels, width, height, _ = decode_small(data)
    assert (width / pixels.shape[2]) == (height / pixels.shape[1]) in (1, 2, 4, 8)
    for shown in (pixels, decode(data), torch.from_numpy(np.array(upright_image(data))).permute(2, 0, 1)):
        _, high, wide = shown.shape
        assert wide * height == high * width
        places = ((high // 8, wide // 8), (high // 8, -wide // 8), (-high // 8, wide // 8))
        found = np.array([shown[:, y, x].tolist() for y, x in places])
        assert np.abs(found - (RED, GREEN, BLUE)).max() < 40


@settings(max_examples=250, deadline=None)
@given(
    orientation=st.integers(1, 8),
    where=st.sampled_from(["jpeg", "twice", "second", "large", "png", "png text", "webp", "tiff"]),
    type_=st.sampled_from(sorted(WIDTHS)),
    count=st.sampled_from([0, 1, 2, 3, 1000, 2**32 - 1]),
    order=st.sampled_from(["II", "MM"]),
    at=st.sampled_from([8, 30]),
)
def test_every_way_to_write_it_in_exif_is_read(
    orientation: int, where: str, type_: int, count: int, order: str, at: int
) -> None:
    said = (0x112, type_, count, orientation)
    exif = tags(order, (0x100, 4, 1, 7), said, (0x131, 4, 1, 7), at=at)
    without = tags(order, (0x131, 4, 1, 7))
    image = stored(orientation, *((1200, 1040) if where == "large" else (60, 48)))
    ways: dict[str, Callable[[], bytes]] = {
        "jpeg": lambda: jpeg(image, b"Exif\0\0" + exif),
        "large": lambda: jpeg(image, b"Exif\0\0" + exif),
        "twice": lambda: jpeg(image, b"Exif\0\0Exif\0\0" + exif),
        "second": lambda: jpeg(image, b"http://ns.adobe.com/xap/1.0/\0<x/>", b"Exif\0\0" + without, b"Exif\0\0" + exif),
        "png": lambda: png(image, b"eXIf", exif),
        "png text": lambda: png(image, b"zTXt", profile(b"Exif\0\0" + exif)),
        "webp": lambda: encoded(image, "WEBP", exif=exif),
        "tiff": lambda: tiff(image, order, said),
    }
    check(ways[where]())


@settings(max_examples=100, deadline=None)
@given(
    orientation=st.integers(1, 8),
    where=st.sampled_from(["jpeg", "beside", "nonsense", "png", "webp", "tiff"]),
    words=st.sampled_from(XMPS),
)
def test_every_way_to_write_it_in_xmp_is_read_where_exif_does_not_say_it(
    orientation: int, where: str, words: str
) -> None:
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{words.format(orientation)}</x:xmpmeta>'.encode()
    image = stored(orientation)
    payload = b"http://ns.adobe.com/xap/1.0/\0" + xmp
    make = b"Exif\0\0" + tags("MM", (0x10F, 4, 1, 7))
    nonsense = b"Exif\0\0" + tags("MM", (0x112, 3, 1, 9))
    ways: dict[str, Callable[[], bytes]] = {
        "jpeg": lambda: jpeg(image, payload),
        "beside": lambda: jpeg(image, make, payload),
        "nonsense": lambda: jpeg(image, nonsense, payload),
        "png": lambda: png(image, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
        "webp": lambda: encoded(image, "WEBP", xmp=xmp),
        "tiff": lambda: encoded(image, "TIFF", tiffinfo={700: xmp}),
    }
    check(ways[where]())


def test_exif_is_believed_before_xmp() -> None:
    xmp = b"http://ns.adobe.com/xap/1.0/\0" + XMPS[0].format(3).encode()
    check(jpeg(stored(6), xmp, b"Exif\0\0" + tags("II", (0x112, 3, 1, 6))))


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([b"II*\0", b"MM\0*", b""]))
def test_what_is_no_orientation_turns_nothing(junk: bytes, head: bytes) -> None:
    exif = head + junk.replace(b"\x12\x01", b"").replace(b"\x01\x12", b"")
    check(jpeg(stored(1), b"Exif\0\0" + exif))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_a_library_turns_is_not_turned_twice(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    check(encoded(stored(orientation), "AVIF", exif=exif, quality=95))  # written as the format's own turns
    check(encoded(stored(orientation), "TIFF", tiffinfo={0x112: orientation}, compression="tiff_lzw"))


def test_photos_that_say_it_in_other_ways_have_one_embedding_and_one_size(run: Run, tmp_path: Path) -> None:
    image, folder = stored(6), tmp_path / "p"
    folder.mkdir()
    xmp = b"http://ns.adobe.com/xap/1.0/\0" + XMPS[0].format(6).encode()
    ways = {
        "short": [b"Exif\0\0" + tags("MM", (0x112, 3, 1, 6))],
        "long": [b"Exif\0\0" + tags("MM", (0x112, 4, 1, 6))],
        "byte": [b"Exif\0\0" + tags("II", (0x112, 1, 1, 6))],
        "xmp": [xmp],
        "beside": [b"Exif\0\0" + tags("MM", (0x10F, 4, 1, 7)), xmp],
    }
    for name, payloads in ways.items():
        (folder / f"{name}.jpg").write_bytes(jpeg(image, *payloads))
    assert run("embed", folder, "--store", tmp_path / "s", "--weights", "bundled").status == 0
    found = list(Cache.open(tmp_path / "s").embeddings(["uri", "width", "height"]))
    rows = [row for photos, _ in found for row in photos.to_pylist()]
    assert {(row["width"], row["height"]) for row in rows} == {(60, 48)}
    assert len({vector.tobytes() for _, embeddings in found for vector in embeddings}) == 1
