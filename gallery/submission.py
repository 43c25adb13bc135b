"""Kaggle's submission file for dogs-vs-cats: a row for each photo, by the number that is its name."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from petrieve.gallery import spreadsheet
from petrieve.gallery.words import name, printable
from petrieve.store.errors import PetrieveError, listed
from petrieve.store.photo import path_of

CLASSES = ["cat", "dog"]
LISTED = 10


def ids(photos: Sequence[str], classes: Sequence[str]) -> dict[str, int]:
    """Each photo's number, by its name as it is printed.

    Raises:
        PetrieveError: the head's classes are not cat and dog, a name is not a number, or two photos have one number.
    """
    if sorted(classes) != CLASSES:
        raise PetrieveError(
            f"the head knows {listed(classes, LISTED)}, and a submission wants cat and dog",
            "fit a head on photos with these two labels, or leave out `kaggle=…`",
        )
    found: dict[int, str] = {}
    for photo in dict.fromkeys(photos):
        stem = Path(photo).stem
        if not (stem.isascii() and stem.isdigit()):
            raise PetrieveError(
                f"the name of {printable(photo)} is not a number", "a submission is of photos named like 1.jpg"
            )
        if int(stem) in found:
            raise PetrieveError(
                f"{printable(photo)} and {printable(found[int(stem)])} are both number {int(stem)}",
                "name only the folder of the photos to submit",
            )
        found[int(stem)] = photo
    return {photo: number for number, photo in found.items()}


def write_submission(
    file: Path,
    predictions: Sequence[dict[str, Any]],
    numbers: Mapping[str, int],
    *,
    labels: Mapping[str, int],
    clip: float,
) -> None:
    """Write `id,label` by id: the probability of dog, at least `clip` from 0 and 1.

    A photo that cannot be read has the share of dogs among the photos with these labels; stderr names it.

    Raises:
        PetrieveError: the file cannot be written.
    """
    cats, dogs = labels.get("cat", 0), labels.get("dog", 0)
    prior = dogs / (cats + dogs) if cats + dogs else 0.5
    rows, unreadable = [], []
    for one in predictions:
        photo = name(path_of(one["root"], one["photo"]))
        if "error" in one:
            unreadable.append(photo)
        dog = one["probabilities"]["dog"] if "label" in one else prior
        rows.append((numbers[photo], round(min(max(dog, clip), 1 - clip), 6)))
    spreadsheet.write(file, ["id", "label"], sorted(rows))
    if unreadable:
        what = f"{len(unreadable)} of {len(rows)} photos cannot be read ({printable(listed(unreadable, LISTED))})"
        print(f"{what}: each has {prior:.3f} in {file}, the share of dogs among the labelled photos", file=sys.stderr)
