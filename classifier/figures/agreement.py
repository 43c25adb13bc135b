"""How many photos several heads are all measured on, and how many each alone is right about."""

from collections.abc import Mapping


def alone(right: Mapping[str, Mapping[str, bool]]) -> tuple[int, dict[str, int]]:
    """How many photos all were measured on, and how many of these each was right about and no other.

    `right` says by name and path whether a head was right.
    """
    shared = set.intersection(*(set(photos) for photos in right.values())) if right else set()
    only = {
        name: sum(photos[path] and not any(right[other][path] for other in right if other != name) for path in shared)
        for name, photos in right.items()
    }
    return len(shared), only
