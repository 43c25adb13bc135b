"""A folder of good, bad and damaged photos, made from a seed, with what must become of each."""

import os
import random
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image

from petrieve.extractor.sources.sample import draw_sample

pillow_heif.register_heif_opener()
# The scene, and near its embedding; some other photo; no photo; damaged, so one of the two.
SAME, GOOD, BAD, EITHER = "same", "good", "bad", "either"
FORMATS = {
    "jpg": {"format": "JPEG", "quality": 95},
    "progressive.jpg": {"format": "JPEG", "quality": 95, "progressive": True},
    "png": {"format": "PNG"},
    "webp": {"format": "WEBP", "quality": 95},
    "gif": {"format": "GIF"},
    "bmp": {"format": "BMP"},
    "tif": {"format": "TIFF"},
    "lzw.tif": {"format": "TIFF", "compression": "tiff_lzw"},
    "deflate.tif": {"format": "TIFF", "compression": "tiff_adobe_deflate"},
    "jpeg.tif": {"format": "TIFF", "compression": "jpeg", "quality": 95},
    "avif": {"format": "AVIF", "quality": 95, "speed": 10},
    "heic": {"format": "HEIF", "quality": 95},
}
Case = tuple[bytes, str, bytes]  # name, what becomes of it, content


def make_corpus(folder: Path, *, damaged: int, seed: int = 0) -> dict[str, str]:
    """The expected outcome of each file of `folder`, by path: one of every odd kind, and N damaged ones."""
    picture = scene(folder.with_name("scene"))
    folder.mkdir()
    expected = {}
    cases = [*_wrapped(picture), *_named(picture), *_odd_pixels(), *_no_photos(), *_bombs()]
    for name, fate, content in [*cases, *_damaged(picture, damaged, random.Random(seed))]:
        path = os.path.join(os.fsencode(folder), name)
        Path(os.fsdecode(path)).write_bytes(content)
        expected[os.fsdecode(path)] = fate
    return expected | _no_files(folder)


def scene(folder: Path) -> Image.Image:
    """One drawn cat."""
    draw_sample(folder, photos=2)
    with Image.open(sorted(folder.rglob("*.*"))[0]) as opened:
        return opened.convert("RGB").resize((512, 384))


def encoded(image: Image.Image, *words: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, *words, **options)  # type: ignore[arg-type]
    return file.getvalue()


def _wrapped(picture: Image.Image) -> Iterator[Case]:
    """The scene in every format, on every side, beside every kind of broken note."""
    for ending, options in FORMATS.items():
        yield f"plain.{ending}".encode(), SAME, encoded(picture, **options)
    yield b"a jpeg.png", SAME, encoded(picture, **FORMATS["jpg"])
    yield b"a tiff.jpg", SAME, encoded(picture, **FORMATS["tif"])
    yield b"a heic.jpg", SAME, encoded(picture, **FORMATS["heic"])
    yield b"large.jpg", SAME, encoded(picture.resize((2048, 1536)), **FORMATS["jpg"])
    yield b"no ending", SAME, encoded(picture, **FORMATS["webp"])
    yield b"text behind.jpg", SAME, encoded(picture, **FORMATS["jpg"]) + b"more text"
    turns = (None, None, 0, 3, 1, 5, 2, 6, 4)  # which of Pillow's transpositions stores it so
    for side in range(1, 9):
        stored = picture if turns[side] is None else picture.transpose(Image.Transpose(turns[side]))
        exif = Image.Exif()
        exif[0x0112] = side
        for ending in ("jpg", "png", "webp", "tif", "avif"):
            yield f"side {side}.{ending}".encode(), SAME, encoded(stored, exif=exif, **FORMATS[ending])
    whole = Image.Exif()
    whole[0x010F] = "a camera"
    for number, broken in enumerate(
        (
            b"Exif\0\0",
            b"Exif\0\0II*\0",
            b"Exif\0\0" + b"\xff" * 50,
            whole.tobytes()[:-9],
            b"Exif\0\0MM\0*" + b"\x7f" * 40,
        )
    ):
        yield f"broken exif {number}.jpg".encode(), SAME, encoded(picture, exif=broken, **FORMATS["jpg"])
        yield f"broken exif {number}.webp".encode(), SAME, encoded(picture, exif=broken, **FORMATS["webp"])
    for side in (0, 9, 65_535):
        exif = Image.Exif()
        exif[0x0112] = side
        yield f"no such side {side}.jpg".encode(), SAME, encoded(picture, exif=exif, **FORMATS["jpg"])
    yield b"broken profile.jpg", SAME, encoded(picture, icc_profile=b"no profile", **FORMATS["jpg"])
    yield b"cmyk.jpg", GOOD, encoded(picture.convert("CMYK"), format="JPEG")
    yield b"ycck.jpg", GOOD, _ycck(encoded(picture.convert("CMYK"), format="JPEG"))
    pages = [Image.new("RGB", picture.size, colour) for colour in ("red", "blue")]
    for ending in ("gif", "webp", "png", "tif", "avif"):
        more = {"save_all": True, "append_images": pages}
        yield f"first of three.{ending}".encode(), SAME, encoded(picture, **FORMATS[ending], **more)
    for interlaced in (False, True):
        for depth in (8, 16):
            yield f"png {depth} {interlaced}.png".encode(), SAME, _png(np.asarray(picture), depth, interlaced)


def _ycck(cmyk: bytes) -> bytes:
    """A CMYK JPEG that says it is YCCK."""
    place = cmyk.index(b"Adobe") + 11
    return cmyk[:place] + b"\2" + cmyk[place + 1 :]


def _png(pixels: np.ndarray, depth: int, interlaced: bool) -> bytes:
    """RGB pixels (H, W, 3) as PNG of 8 or 16 bits, plain or by Adam7 (PNG 1.2, §2.6): Pillow writes neither."""
    starts = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    passes = [pixels[y::dy, x::dx] for y, x, dy, dx in starts] if interlaced else [pixels]
    values = [one.astype(">u2") * 257 if depth == 16 else one for one in passes]
    lines = b"".join(b"\0" + line.tobytes() for one in values for line in one)
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], depth, 2, 0, 0, interlaced)
    return _chunks((b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))


def _chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = (struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _named(picture: Image.Image) -> Iterator[Case]:
    content = encoded(picture, **FORMATS["jpg"])
    names = ("new\nline", "'quotes\" and \\", "🐈 naïve", "\x1b[2Jclear", "=1+1", "-rf", " ", "$(true)", "x" * 246)
    for name in [*(name.encode() for name in names), b"caf\xe9", b"\xff\xfe"]:
        yield name + b".jpg", SAME, content


def _odd_pixels() -> Iterator[Case]:
    for size in ((1, 1), (1, 20_000), (20_000, 1), (3, 2), (224, 224)):
        yield f"{size[0]} by {size[1]}.png".encode(), GOOD, encoded(Image.new("RGB", size, "teal"), format="PNG")
    grey = Image.fromarray(np.linspace(0, 65_535, 64 * 64).reshape(64, 64).astype(np.uint16))
    for ending in ("png", "tif"):
        yield f"grey 16.{ending}".encode(), GOOD, encoded(grey, format=FORMATS[ending]["format"])
    bits = Image.new("1", (60, 60))
    for ending, options in (("png", {}), ("bmp", {}), ("tif", {"compression": "group4"})):
        yield f"bits.{ending}".encode(), GOOD, encoded(bits, format=FORMATS[ending]["format"], **options)
    palette = Image.radial_gradient("L").convert("P")
    for ending in ("png", "gif"):
        yield f"clear.{ending}".encode(), GOOD, encoded(palette, format=FORMATS[ending]["format"], transparency=7)
    clear = Image.new("RGBA", (60, 60), (250, 0, 0, 99))
    for ending in ("png", "webp", "tif", "avif", "heic"):
        yield f"clear rgba.{ending}".encode(), GOOD, encoded(clear, format=FORMATS[ending]["format"])
    yield b"float.tif", BAD, encoded(Image.new("F", (60, 60)), format="TIFF")


def _no_photos() -> Iterator[Case]:
    contents = {
        "empty": b"",
        "text": b"a cat, I swear",
        "html": b"<!doctype html><title>404</title>",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "pdf": b"%PDF-1.7\n%\xe2\xe3",
        "zip": b"PK\3\4" + bytes(100),
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) (w) file\n%%EOF\n",
        "targa": bytes([0, 0, 2, *bytes(9), 4, 0, 4, 0, 24, 0]) + bytes(48),
        "zeros": bytes(5000),
        "start": b"\xff\xd8\xff\xe0",
        "pickle": b"\x80\x04cposix\nsystem\n(Vtrue\ntR.",
    }
    for kind, content in contents.items():
        for ending in ("jpg", "png", "heic"):
            yield f"{kind}.{ending}".encode(), BAD, content


def _bombs() -> Iterator[Case]:
    """A few kB that claim 60,000 × 60,000 pixels, or as many as the format can say."""
    side = 60_000
    packed = zlib.compress(bytes(1 << 20))
    png = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    yield b"bomb.png", BAD, _chunks((b"IHDR", png), (b"IDAT", packed), (b"IEND", b""))
    bmp = bytearray(encoded(Image.new("1", (8, 8)), format="BMP"))
    bmp[18:26] = struct.pack("<II", side, side)
    yield b"bomb.bmp", BAD, bytes(bmp)
    gif = bytearray(encoded(Image.new("P", (8, 8)), format="GIF"))
    gif[6:10] = struct.pack("<HH", side, side)
    yield b"bomb.gif", BAD, bytes(gif)
    jpeg = bytearray(encoded(Image.new("RGB", (8, 8)), format="JPEG"))
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg[place : place + 4] = struct.pack(">HH", side, side)
    yield b"bomb.jpg", BAD, bytes(jpeg)
    tiff = encoded(Image.new("RGB", (8, 8)), format="TIFF", compression="tiff_lzw")
    for tag in (256, 257):
        entry = tiff.index(struct.pack("<HHI", tag, 3, 1)) + 8
        tiff = tiff[:entry] + struct.pack("<I", side) + tiff[entry + 4 :]
    yield b"bomb.tif", BAD, tiff
    # Within the limit, and empty: what decoding it costs must be given back.
    flat = struct.pack(">IIBBBBB", 13_000, 13_000, 1, 0, 0, 0, 0)
    lines = zlib.compress(bytes(13_000 * (1 + 13_000 // 8)))
    yield b"large.png", GOOD, _chunks((b"IHDR", flat), (b"IDAT", lines), (b"IEND", b""))


def slow(side: int) -> bytes:
    """A small file that takes long: an empty interlaced PNG with alpha, in Adam7's seven passes."""
    strides = ((8, 8), (8, 8), (8, 4), (4, 4), (4, 2), (2, 2), (2, 1))
    offsets = ((0, 0), (0, 4), (4, 0), (0, 2), (2, 0), (0, 1), (1, 0))
    lines = zlib.compressobj(1)
    packed = [
        lines.compress(bytes(1 + 2 * len(range(x, side, dx))) * len(range(y, side, dy)))
        for (dy, dx), (y, x) in zip(strides, offsets, strict=True)
    ]
    head = struct.pack(">IIBBBBB", side, side, 8, 4, 0, 0, 1)
    return _chunks((b"IHDR", head), (b"IDAT", b"".join(packed) + lines.flush()), (b"IEND", b""))


def _no_files(folder: Path) -> dict[str, str]:
    """Things named like photos that are not files. A folder is not a photo, and hides nothing."""
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "loop folder").symlink_to(".")
    (folder / "device.jpg").symlink_to("/dev/zero")
    here = os.getcwd()
    os.chdir(folder)  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("socket.jpg")
    finally:
        os.chdir(here)
    locked = folder / "locked.jpg"
    locked.write_bytes(encoded(Image.new("RGB", (64, 64), "olive"), format="JPEG"))
    locked.chmod(0)
    bad = {str(folder / f"{name}.jpg"): BAD for name in ("pipe", "dangling", "loop", "device", "socket")}
    return bad | {str(locked): GOOD if os.access(locked, os.R_OK) else BAD}


def _damaged(picture: Image.Image, count: int, chance: random.Random) -> Iterator[Case]:
    """Photos of every format, each damaged in one of these ways; no two alike."""
    small = picture.resize((picture.width // 2, picture.height // 2))
    whole = {ending: encoded(small, **options) for ending, options in FORMATS.items()}
    ways: tuple[Callable[[bytes, random.Random], bytes], ...] = (cut, flipped, blotted, spliced, shuffled)
    for number in range(count):
        ending = list(FORMATS)[number % len(FORMATS)]
        way = ways[number // len(FORMATS) % len(ways)]
        data = way(whole[ending], chance)
        fate = BAD if way is cut and len(data) < 0.4 * len(whole[ending]) else EITHER
        yield f"{way.__name__} {number}.{ending}".encode(), fate, data


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def flipped(data: bytes, chance: random.Random) -> bytes:
    made = bytearray(data)
    # Headers are short, and hold most of what can go wrong.
    reach = len(data) if chance.random() < 0.5 else min(len(data), 600)
    for _ in range(chance.randint(1, 12)):
        made[chance.randrange(reach)] = chance.randrange(256)
    return bytes(made)


def blotted(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    length = min(chance.randrange(1, 2000), len(data) - start)
    return data[:start] + bytes([chance.choice((0, 255))]) * length + data[start + length :]


def spliced(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + chance.randbytes(chance.randrange(1, 2000)) + data[start:]


def shuffled(data: bytes, chance: random.Random) -> bytes:
    first, second = sorted(chance.sample(range(len(data)), 2))
    return data[:first] + data[second:] + data[first:second]
