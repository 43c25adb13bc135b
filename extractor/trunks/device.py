"""Where torch computes."""

from typing import TYPE_CHECKING

from petrieve.store.errors import PetrieveError

if TYPE_CHECKING:
    import torch


def named(name: str) -> "torch.device":
    """The device of this name; `auto` is a GPU where there is one.

    Raises:
        PetrieveError: there is no such device here.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(name)
        torch.empty(0, device=place)
        if not torch.amp.is_autocast_available(place.type):
            raise NotImplementedError(place.type)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise PetrieveError(
            f"there is no device {name!r} here", 'use `device="cpu"`, or `device="auto"` for the best one'
        ) from error
    return place
