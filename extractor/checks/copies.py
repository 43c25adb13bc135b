"""Copies made of some of the user's photos, and small grey pictures: `duplicates` knows near-copies by these."""

import hashlib
import io
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from petrieve.extractor.pixels.decode import decode, decode_small, upright_image
from petrieve.extractor.pixels.view import canonical_view
from petrieve.extractor.sources.reading import Reader
from petrieve.extractor.trunks.choice import Compute, asking_trunk
from petrieve.extractor.trunks.trunk import Trunk
from petrieve.store.cache import Cache
from petrieve.store.cores import CORES
from petrieve.store.digests import as_bytes
from petrieve.store.errors import Undecodable
from petrieve.store.near import keep, kept
from petrieve.store.photo import path_of

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from torch import Tensor

Look = TypeVar("Look")
# Pixels of an edge; the larger for a closer look at one scene in two framings.
GLANCE, LARGER = 24, 96
SHARPNESS = 512  # pixels of the longer edge, so that sizes do not count
PALETTE, MAX_PIXELS = 256, 65_536  # colours; pixels that are counted
# What copies are kept by; its number grows with each change of how they are made or looked at.
RECIPE = "made copies 1"
DIGEST_BYTES = 64  # of BLAKE2b
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True, eq=False)
class Copies:
    """Copies of one kind (n): the photos that they were made of, embeddings of both, and the copies' grey pictures."""

    kind: str  # `re-encoded`, `resized`, `mirrored` or `cropped`
    rows: list[int]
    originals: "np.ndarray"  # the photos' embeddings (n, D)
    embeddings: "np.ndarray"  # theirs (n, D)
    glances: "np.ndarray"  # (n, 24, 24)
    larger: "np.ndarray"  # (n, 96, 96)


def make_copies(
    cache: Cache,
    compute: Compute,
    *,
    photos: int = 48,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Copies]:
    """Copies of each kind of some photos of a cache, drawn by a seed; unreadable photos are left out.

    Their embeddings and looks are kept on this machine for the next call; `tell` hears where they are made.

    Raises:
        PetrieveError: the weights or the device cannot be used.
    """
    import numpy as np

    contents, embeddings = cache.sample(photos, seed=seed)
    listed = cache.photos_of(contents, ["root", "uri", "gone", "reason"]).to_pylist()
    rows = {row["digest"]: row for row in listed if row["gone"] is None and row["reason"] is None}
    known = [(rows[one], place) for place, one in enumerate(as_bytes(contents)) if one in rows]
    drawn = b"".join(row["digest"] for row, _ in known)
    file = kept(f"{RECIPE} {cache.fingerprint} {seed} {drawn.hex()}")
    is_plain = compute == Compute()  # a device that is named is tried, whatever is kept
    looks = _read(file) if is_plain else None
    if looks is None:
        tell(f"measuring on copies made of {len(known)} of your photos")
        trunk = asking_trunk(cache, compute)
        pictures = _pictures(cache, [path_of(row["root"], row["uri"]) for row, _ in known], seed)
        looks = _looks(pictures, trunk, embeddings[:0])
        if is_plain and pictures and len(pictures) == len(known):
            _write(file, looks)
        known = [known[place] for place in pictures]
    places = np.array([place for _, place in known], np.int64)
    ids = [row["_rowid"] for row, _ in known]
    of_kind = {kind: [looks[f"{kind} {what}"] for what in ("embeddings", "glances", "larger")] for kind in COPY_KINDS}
    return [Copies(kind, ids, embeddings[places], *each) for kind, each in of_kind.items()]


def _pictures(cache: Cache, paths: list[str], seed: int) -> "dict[int, list[Tensor]]":
    """The pixels of a copy of each kind of photos, by their places; without those that cannot be read."""
    import numpy as np

    read, draw = Reader(cache), np.random.default_rng(seed)
    read.know(paths)
    made: dict[int, list[Tensor]] = {}
    for place, path in enumerate(paths):
        with suppress(OSError, Undecodable):
            original = upright_image(read(path))
            made[place] = [decode(make(original, draw)) for make in COPY_KINDS.values()]
    return made


def _looks(pictures: "dict[int, list[Tensor]]", trunk: Trunk, none: "np.ndarray") -> "dict[str, np.ndarray]":
    """The embeddings and looks of these pictures, by kind; `none` are embeddings of no photo, (0, D)."""
    import numpy as np
    import torch

    found: dict[str, np.ndarray] = {}
    for number, kind in enumerate(COPY_KINDS):
        copies = [made[number] for made in pictures.values()]
        views = [canonical_view(pixels) for pixels in copies]
        parts = [views[start : start + trunk.batch] for start in range(0, len(views), trunk.batch)]
        found[f"{kind} embeddings"] = np.concatenate([none, *(trunk(torch.stack(part)).numpy() for part in parts)])
        found[f"{kind} glances"] = np.array([_glance(pixels) for pixels in copies], np.uint8)
        found[f"{kind} larger"] = np.array([_glance(pixels, LARGER) for pixels in copies], np.uint8)
    return found


def _write(file: Path, looks: "dict[str, np.ndarray]") -> None:
    """Keep looks for the next call, with a digest of them; where that cannot be, they are made again."""
    from safetensors.numpy import save

    data = save(looks)
    keep(file, data + hashlib.blake2b(data).digest())


def _read(file: Path) -> "dict[str, np.ndarray] | None":
    """The looks that were kept; None where there are none, or they are damaged."""
    from safetensors.numpy import load

    try:
        kept_bytes = file.read_bytes()
    except OSError:
        return None
    data, digest = kept_bytes[:-DIGEST_BYTES], kept_bytes[-DIGEST_BYTES:]
    return load(data) if hashlib.blake2b(data).digest() == digest else None


def glances(paths: Iterable[str], size: int = GLANCE, read: Reader | None = None) -> "dict[str, np.ndarray]":
    """A small grey picture of each photo, uint8 (24, 24) whatever its shape; unreadable photos are left out."""
    read = read or Reader()
    listed = read.know(paths)
    with ThreadPoolExecutor(CORES) as threads:
        found = threads.map(partial(_of_file, partial(_glance, size=size), read), listed)
        return {path: glance for path, glance in zip(listed, found, strict=True) if glance is not None}


def sharpness(path: str, read: Reader) -> float:
    """How much detail a photo shows: the variance of its Laplacian at a common size; 0 if it cannot be read.

    It is 0 for a picture with a palette too: dithered dots would pass for detail. Pech-Pacheco et al.,
    "Diatom autofocusing in brightfield microscopy" (2000).
    """
    found = _of_file(_sharpness, read, path)
    return 0.0 if found is None else float(found)


def _of_file(look: "Callable[[Tensor], Look]", read: Reader, path: str) -> Look | None:
    try:
        return look(decode_small(read(path), keep_damaged=True).pixels)
    except (OSError, Undecodable, MemoryError):
        return None


def _glance(pixels: "Tensor", size: int = GLANCE) -> "np.ndarray":
    from torch.nn.functional import interpolate

    small = interpolate(_grey(pixels), (size, size), mode="bilinear", antialias=True)
    return small[0, 0].round().byte().numpy()


def _sharpness(pixels: "Tensor") -> float:
    from torch.nn.functional import interpolate

    if _is_of_a_palette(pixels):
        return 0.0
    longer = max(pixels.shape[-2:])
    size = [max(3, round(side * SHARPNESS / longer)) for side in pixels.shape[-2:]]
    grey = interpolate(_grey(pixels), size, mode="bilinear", antialias=True)[0, 0]
    middle = grey[1:-1, 1:-1]
    edges = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * middle
    return float(edges.var())


def _is_of_a_palette(pixels: "Tensor") -> bool:
    """Whether a picture in colour (3, H, W) has no more than the 256 that a GIF can have."""
    red, green, blue = pixels.flatten(1).int()
    colours = (red << 16 | green << 8 | blue)[:: 1 + len(red) // MAX_PIXELS]
    return len(colours.unique()) <= PALETTE and not bool((red == green).logical_and(green == blue).all())


def _grey(pixels: "Tensor") -> "Tensor":
    """uint8 (3, H, W) → float32 (1, 1, H, W), 0 to 255."""
    import torch

    return (pixels.float() * torch.tensor(LUMA)[:, None, None]).sum(0)[None, None]


def _jpeg(image: "Image.Image", quality: int) -> bytes:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return data.getvalue()


def _resized(image: "Image.Image", draw: "np.random.Generator") -> bytes:
    scale = draw.uniform(0.4, 1.5)
    return _jpeg(image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale)))), 85)


def _mirrored(image: "Image.Image", draw: "np.random.Generator") -> bytes:
    from PIL.Image import Transpose

    return _jpeg(image.transpose(Transpose.FLIP_LEFT_RIGHT), int(draw.integers(60, 95)))


def _cropped(image: "Image.Image", draw: "np.random.Generator") -> bytes:
    """Another framing of the scene: 80 to 95 % of each side, lighter or darker."""
    width, height = (max(1, round(side * draw.uniform(0.8, 0.95))) for side in image.size)
    left, top = int(draw.integers(0, image.width - width + 1)), int(draw.integers(0, image.height - height + 1))
    light = draw.uniform(0.8, 1.2)
    part = image.crop((left, top, left + width, top + height)).point(lambda level: min(255, int(level * light)))
    return _jpeg(part, 85)


COPY_KINDS: "dict[str, Callable[[Image.Image, np.random.Generator], bytes]]" = {
    "re-encoded": lambda image, draw: _jpeg(image, int(draw.integers(40, 90))),
    "resized": _resized,
    "mirrored": _mirrored,
    "cropped": _cropped,
}
