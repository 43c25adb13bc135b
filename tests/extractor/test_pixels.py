"""Bytes of one photo → upright RGB: every format, every mode, and the reasons for the rest."""

import io
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
import torch
from conftest import ODD, PHOTOS, need
from corpus import encoded
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from reference import reference_view
from torchvision.transforms.v2 import functional
from turning import BLUE, GREEN, HELD, RED, picture

from petrieve.extractor.pixels.decode import decode, upright_image
from petrieve.extractor.pixels.view import canonical_view
from petrieve.store.errors import Undecodable


def corners(pixels: torch.Tensor) -> list[tuple[int, ...]]:
    """The colours near the upper left, the upper right and the lower left corner."""
    _, height, width = pixels.shape
    places = ((height // 8, width // 8), (height // 8, -width // 8), (-height // 8, width // 8))
    return [tuple(pixels[:, y, x].tolist()) for y, x in places]


def near(found: list[tuple[int, ...]], wanted: list[tuple[int, ...]], within: int = 30) -> bool:
    return bool(np.abs(np.array(found, int) - np.array(wanted, int)).max() <= within)


def heic(image: Image.Image) -> bytes:
    data = io.BytesIO()
    pillow_heif.from_pillow(image).save(data, quality=90)
    return data.getvalue()


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIC"])
def test_every_format_is_told_by_content(format_: str) -> None:
    data = heic(picture()) if format_ == "HEIC" else encoded(picture(), format_)
    pixels = decode(data)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (3, 240, 300)
    assert near(corners(pixels), [RED, GREEN, BLUE])


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright(format_: str, orientation: int) -> None:
    stored = picture().transpose(HELD[orientation]) if orientation > 1 else picture()
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(encoded(stored, format_, exif=exif.tobytes()))
    assert pixels.shape == (3, 240, 300)
    assert near(corners(pixels), [RED, GREEN, BLUE])


@pytest.mark.real
def test_the_same_scene_in_all_orientations_is_the_same_view() -> None:
    folder = need(ODD / "exif-orientation")
    for scene in ("Landscape", "Portrait"):
        views = [canonical_view(decode((folder / f"{scene}_{n}.jpg").read_bytes())).float() for n in range(9)]
        # The nine files were encoded one by one, so they differ by a JPEG's noise; a wrong turn differs by 60.
        assert max(float((view - views[1]).abs().mean()) for view in views) < 4


def test_transparency_becomes_white() -> None:
    clear = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    palette = Image.new("P", (64, 64), 0)
    for data in (encoded(clear, "PNG"), encoded(clear, "WEBP"), encoded(palette, "GIF", transparency=0)):
        assert decode(data).min() == 255


def test_grey_of_16_bits_is_scaled_not_clipped() -> None:
    grey = Image.fromarray(np.full((64, 64), 32_896, np.uint16))
    for format_ in ("PNG", "TIFF"):
        assert decode(encoded(grey, format_)).unique().tolist() == [128]


def test_cmyk_and_grey_become_rgb() -> None:
    assert near(corners(decode(encoded(picture().convert("CMYK"), "JPEG"))), [RED, GREEN, BLUE])
    assert decode(encoded(picture().convert("L"), "JPEG")).shape == (3, 240, 300)


def test_the_first_frame_of_an_animation_is_the_photo() -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in (RED, GREEN)]
    for format_ in ("GIF", "WEBP", "PNG", "TIFF"):
        data = encoded(frames[0], format_, save_all=True, append_images=frames[1:])
        assert near(corners(decode(data)), [RED] * 3)


def test_a_jpeg_whose_orientation_stands_in_its_second_segment_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture().transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif.tobytes())
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    data = data[:2] + b"\xff\xe1" + (len(xmp) + 2).to_bytes(2, "big") + xmp + data[2:]
    assert near(corners(decode(data)), [RED, GREEN, BLUE])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "an empty file"),
        (b"<html>not found</html>", "not a photo"),
        (encoded(picture(), "JPEG")[:900], "damaged JPEG: cut short"),
        (encoded(picture(), "PNG")[:200], "damaged"),
        (b"\x89PNG\r\n\x1a\n" + bytes(30), "damaged: no readable header"),
    ],
)
def test_what_is_no_photo_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(Undecodable, match=reason):
        decode(data)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    small = bytearray(encoded(Image.new("1", (8, 8)), "BMP"))
    small[18:26] = (60_000).to_bytes(4, "little") * 2
    with pytest.raises(Undecodable, match="over 200 megapixels"):
        decode(bytes(small))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 2**32 - 1))
def test_the_canonical_view_is_torchvisions(height: int, width: int, seed: int) -> None:
    if max(height, width) > 16 * min(height, width):
        height = width
    pixels = torch.randint(0, 256, (3, height, width), generator=torch.manual_seed(seed), dtype=torch.uint8)
    resized = functional.resize(pixels, [255], antialias=True)
    assert torch.equal(canonical_view(pixels), functional.center_crop(resized, [224, 224]))


def test_a_ribbon_costs_no_more_than_a_photo() -> None:
    view = canonical_view(torch.zeros(3, 1, 20_000, dtype=torch.uint8))
    assert view.shape == (3, 224, 224)


@pytest.mark.real
def test_odd_files_are_decoded_or_refused_with_a_reason() -> None:
    for path in sorted(need(ODD).rglob("*.*")):
        try:
            pixels = decode(path.read_bytes())
            assert canonical_view(pixels).shape == (3, 224, 224)
        except Undecodable as refused:
            assert str(refused).isprintable()


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    st.floats(0, 1),
)
def test_damage_anywhere_is_decoded_or_refused(format_: str, flips: list[tuple[float, int]], kept: float) -> None:
    data = bytearray(encoded(picture(60, 48), format_))
    for place, value in flips:
        data[int(place * (len(data) - 1))] = value
    try:
        assert decode(bytes(data[: max(1, int(kept * len(data)))])).shape[0] == 3
    except Undecodable as refused:
        assert str(refused)


@pytest.mark.real
def test_views_of_real_photos_are_those_of_the_reference() -> None:
    for path in sorted(need(PHOTOS / "breeds").rglob("*.jpg"))[::20]:
        view = canonical_view(decode(path.read_bytes())).float()
        wanted = torch.from_numpy(np.array(reference_view(path))).permute(2, 0, 1).float()
        assert (view - wanted).abs().mean() < 0.6


def test_the_image_for_people_shows_the_pixels_for_the_trunk(drawn: Path) -> None:
    for path in sorted(drawn.rglob("*.png")):
        shown = torch.from_numpy(np.array(upright_image(path.read_bytes()))).permute(2, 0, 1)
        assert torch.equal(shown, decode(path.read_bytes()))


@given(width=st.integers(1, 2000), height=st.integers(1, 2000), within=st.sampled_from([50, 320, 1280]))
@settings(deadline=None, max_examples=60)
def test_an_image_to_be_made_smaller_leaves_its_decoder_about_that_small(width: int, height: int, within: int) -> None:
    photo = picture().resize((width, height))
    whole, shown = upright_image(data := encoded(photo, "JPEG")), upright_image(data, within=within)
    assert max(shown.size) >= min(within * 7 / 8, max(photo.size))  # sharp, or all there is
    assert max(shown.size) < max(2 * within, max(photo.size) / 8 + 1)  # and less by much than a large photo is
    assert np.allclose(shown.size, np.array(photo.size) * max(shown.size) / max(photo.size), atol=1)
    wanted = np.asarray(whole.resize(shown.size, Image.Resampling.BOX), float)
    assert min(shown.size) < 16 or np.abs(np.asarray(shown, float) - wanted).mean() < 6  # a stripe is all edges
