"""The bytes of one photo → upright uint8 RGB pixels → the views that the trunk is shown."""

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from petrieve.extractor.pixels import jpeg
from petrieve.extractor.pixels.orientation import LYING, orientation, turned
from petrieve.extractor.pixels.own_process import decode_in_own_process
from petrieve.extractor.pixels.pillow import JPEG, PLAIN, Damaged, is_lost, opened, rgb
from petrieve.extractor.pixels.raw import is_raw, preview
from petrieve.extractor.pixels.view import ENOUGH
from petrieve.store.errors import PetrieveError, Undecodable, first_line

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from torch import Tensor

PREVIEW = "preview of a camera RAW"


class Decoded(NamedTuple):
    """A photo's pixels, as many as were wanted."""

    pixels: "Tensor"  # uint8 (3, H, W)
    width: int  # of the photo, upright
    height: int
    caveat: str | None  # a warning: they are a preview's, or some are lost


@dataclass(frozen=True, eq=False)
class Picture:
    """The same, as an array (H, W, 3), for which torch is not needed."""

    pixels: "np.ndarray"
    width: int
    height: int
    caveat: str | None


@dataclass(frozen=True)
class Wanted:
    """How many pixels of a photo are wanted; all of them, where nothing is said."""

    shorter: int = 0  # edge, at least: a JPEG leaves its decoder at a half, a quarter or an eighth of its size
    longer: int = 0  # edge, at most: a JPEG leaves it at so many eighths that nothing, or little, is left to be resized


ALL, FOR_VIEWS = Wanted(), Wanted(shorter=ENOUGH)


def decode(data: bytes) -> "Tensor":
    """The photo in `data` as uint8 (3, H, W) RGB: upright, transparency on white.

    JPEG, PNG, WebP, GIF (first frame), BMP, TIFF (first page), AVIF and HEIC, told by content, and the largest preview
    in a camera RAW. Pillow reads the headers; libjpeg-turbo decodes plain JPEG, Pillow plain PNG and WebP, and
    everything else too, in a process of its own.

    Raises:
        Undecodable: not one of these formats, damaged, cut short, over `max_megapixels`, of an unknown range, or more
            than its decoder can take; or its decoder raises what nobody expected.
        OSError: no process can be started for it.
    """
    return _as_tensor(_picture(data, ALL, keep_damaged=False).pixels)


def decode_small(data: bytes, *, keep_damaged: bool = False) -> Decoded:
    """As many pixels as `canonical_view` needs, and the upright photo's own size; damaged ones only if they are kept.

    A JPEG of more than twice that size leaves its decoder at a half, a quarter or an eighth of its own.

    Raises:
        Undecodable, OSError: as `decode`.
    """
    made = _picture(data, FOR_VIEWS, keep_damaged=keep_damaged)
    return Decoded(_as_tensor(made.pixels), made.width, made.height, made.caveat)


def decode_array(data: bytes, *, keep_damaged: bool = False) -> Picture:
    """What `decode_small` gives, without torch.

    Raises:
        Undecodable, OSError: as `decode`.
    """
    return _picture(data, FOR_VIEWS, keep_damaged=keep_damaged)


def upright_image(data: bytes, *, within: int = 0) -> "Image.Image":
    """The same picture as a Pillow image, without torch; of a damaged photo what is left.

    Where it will be made to fit `within` so many pixels, a JPEG leaves its decoder at about that size, or at less by an
    eighth at most.

    Raises:
        Undecodable, OSError: as `decode`.
    """
    from PIL import Image

    return Image.fromarray(_picture(data, Wanted(longer=within), keep_damaged=True).pixels)


def _picture(data: bytes, wanted: Wanted, *, keep_damaged: bool) -> Picture:
    try:
        return _by_content(data, wanted, keep_damaged)
    except (Undecodable, OSError, MemoryError, ImportError, PetrieveError):
        raise
    except Exception as error:  # a mistake in a decoder costs the photo that shows it, and not the run
        raise Undecodable(f"its decoder fails: {type(error).__name__}: {first_line(error)}") from error


def _by_content(data: bytes, wanted: Wanted, keep_damaged: bool) -> Picture:
    if is_raw(data):
        found = preview(data)
        made = _plain(found.data, wanted, keep_damaged, found.orientation)
        return replace(made, caveat=f"{PREVIEW}, {made.caveat}" if made.caveat else PREVIEW)
    return _plain(data, wanted, keep_damaged) if _begins_plainly(data) else _apart(data, keep_damaged)


def _begins_plainly(data: bytes) -> bool:
    """Whether the first bytes are those of a JPEG, PNG or WebP."""
    return data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def _plain(data: bytes, wanted: Wanted, keep_damaged: bool, otherwise: int = 1) -> Picture:
    """A JPEG, PNG or WebP; `otherwise` is its orientation if it has none."""
    try:
        with opened(data, PLAIN) as image:
            if _is_plain(image):
                turn = orientation(image, otherwise)
                width, height = image.size if turn not in LYING else image.size[::-1]
                pixels, lost = _in_this_thread(data, image, wanted)
                caveat = f"damaged {image.format}: {lost}" if lost else None
                if caveat and (not keep_damaged or is_lost(pixels)):
                    raise Damaged(caveat)
                return Picture(turned(pixels, turn), width, height, caveat)
    except Damaged:
        if not keep_damaged:
            raise
    return _apart(data, keep_damaged)


def _is_plain(image: "Image.Image") -> bool:
    """Whether its format's own decoder alone sees the picture, in colours that it knows."""
    several = getattr(image, "is_animated", False) and image.format not in JPEG
    return image.mode in ("RGB", "L") and "transparency" not in image.info and not several


def _in_this_thread(data: bytes, image: "Image.Image", wanted: Wanted) -> "tuple[np.ndarray, str | None]":
    """Pixels (H, W, 3) as they are stored, and what of them is lost."""
    import numpy as np

    if image.format in JPEG:
        return _of_jpeg(data, image, wanted)
    pixels = _by_torchcodec(data) if _is_for_torchcodec(image, wanted) else None
    return np.array(rgb(image)) if pixels is None else pixels, None


def _of_jpeg(data: bytes, image: "Image.Image", wanted: Wanted) -> "tuple[np.ndarray, str | None]":
    """The same of a JPEG, by libjpeg-turbo; by Pillow where that gives up."""
    import numpy as np

    if wanted.shorter and min(image.size) >= 2 * wanted.shorter:
        factor = wanted.shorter / min(image.size)
        image.draft(None, (int(image.width * factor), int(image.height * factor)))
    try:
        return jpeg.decoded(data, jpeg.about(image.size, wanted.longer) if wanted.longer else image.size)
    except ValueError:
        return np.array(rgb(image)), jpeg.lost(data)


def _is_for_torchcodec(image: "Image.Image", wanted: Wanted) -> bool:
    """Whether a picture is a WebP on its way to torch: nothing else must wait for torch's import."""
    on_its_way = wanted == FOR_VIEWS and sys.modules.get("torch") is not None
    return on_its_way and image.format == "WEBP" and not image.info.get("exif")


def _by_torchcodec(data: bytes) -> "np.ndarray | None":
    """A WebP's pixels (H, W, 3), as Pillow's in half the time; None if it is damaged: Pillow says how."""
    import torch
    from torchcodec import decoders

    # A writable copy: torch warns of every other kind.
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    try:
        pixels: Tensor = decoders.decode_webp(encoded, mode="RGB")  # type: ignore[attr-defined]
    except RuntimeError:
        return None
    return pixels.permute(1, 2, 0).numpy()


def _apart(data: bytes, keep_damaged: bool) -> Picture:
    import numpy as np

    width, height, pixels, lost = decode_in_own_process(data, keep_damaged=keep_damaged)
    return Picture(np.frombuffer(pixels, np.uint8).reshape(height, width, 3), width, height, lost)


def _as_tensor(pixels: "np.ndarray") -> "Tensor":
    import torch

    return torch.from_numpy(pixels).permute(2, 0, 1)  # (3, H, W)
