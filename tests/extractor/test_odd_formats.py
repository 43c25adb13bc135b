"""Photos as cameras and programs write them: PNGs with much else inside, camera RAW, deep pixels, several pictures."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Done
from PIL import Image, PngImagePlugin

from petrieve.extractor.pixels.decode import PREVIEW, decode, decode_small, upright_image
from petrieve.extractor.sources.folder import find
from petrieve.extractor.sources.formats import is_photo
from petrieve.store.errors import Undecodable

Run = Callable[..., Done]


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, format_, **options)
    return data.getvalue()


def picture(width: int = 300, height: int = 240) -> Image.Image:
    levels = np.random.default_rng(width).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(levels).resize((width, height), Image.Resampling.BICUBIC)


def chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    sum_ = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", sum_)


# PNGs

PNG = encoded(picture(), "PNG")
TEXT = PngImagePlugin.PngInfo()
TEXT.add_text("workflow", "x" * 1_500_000, zip=True)
MANY = PngImagePlugin.PngInfo()
for _ in range(80):
    MANY.add_text("parameters", "x" * 1_000_000, zip=True)
GOOD = {
    "a large text": encoded(picture(), "PNG", pnginfo=TEXT),
    "many large texts": encoded(picture(), "PNG", pnginfo=MANY),
    "a large colour profile": encoded(picture(), "PNG", icc_profile=bytes(1_500_000)),
    "a wrong checksum of a text": PNG[:33] + chunk(b"tEXt", b"Comment\0x", 0) + PNG[33:],
    "a wrong checksum of a date": PNG[:33] + chunk(b"tIME", bytes(7), 0) + PNG[33:],
    "a text that cannot be inflated": PNG[:33] + chunk(b"zTXt", b"XML:com.adobe.xmp\0\0junk") + PNG[33:],
    "a chunk of nobody's": PNG[:33] + chunk(b"abCd", bytes(100)) + PNG[33:],
    "an animation": encoded(picture(), "PNG", save_all=True, append_images=[Image.new("RGB", (300, 240))]),
    "too many pixels": PNG[:-12] + chunk(b"IDAT", bytes(500)) + PNG[-12:],
}


@pytest.mark.parametrize("what", GOOD)
def test_what_is_no_pixels_keeps_no_png_from_being_decoded(what: str) -> None:
    assert torch.equal(decode(GOOD[what]), decode(PNG))
    assert decode_small(GOOD[what])[1:] == (300, 240, None)


def test_a_png_whose_colours_are_damaged_is_refused() -> None:
    palette = encoded(picture().quantize(16), "PNG")
    place = palette.index(b"PLTE") + 6
    with pytest.raises(Undecodable, match="damaged"):
        decode(palette[:place] + b"\x55" + palette[place + 1 :])


# Camera RAW


def directory(*entries: tuple[int, int, int, int], order: str = "<") -> bytes:
    """A TIFF's head and first directory, of tags (tag, type, count, value) of types 3 and 4."""
    made = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    for tag, type_, count, value in entries:
        made += struct.pack(f"{order}HHI", tag, type_, count) + struct.pack(f"{order}{'HI'[type_ == 4]}", value).ljust(
            4, b"\0"
        )
    return made + bytes(4)


def jpeg(width: int, height: int, **options: object) -> bytes:
    return encoded(picture(width, height), "JPEG", quality=92, **options)


def lossless(width: int, height: int) -> bytes:
    """What a sensor's numbers look like from outside: a JPEG of a process that no picture has."""
    return jpeg(width, height).replace(b"\xff\xc0", b"\xff\xc3", 1)


SENSOR = np.random.default_rng(0).bytes(300_000)
LARGE, SMALL = jpeg(640, 480), jpeg(160, 120)


def dng(orientation: int = 1, order: str = "<") -> bytes:
    return directory((254, 4, 1, 1), (0x112, 3, 1, orientation), (50706, 4, 1, 0x401), order=order)


RAWS = {
    "DNG": dng() + SMALL + SENSOR + LARGE,
    "DNG, big-endian": dng(order=">") + LARGE + SENSOR,
    "CR2": directory((256, 4, 1, 640))[:8] + b"CR\2\0" + SENSOR + SMALL + LARGE,
    "NEF": directory((254, 4, 1, 1), (330, 4, 1, 9)) + SMALL + LARGE + SENSOR,
    "PEF": directory((262, 3, 1, 32803)) + SENSOR + LARGE,
    "RAF": b"FUJIFILMCCD-RAW 0201" + SENSOR + LARGE,
    "ORF": b"IIRO" + directory()[4:] + LARGE + SENSOR,
    "RW2": b"IIU\0" + directory()[4:] + LARGE + SENSOR,
    "CR3": struct.pack(">I", 24) + b"ftypcrx \0\0\0\1crx isom" + SMALL + LARGE + SENSOR,
    "X3F": b"FOVb" + bytes(60) + LARGE + SENSOR,
    "a sensor in tiles": dng() + 9 * jpeg(1024, 1024) + LARGE,
    "a lossless sensor": dng() + lossless(2000, 1500) + LARGE,
}


@pytest.mark.parametrize("kind", RAWS)
def test_the_largest_preview_of_a_camera_raw_is_the_photo(kind: str) -> None:
    made = decode_small(RAWS[kind])
    assert made[1:] == (640, 480, PREVIEW)
    assert torch.equal(made.pixels, decode(LARGE))
    assert upright_image(RAWS[kind]).size == (640, 480)
    assert is_photo(RAWS[kind][:64])


def test_a_preview_is_turned_as_it_says_or_else_as_the_raw_says() -> None:
    exif = Image.Exif()
    exif[0x112] = 3
    mirrored = decode(LARGE).transpose(1, 2).flip(2)  # orientation 6
    assert torch.equal(decode(dng(6) + LARGE), mirrored)
    assert torch.equal(decode(dng(6, ">") + LARGE), mirrored)
    assert torch.equal(decode(dng(6) + jpeg(640, 480, exif=exif)), decode(LARGE).flip(1, 2))
    cr3 = RAWS["CR3"][:24] + b"\0\0\0\x2aCMT1" + directory((0x112, 3, 1, 6)) + LARGE
    assert torch.equal(decode(cr3), mirrored)


@pytest.mark.parametrize("previews", [SMALL, b"", lossless(2000, 1500), jpeg(223, 400)])
def test_a_camera_raw_whose_previews_are_small_is_listed_as_that(previews: bytes) -> None:
    with pytest.raises(Undecodable, match="a camera RAW without a preview of 224 pixels or more"):
        decode_small(dng() + previews + SENSOR)


def test_a_tiff_of_an_editor_is_no_raw() -> None:
    data = encoded(picture(), "TIFF", tiffinfo={271: "Canon"}) + LARGE
    assert decode_small(data)[1:] == (300, 240, None)


def test_a_raw_that_is_made_to_take_long_does_not() -> None:
    with pytest.raises(Undecodable, match="without a preview"):
        decode_small(dng() + b"\xff\xd8\xff" * 3_000_000)


def test_info_says_that_it_was_a_preview(run: Run, tmp_path: Path) -> None:
    folder, store = tmp_path / "p", tmp_path / "s"
    folder.mkdir()
    for kind in ("DNG", "CR3"):
        (folder / f"1.{kind}").write_bytes(RAWS[kind])
    (folder / "2.nef").write_bytes(b"")
    assert [photo.uri for photo in find(folder)] == ["1.CR3", "1.DNG", "2.nef"]
    assert run("embed", folder, "--store", store, "--weights", "bundled").status == 0
    info = run("info", "--store", store, "--json").json
    assert info["caveats"] == [{"photo": f"p/1.{kind}", "caveat": PREVIEW} for kind in ("CR3", "DNG")]
    assert info["unreadable"] == [{"photo": "p/2.nef", "reason": "an empty file"}]
    assert "embedded, but: 2 preview of a camera RAW" in run("info", "--store", store).out


# Deep pixels

GREY = np.asarray(picture().convert("L"))
TWELVE = Image.fromarray(GREY.astype(np.uint16) * 16)


def deep_colours(levels: np.ndarray) -> bytes:
    """A PNG of 16 bits for each colour."""
    height, width, _ = levels.shape
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    return PNG[:8] + head + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def with_sbit(data: bytes, *bits: int) -> bytes:
    return data[:33] + chunk(b"sBIT", bytes(bits)) + data[33:]


COLOURS = np.asarray(picture()).astype(np.uint16)
UNKNOWN = {
    "32-bit": encoded(Image.fromarray(GREY.astype(np.int32)), "TIFF"),
    "signed": encoded(Image.fromarray(GREY.astype(np.int16)), "TIFF"),
    "12 bits in 16": encoded(TWELVE, "PNG"),
    "12 bits in 16 of a TIFF": encoded(TWELVE, "TIFF"),
    "14 bits in 16": encoded(Image.fromarray(GREY.astype(np.uint16) * 64), "PNG"),
    "12 bits in 16 of each colour": deep_colours(COLOURS * 16),
    "floating-point": encoded(Image.fromarray(GREY.astype(np.float32)), "TIFF"),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_pixels_of_an_unknown_range_are_refused(kind: str) -> None:
    with pytest.raises(Undecodable, match=r"pixels without a known range$"):
        decode(UNKNOWN[kind])


KNOWN = {
    "SMax of 32 bits": encoded(Image.fromarray(GREY.astype(np.int32)), "TIFF", tiffinfo={341: 255}),
    "SMin and SMax": encoded(Image.fromarray(GREY.astype(np.int32) + 1000), "TIFF", tiffinfo={340: 1000, 341: 1255}),
    "SMax of 16 bits": encoded(TWELVE, "TIFF", tiffinfo={341: 4080}),
    "SMax of floating point": encoded(Image.fromarray(GREY.astype(np.float32)), "TIFF", tiffinfo={341: 255}),
    "the largest value": encoded(TWELVE, "TIFF", tiffinfo={281: 4080}),
    "sBIT": with_sbit(encoded(TWELVE, "PNG"), 12),
    "sBIT, scaled": with_sbit(encoded(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG"), 12),
    "all 16": encoded(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG"),
}


@pytest.mark.parametrize("how", KNOWN)
def test_what_a_file_says_of_its_range_is_used(how: str) -> None:
    assert np.abs(decode(KNOWN[how])[0].numpy().astype(int) - GREY).max() <= 1


def test_black_is_black_in_any_range() -> None:
    assert decode(encoded(Image.fromarray(np.zeros((30, 30), np.uint16)), "PNG")).max() == 0
    assert decode(with_sbit(deep_colours(COLOURS // 16), 16, 16, 16)).max() < 16
    assert decode(deep_colours(COLOURS * 257)).max() == COLOURS.max()


# Several in a file


def test_a_jpeg_with_another_behind_it_is_decoded_as_one_without() -> None:
    """As phones and stereo cameras write them: with a second view, or a depth map."""
    large = picture(1600, 1200)
    alone = encoded(large, "JPEG", quality=90)
    both = encoded(large, "MPO", save_all=True, append_images=[large.rotate(180)], quality=90)
    shown = decode_small(both)
    assert shown[1:] == (1600, 1200, None)
    assert shown.pixels.shape == (3, 600, 800), "shrunk by its decoder"
    assert torch.equal(shown.pixels, decode_small(alone).pixels)
    assert torch.equal(decode(both), decode(alone))
