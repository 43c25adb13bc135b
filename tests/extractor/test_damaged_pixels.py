"""Pixels that are partly lost: a decoder's complaint is listed with its photo, and with no other."""

import io
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np
import pytest
import torch
from conftest import Done
from PIL import Image

from petrieve.extractor.pixels.decode import decode, decode_small, upright_image
from petrieve.store.errors import Undecodable

Run = Callable[..., Done]
END = b"\xff\xd9"


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, format_, **options)
    return data.getvalue()


def noisy(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture of which every byte in a file counts."""
    levels = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return Image.fromarray(levels).resize((width, height), Image.Resampling.BICUBIC)


def overwritten(data: bytes, at: float, content: bytes) -> bytes:
    start = int(at * len(data))
    return data[:start] + content + data[start + len(content) :]


NOISE = np.random.default_rng(0).bytes(2048)


@pytest.mark.parametrize("size", [(500, 400), (1200, 1100)], ids=["whole", "shrunk by its decoder"])
@pytest.mark.parametrize("content", [bytes(2048), b"\xff" * 512, NOISE], ids=["zeros", "ones", "noise"])
def test_a_jpeg_that_has_lost_bytes_is_not_taken_for_whole(size: tuple[int, int], content: bytes) -> None:
    refused = 0
    for seed in range(6):
        whole = encoded(noisy(*size, seed), "JPEG", quality=90, progressive=seed % 2 == 1)
        assert decode_small(whole).caveat is None
        try:
            decode_small(overwritten(whole, 0.3 + seed / 12, content))
        except Undecodable as error:
            assert str(error) in ("damaged JPEG: corrupt data", "damaged JPEG: its pixels cannot be decoded")
            refused += 1
    assert refused >= 5  # a decoder that happens to find as many pixels as it wants complains of nothing


@pytest.mark.parametrize("cut", [0.5, 0.9, 0.99])
def test_a_jpeg_that_was_cut_says_so_and_what_is_left_is_had_for_the_asking(cut: float) -> None:
    image = noisy(500, 400)
    whole = encoded(image, "JPEG", quality=90)
    data = whole[: int(cut * len(whole))]
    with pytest.raises(Undecodable, match=r"^damaged JPEG: cut short$"):
        decode(data)
    left = decode_small(data, keep_damaged=True)
    assert (left.width, left.height, left.caveat) == (500, 400, "damaged JPEG: cut short")
    rows = int(cut * 400) - 20
    assert torch.equal(left.pixels[:, :rows], decode(whole)[:, :rows])
    assert np.array_equal(np.array(upright_image(data)), left.pixels.permute(1, 2, 0).numpy())


@pytest.mark.parametrize(
    "harmless",
    [
        lambda data: data[:-2] + b"\1" * 228 + END,  # a camera's padding
        lambda data: data[:-2] + bytes(5000) + END,
        lambda data: data[:-2] + b"\x12\x34\x56" + END,  # a webcam's
        lambda data: data[:-2] + b"\xff" * 30 + END,
        lambda data: data[:-2],
        lambda data: data[:-2] + bytes(3000),
        lambda data: data + b"junk" * 100,
        lambda data: data[:20] + b"junk" + data[20:],
    ],
    ids=["ones", "zeros", "three", "fill bytes", "no end", "zeros and no end", "behind the end", "between segments"],
)
def test_junk_around_a_jpegs_pixels_costs_nothing(
    harmless: Callable[[bytes], bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    for progressive in (False, True):
        whole = encoded(noisy(300, 240), "JPEG", progressive=progressive)
        made = decode_small(harmless(whole))
        assert made.caveat is None
        assert torch.equal(made.pixels, decode(whole))
    assert capfd.readouterr() == ("", "")


def test_nonsense_behind_all_pixels_costs_nothing() -> None:
    whole = encoded(noisy(300, 240), "JPEG")
    made = decode_small(whole[:-2] + b"\xff\x55" + NOISE + END)
    assert (made.caveat, made.width) == (None, 300)
    assert torch.equal(made.pixels, decode(whole))


def test_no_decoder_writes_to_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    image = noisy(120, 100)
    jpeg, png, tiff = encoded(image, "JPEG"), encoded(image, "PNG"), encoded(image, "TIFF", compression="tiff_lzw")
    lines = b"".join(b"\0" + row.tobytes() for row in np.asarray(image))

    def chunk(kind: bytes, content: bytes) -> bytes:
        sized = len(content).to_bytes(4, "big") + kind + content
        return sized + zlib.crc32(kind + content).to_bytes(4, "big")

    odd = [
        png[:33] + chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile" * 40)) + png[33:],
        png[:33] + chunk(b"gAMA", bytes(4)) + png[33:],
        png[:33] + chunk(b"IDAT", zlib.compress(lines + bytes(900))) + chunk(b"IEND", b""),
        png[:33] + chunk(b"IDAT", zlib.compress(lines) + bytes(900)) + chunk(b"IEND", b""),
        *(overwritten(data, 0.4, bytes(60)) for data in (jpeg, png, tiff)),
        overwritten(encoded(image, "WEBP"), 0.4, bytes(60)),
    ]
    for data in odd:
        for keep in (False, True):
            try:
                decode_small(data, keep_damaged=keep)
            except Undecodable as error:
                assert str(error).startswith("damaged")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("format_", ["PNG", "GIF", "BMP"])
def test_what_is_left_of_other_formats_is_had_too(format_: str) -> None:
    whole = encoded(noisy(300, 240), format_)
    data = whole[: len(whole) * 2 // 3]
    with pytest.raises(Undecodable, match=f"^damaged {format_}: cut short$"):
        decode_small(data)
    left = decode_small(data, keep_damaged=True)
    assert (left.width, left.height, left.caveat) == (300, 240, f"damaged {format_}: cut short")
    assert (left.pixels == decode(whole)).float().mean() > 0.6


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_a_photo_of_which_nothing_is_left_is_not_kept(format_: str) -> None:
    whole = encoded(noisy(300, 240), format_)
    place = whole.index(b"\xff\xda") + 14 if format_ == "JPEG" else whole.index(b"IDAT") + 6
    with pytest.raises(Undecodable, match=r"^damaged"):
        decode_small(whole[:place], keep_damaged=True)


@pytest.fixture
def lost(tmp_path: Path) -> Path:
    """A folder of a whole photo, one with junk before its end, and one of which pixels are lost."""
    folder = tmp_path / "p"
    folder.mkdir()
    whole = encoded(noisy(500, 400), "JPEG", quality=90)
    (folder / "junk.jpg").write_bytes(whole[:-2] + b"\1" * 228 + END)
    (folder / "lost.jpg").write_bytes(overwritten(whole, 0.4, bytes(2048)))
    (folder / "whole.jpg").write_bytes(whole)
    return folder


def test_a_damaged_photo_is_listed_unless_it_is_kept_and_then_it_is_marked(
    run: Run, lost: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "s"
    assert run("embed", lost, "--store", store, "--weights", "bundled").status == 0
    assert capfd.readouterr() == ("", ""), "no library writes to the terminal by itself"
    listed = [{"photo": "p/lost.jpg", "reason": "damaged JPEG: corrupt data"}]
    assert run("info", "--store", store, "--json").json["unreadable"] == listed

    assert run("embed", lost, "--store", store, "--keep-damaged", "--json").json["embedded"] == 1
    shutil.copy(lost / "lost.jpg", lost / "again.jpg")
    later = run("embed", lost, "--store", store, "--views", 1, "--json").json
    assert (later["unreadable"], later["views"]) == (0, 3), "once kept, it stays, and so does what has its bytes"
    info = run("info", "--store", store, "--json").json
    kept = [{"photo": f"p/{name}.jpg", "caveat": "damaged JPEG: corrupt data"} for name in ("again", "lost")]
    assert (info["unreadable"], info["caveats"]) == ([], kept)
    assert "embedded, but: 2 damaged JPEG: corrupt data" in run("info", "--store", store).out
    assert run("verify", "--store", store).out.endswith("all is well\n")
    whole = run("similar", lost / "whole.jpg", "--where", "caveat IS NULL", "--store", store, "--json").json
    assert {Path(one["photo"]).name for one in whole["neighbours"]}.isdisjoint({"lost.jpg", "again.jpg"})


def test_a_store_that_knows_no_caveats_is_read_and_learns_them(run: Run, lost: Path, tmp_path: Path) -> None:
    store = tmp_path / "s"
    whole = lost / "whole.jpg"
    assert run("embed", whole, "--store", store, "--weights", "bundled").status == 0
    lance.dataset(str(store / "photos.lance")).drop_columns(["caveat"])
    assert run("info", "--store", store, "--json").json["caveats"] == []
    assert run("similar", whole, "--store", store, "-k", 1).status == 0
    assert run("embed", lost, "--store", store, "--keep-damaged").status == 0
    assert [one["photo"] for one in run("info", "--store", store, "--json").json["caveats"]] == ["p/lost.jpg"]
    lance.dataset(str(store / "photos.lance")).drop_columns(["caveat"])
    found = [one["what"] for one in run("verify", "--store", store, "--json").json["findings"]]
    unsaid = f"{lost / 'lost.jpg'} was embedded as if it were whole: damaged JPEG: corrupt data"
    assert unsaid in found, "the row's own checksum tells of the column that was taken away too"
