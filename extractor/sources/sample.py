"""Photos for trials: drawn cats and dogs, or the Oxford-IIIT Pet photos."""

import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from petrieve.store.errors import PetrieveError

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
At = Callable[[float, float], tuple[float, float]]  # a place relative to the head's middle

PHOTOS_OF_EACH_PET = 5
NAMES = "Momo Luna Oscar Bella Milo Nala Rocky Daisy Simba Frida Bruno Maple Pixel Olive Toto Hazel Kiwi Ziggy".split()
COATS: tuple[Colour, ...] = (
    (226, 148, 72), (70, 66, 68), (150, 150, 156), (238, 226, 206), (122, 82, 54), (196, 164, 120), (92, 98, 116),
)  # fmt: skip
EYES: tuple[Colour, ...] = ((120, 168, 80), (206, 168, 60), (96, 160, 200), (96, 62, 40))
GROUNDS: tuple[tuple[Colour, Colour], ...] = (
    ((178, 214, 240), (126, 178, 98)), ((236, 222, 198), (176, 128, 86)), ((214, 206, 226), (140, 128, 156)),
    ((250, 214, 180), (216, 168, 116)), ((120, 134, 160), (74, 80, 96)), ((206, 232, 222), (240, 240, 232)),
)  # fmt: skip
SIZES = ((500, 375), (375, 500), (400, 400), (640, 480), (320, 240), (1024, 768))
FORMATS = ("jpg", "jpg", "png", "jpg", "webp", "jpg", "jpg", "gif", "jpg", "bmp")
UNIT = 400  # the drawing's own square of coordinates, drawn at twice that and made smaller: smooth edges


@dataclass(frozen=True)
class Pet:
    """One animal: what stays the same from photo to photo."""

    kind: str
    name: str
    coat: Colour
    second: Colour
    eyes: Colour
    pattern: str
    ears: str


def draw_sample(folder: Path, *, photos: int = 120, seed: int = 0) -> int:
    """The number of pictures drawn: cats and dogs in turn, in `cat/` and `dog/`, the same for the same seed.

    Raises:
        PetrieveError: the folder cannot be written to, or `photos` is below 1.
    """
    if photos < 1:
        raise PetrieveError(f"cannot draw {photos} photos", "give `photos=…` a number from 1 on")
    for number in range(photos):
        kind = ("cat", "dog")[number % 2]
        of_kind = number // 2
        pet = _pet(kind, of_kind // PHOTOS_OF_EACH_PET, seed)
        chance = random.Random(f"{seed} {kind} {of_kind}")
        file = folder / kind / f"{pet.name}-{of_kind % PHOTOS_OF_EACH_PET + 1}.{FORMATS[of_kind % len(FORMATS)]}"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            _draw(pet, chance).save(file, quality=90)
        except OSError as error:
            raise PetrieveError(
                f"cannot write {file}: {error.strerror}", "name a folder that can be written to"
            ) from error
    return photos


def fetch_oxford_pets(folder: Path) -> int:
    """The number of photos of the Oxford-IIIT Pet dataset put into `train/` and `test/`, a folder for each breed.

    O. M. Parkhi, A. Vedaldi, A. Zisserman, C. V. Jawahar: "Cats and Dogs", CVPR 2012. Downloaded and checked
    by torchvision into `.download`, which may be removed afterwards.

    Raises:
        PetrieveError: the download fails.
    """
    from torchvision.datasets import OxfordIIITPet

    download = folder / ".download"
    try:
        OxfordIIITPet(download, download=True)
    except (OSError, RuntimeError) as error:
        raise PetrieveError(
            f"cannot download the Oxford-IIIT Pet photos: {error}", "check the network, or draw some with `sample DIR`"
        ) from error
    count = 0
    for split, name in _oxford_photos(download / "oxford-iiit-pet" / "annotations"):
        target = folder / split / name.rsplit("_", 1)[0] / f"{name}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        _link(download / "oxford-iiit-pet" / "images" / f"{name}.jpg", target)
        count += 1
    return count


def _oxford_photos(annotations: Path) -> Iterator[tuple[str, str]]:
    for file, split in (("trainval.txt", "train"), ("test.txt", "test")):
        for line in (annotations / file).read_text().splitlines():
            yield split, line.split()[0]


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)  # no second copy of 800 MB
    except OSError:
        shutil.copyfile(source, target)


def _pet(kind: str, number: int, seed: int) -> Pet:
    chance = random.Random(f"{seed} {kind} pet {number}")
    coat, second = chance.sample(COATS, 2)
    name = NAMES[(2 * number + (kind == "dog")) % len(NAMES)].lower()
    again = 2 * number // len(NAMES)
    return Pet(
        kind=kind,
        name=f"{name}{again + 1}" if again else name,
        coat=coat,
        second=second,
        eyes=chance.choice(EYES),
        pattern=chance.choice(("plain", "stripes", "patches", "bib")),
        ears=chance.choice(("pointed", "folded")) if kind == "dog" else "pointed",
    )


def _draw(pet: Pet, chance: random.Random) -> "Image.Image":
    """One picture of a pet: pose, tilt, place, background and size differ from picture to picture."""
    from PIL import Image, ImageDraw, ImageEnhance, ImageOps

    scale = 2
    canvas = Image.new("RGBA", (UNIT * scale, UNIT * scale))
    pen = _Pen(ImageDraw.Draw(canvas), scale)
    pose = chance.choice((_portrait, _sitting, _standing))
    pose(pen, pet, chance)
    turned = canvas.rotate(chance.uniform(-9, 9), resample=Image.Resampling.BICUBIC)
    turned = ImageOps.mirror(turned) if chance.random() < 0.5 else turned

    width, height = chance.choice(SIZES)
    picture = _background(width, height, chance)
    side = int(min(width, height) * chance.uniform(0.82, 1.15))
    animal = turned.resize((side, side), Image.Resampling.LANCZOS)
    left = (width - side) // 2 + int(chance.uniform(-0.08, 0.08) * width)
    picture.paste(animal, (left, height - side + int(0.04 * height)), animal)
    return ImageEnhance.Brightness(picture).enhance(chance.uniform(0.8, 1.15))


def _background(width: int, height: int, chance: random.Random) -> "Image.Image":
    from PIL import Image, ImageDraw

    far, near = chance.choice(GROUNDS)
    picture = Image.new("RGB", (width, height), far)
    pen = ImageDraw.Draw(picture)
    horizon = int(height * chance.uniform(0.5, 0.75))
    pen.rectangle((0, horizon, width, height), fill=near)
    for _ in range(chance.randrange(3, 9)):  # clouds, cushions, tufts: something that is not a pet
        x, y = chance.uniform(0, width), chance.uniform(0, height)
        size = chance.uniform(0.04, 0.16) * width
        tone = _mixed(far if y < horizon else near, (255, 255, 255), chance.uniform(0.1, 0.5))
        pen.ellipse((x - size, y - size / 2, x + size, y + size / 2), fill=tone)
    return picture


class _Pen:
    """Draws in the drawing's own coordinates."""

    def __init__(self, pen: "ImageDraw.ImageDraw", scale: int) -> None:
        self._pen, self._scale = pen, scale

    def ellipse(self, x: float, y: float, across: float, down: float, fill: Colour) -> None:
        box = (x - across, y - down, x + across, y + down)
        self._pen.ellipse([value * self._scale for value in box], fill=fill)

    def shape(self, points: Sequence[tuple[float, float]], fill: Colour) -> None:
        self._pen.polygon([(x * self._scale, y * self._scale) for x, y in points], fill=fill)

    def line(self, points: Sequence[tuple[float, float]], width: float, fill: Colour) -> None:
        scaled = [(x * self._scale, y * self._scale) for x, y in points]
        self._pen.line(scaled, width=int(width * self._scale), fill=fill, joint="curve")
        for x, y in (points[0], points[-1]):
            self.ellipse(x, y, width / 2, width / 2, fill)


def _portrait(pen: _Pen, pet: Pet, chance: random.Random) -> None:
    pen.ellipse(200, 420, 150, 110, pet.coat)
    if pet.pattern == "bib":
        pen.ellipse(200, 410, 70, 90, pet.second)
    _head(pen, pet, 200, 205, 1.45)


def _sitting(pen: _Pen, pet: Pet, chance: random.Random) -> None:
    if pet.kind == "cat":
        pen.line([(270, 370), (345, 360), (360, 300), (330, 260)], 20, pet.coat)
    else:
        pen.line([(275, 350), (330, 300)], 26, pet.coat)
    pen.ellipse(200, 310, 82, 95, pet.coat)
    if pet.pattern == "bib":
        pen.ellipse(200, 290, 44, 66, pet.second)
    _pattern(pen, pet, 200, 320, 70)
    for x in (165, 235):
        pen.ellipse(x, 345, 23, 55, _mixed(pet.coat, (0, 0, 0), 0.08))
        pen.ellipse(x, 392, 28, 15, pet.second if pet.pattern == "bib" else pet.coat)
    _head(pen, pet, 200, 165, 0.95)


def _standing(pen: _Pen, pet: Pet, chance: random.Random) -> None:
    lift = chance.uniform(-50, 20)
    tail = [(320, 240), (368, 200 + lift), (372, 130 + lift)] if pet.kind == "cat" else [(320, 235), (366, 180 + lift)]
    pen.line(tail, 18 if pet.kind == "cat" else 22, pet.coat)
    for x, tone in ((165, 0.16), (205, 0.04), (275, 0.16), (310, 0.04)):
        shift = chance.uniform(-10, 10)
        pen.line([(x, 280), (x + shift, 385)], 30 if pet.kind == "dog" else 24, _mixed(pet.coat, (0, 0, 0), tone))
    pen.ellipse(235, 265, 108, 62 if pet.kind == "dog" else 54, pet.coat)
    _pattern(pen, pet, 240, 260, 80)
    _head(pen, pet, 125, 185, 0.8)


def _pattern(pen: _Pen, pet: Pet, x: float, y: float, size: float) -> None:
    if pet.pattern == "stripes":
        for step in range(-2, 3):
            pen.line([(x + step * size / 3, y - 34), (x + step * size / 3 + 6, y + 14)], 9, pet.second)
    if pet.pattern == "patches":
        pen.ellipse(x - size / 2, y - 8, size / 3, size / 3.4, pet.second)
        pen.ellipse(x + size / 2, y + 12, size / 4, size / 5, pet.second)


def _head(pen: _Pen, pet: Pet, x: float, y: float, size: float) -> None:
    """A head around (x, y): ears, skull, coat, muzzle and eyes."""

    def at(dx: float, dy: float) -> tuple[float, float]:
        return x + dx * size, y + dy * size

    dark, light = _mixed(pet.coat, (0, 0, 0), 0.3), _mixed(pet.coat, (255, 255, 255), 0.55)
    (_cat_ears if pet.ears == "pointed" else _dog_ears)(pen, pet, at, size, dark)
    pen.ellipse(x, y, 84 * size, (74 if pet.kind == "cat" else 80) * size, pet.coat)
    if pet.pattern == "stripes":
        for dx in (-26, 0, 26):
            pen.line([at(dx, -66), at(dx * 0.8, -38)], 9 * size, pet.second)
    if pet.pattern == "patches":
        pen.ellipse(*at(-38, -22), 36 * size, 34 * size, pet.second)
    (_cat_face if pet.kind == "cat" else _dog_face)(pen, pet, at, size, light)


def _cat_ears(pen: _Pen, pet: Pet, at: At, size: float, dark: Colour) -> None:
    for side in (-1, 1):
        pen.shape([at(side * 80, -20), at(side * 74, -118), at(side * 14, -66)], pet.coat)
        pen.shape([at(side * 70, -46), at(side * 67, -96), at(side * 34, -66)], (228, 168, 164))


def _dog_ears(pen: _Pen, pet: Pet, at: At, size: float, dark: Colour) -> None:
    for side in (-1, 1):
        pen.ellipse(*at(side * 82, 4), 28 * size, 68 * size, dark)


def _cat_face(pen: _Pen, pet: Pet, at: At, size: float, light: Colour) -> None:
    ink = (40, 34, 34)
    for side in (-1, 1):
        pen.ellipse(*at(side * 34, -6), 19 * size, 16 * size, pet.eyes)
        pen.ellipse(*at(side * 34, -6), 5 * size, 15 * size, ink)
        pen.ellipse(*at(side * 16, 36), 22 * size, 17 * size, light)
        for rise in (-10, 2, 14):
            pen.line([at(side * 28, 34 + rise / 2), at(side * 112, 28 + rise * 2)], 2 * size, (246, 246, 246))
    pen.shape([at(-11, 18), at(11, 18), at(0, 32)], (214, 128, 132))


def _dog_face(pen: _Pen, pet: Pet, at: At, size: float, light: Colour) -> None:
    ink = (40, 34, 34)
    pen.ellipse(*at(0, 78), 17 * size, 32 * size, (226, 110, 122))
    pen.ellipse(*at(0, 44), 46 * size, 44 * size, light)
    pen.ellipse(*at(0, 20), 23 * size, 17 * size, ink)
    pen.line([at(0, 34), at(0, 62)], 4 * size, ink)
    pen.line([at(-26, 62), at(0, 66), at(26, 62)], 4 * size, ink)
    for side in (-1, 1):
        pen.ellipse(*at(side * 36, -16), 14 * size, 15 * size, ink)
        pen.ellipse(*at(side * 36 - 4, -21), 4 * size, 4 * size, (250, 250, 250))


def _mixed(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue
