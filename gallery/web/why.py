"""Why are two photos alike: where in the one is what the other has."""

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from petrieve.extractor.places import likeness, places, seen
from petrieve.gallery.web.desk import Desk, digest_from, embedded_of, file_of
from petrieve.gallery.web.page import desk_of, page
from petrieve.store.digests import as_bytes
from petrieve.store.errors import PetrieveError, Undecodable
from petrieve.store.rows import unit_length

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SIDE = 224  # pixels of a view
HUE = (255, 60, 0)  # seen on fur of any colour
DRAWN = 0.8  # of the most that hides a photo
TRIED = 21  # photos at random, for one in their middle that is still there
ASKED = "name two photos in the address: ?a=DIGEST&b=DIGEST"


@dataclass(frozen=True)
class Side:
    """A photo of a pair, as addresses hold pictures, with how many of its places half of the likeness comes from."""

    photo: str
    heat: str
    half: int


@dataclass(frozen=True)
class Pair:
    """Two photos, how alike they are, and where."""

    cosine: float
    sides: tuple[Side, Side]


def explained(desk: Desk, one: bytes, other: bytes) -> tuple[Pair, Pair]:
    """A pair, and as a control the first photo with one that it is as like as most of the store's.

    Raises:
        PetrieveError: a photo is gone.
    """
    views = [_view(desk, one), _view(desk, other), _ordinary(desk, one, other)]
    found = places(desk.store.warm(desk.store.cache())(), views)
    pairs = [likeness(found[0], found[1]), likeness(found[0], found[2])]
    most = max(float(heat.max()) for pair in pairs for heat in pair)  # one scale, or a weak map would look strong
    first = Pair(float(pairs[0][0].sum()), (_side(views[0], pairs[0][0], most), _side(views[1], pairs[0][1], most)))
    second = Pair(float(pairs[1][0].sum()), (_side(views[0], pairs[1][0], most), _side(views[2], pairs[1][1], most)))
    return first, second


def _view(desk: Desk, digest: bytes) -> "Tensor":
    data = file_of(desk, digest)
    if data is None:
        raise PetrieveError("a photo of the two is no longer where it was", "ask about another one")
    try:
        return seen(data)
    except (Undecodable, MemoryError) as error:
        raise PetrieveError(f"a photo of the two cannot be read: {error}", "ask about another one") from error


def _ordinary(desk: Desk, one: bytes, other: bytes) -> "Tensor":
    """Of photos at random that which the first is as like as most: the same whenever these two are asked about."""
    import numpy as np

    index = desk.store.index()
    asked = embedded_of(desk, one, index)
    drawn, vectors = index.cache.sample(TRIED, seed=int.from_bytes(one[:4] + other[:4]))
    cosines = unit_length(vectors) @ (unit_length(asked.views[:1])[0] if asked else vectors[0])
    for digest in as_bytes(drawn[np.argsort(np.abs(cosines - np.median(cosines)))]):
        if digest not in (one, other) and (data := file_of(desk, digest)):
            return seen(data)
    raise PetrieveError("no third photo is at hand to compare with", "see whether the photos are where they were")


def _side(view: "Tensor", heat: "np.ndarray", most: float) -> Side:
    """A photo as the trunk sees it, and over it where the likeness comes from."""
    import numpy as np
    from PIL import Image

    photo = Image.fromarray(view.permute(1, 2, 0).numpy())
    strength = Image.fromarray((heat / max(most, 1e-9) * DRAWN * 255).clip(0, 255).astype(np.uint8))
    over = Image.new("RGB", photo.size, HUE)
    over.putalpha(strength.resize(photo.size, Image.Resampling.BICUBIC))
    sums = np.cumsum(np.sort(heat.ravel())[::-1])
    return Side(_address(photo, "JPEG"), _address(over, "PNG"), int((sums < sums[-1] / 2).sum()) + 1)


def _address(image: "object", kind: str) -> str:
    data = io.BytesIO()
    image.save(data, kind)  # type: ignore[attr-defined]
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"


async def _why(asked: Request) -> Response:
    """The page about a pair."""
    desk = desk_of(asked)
    one, other = (digest_from(asked.query_params.get(name, "")) for name in ("a", "b"))
    if one is None or other is None:
        return page(asked, "problem.html", 422, problem=ASKED)
    pair, control = await desk.decoding.run(explained, desk, one, other)
    back = f"?photo={one.hex()}"
    return page(asked, "why.html", pair=pair, control=control, one=one.hex(), other=other.hex(), back=back)


routes = [Route("/why", _why)]
