"""What a photo's name and its folders say of it: label and split."""

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

from petrieve.store.columns import plain
from petrieve.store.photo import Photo

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "test1": "test",  # Kaggle's name for it
}
PETS_TOO = ("val", "dev")  # of these, names of pets too
PARENT = -1  # the level of the folder that a photo lies in
ARCHIVE = re.compile(r"\.(zip|tar|tgz|tbz2?|tzst|tar\.(gz|zst|bz2)|parquet|lance)$", re.IGNORECASE)
_SHARD = re.compile(r"(^|[-_.])\d+(-of-\d+(-[0-9a-f]{16})?)?$")
_KAGGLE = re.compile(r"(cat|dog)\.\d+\.\w+", re.IGNORECASE)
Folder = tuple[str, str]  # a root, and a folder below it


class FromPath(NamedTuple):
    """What a name or a folder says of a photo, and which of the two gave the label."""

    label: str | None
    split: str | None
    by: str | None


@dataclass(frozen=True, slots=True)
class Way:
    """The folders that lead from a source to photos."""

    source: str | None  # the name of the source, unless that is a split
    below: tuple[str, ...]  # the folders below it, without those that are splits
    split: str | None  # of the nearest folder that is a split

    def label(self, level: int) -> str | None:
        """The folder at this level: 1 is the first below the source, 0 the source itself, PARENT the last."""
        if level == 0:
            return self.source
        return self.below[max(level, 0) - 1] or None if len(self.below) >= abs(level) else None


@dataclass(frozen=True)
class Naming:
    """How photos are labelled: by the folder at one level, else by Kaggle's names; by these alone where it is None."""

    ways: Mapping[Folder, Way]
    level: int | None

    def of(self, photo: Photo) -> FromPath:
        """What name and folders say of a photo whose folder is among the ways."""
        folder, _, name = photo.uri.rpartition("/")
        way = self.ways[photo.root, folder]
        label = way.label(self.level) if self.level is not None else None
        if label is not None:
            return FromPath(label, way.split, "folders")
        label = kaggle(name)
        return FromPath(label, way.split, label and "names")


def folder_name(name: str) -> str:
    """The name of a folder, or of the folder that an archive is unpacked to: shards of one set have the same.

    `train` for `train.zip` and `train-00000-of-00004.parquet`, nothing for `00012.tar`.
    """
    stem = ARCHIVE.sub("", name)
    return _SHARD.sub("", stem) if stem != name else name


def kaggle(name: str) -> str | None:
    """`cat` for Kaggle's `cat.123.jpg`."""
    if name[:4].lower() not in ("cat.", "dog."):
        return None
    found = _KAGGLE.fullmatch(name)
    return found[1].lower() if found else None


def tree_of(folders: Iterable[Folder]) -> dict[Folder, set[str]]:
    """The names of the folders in each folder, for these folders of photos and those that they lie in."""
    tree: dict[Folder, set[str]] = {}
    for root, folder in folders:
        inner = tree.setdefault((root, folder), set())
        while folder:
            above, _, name = folder.rpartition("/")
            known = (root, above) in tree
            inner = tree.setdefault((root, above), set())
            inner.add(name)
            if known:
                break
            folder = above
    return tree


def ways_of(tree: Mapping[Folder, set[str]], beside: Collection[str] = ()) -> dict[Folder, Way]:
    """The way to each folder of a tree; the roots that are `beside` each other are siblings, as folders in one are."""
    sources = {folder_name(os.path.basename(root)) for root in beside}
    ways: dict[Folder, Way] = {}
    for root, folder in sorted(tree):
        above, _, name = folder.rpartition("/")
        name = folder_name(name if folder else os.path.basename(root))
        if folder:
            way, siblings = ways[root, above], set(map(folder_name, tree[root, above]))
        else:
            way, siblings = Way(None, (), None), sources if root in beside else {name}
        if is_split(name, siblings, tree[root, folder]):
            ways[root, folder] = replace(way, split=SPLITS[name.lower()])
        elif folder:
            ways[root, folder] = replace(way, below=(*way.below, plain(name))) if name else way
        elif root in beside or not beside:
            ways[root, folder] = replace(way, source=plain(name) or None)
        else:
            ways[root, folder] = way
    return ways


def is_split(name: str, siblings: Collection[str], inner: Iterable[str]) -> bool:
    """Whether a folder of this name, with these siblings and these folders in it, is a split.

    One whose name pets have too is not a split among folders that are not, unless there is another split, or its
    siblings' names are in it too.
    """
    if name.lower() not in SPLITS:
        return False
    others = {one for one in siblings if one.lower() not in SPLITS}
    certain = any(one.lower() in SPLITS and one.lower() not in PETS_TOO for one in (name, *siblings))
    return certain or not others or not others.isdisjoint(inner)


def mixed(
    tree: Mapping[Folder, set[str]], beside: Collection[str]
) -> Iterator[tuple[list[str], Collection[str], bool]]:
    """Where folders with names of splits lie among others: their names, the others', and whether they are splits."""
    groups = (
        {folder_name(name): tree[root, f"{above}/{name}".lstrip("/")] for name in tree[root, above]}
        for root, above in tree
    )
    for group in chain([{folder_name(os.path.basename(root)): tree[root, ""] for root in beside}], groups):
        splits = sorted(name for name in group if name.lower() in SPLITS)
        if 0 < len(splits) < len(group):
            yield splits, group.keys() - splits, is_split(splits[0], group, group[splits[0]])


def labels_at(level: int, ways: Iterable[Way]) -> set[str]:
    """The names of the folders at a level."""
    return {label for way in ways if (label := way.label(level)) is not None}


def first_level(ways: Collection[Way], *, first: int) -> int:
    """The level of the first folders that branch, from `first` on; `first` if none does."""
    level = first
    while names := labels_at(level, ways):
        if len(names) > 1:
            return level
        level += 1
    return first
