"""What a photo's name and its folders say of it: label and split."""

import os
import re
from functools import lru_cache
from pathlib import Path

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
_KAGGLE = re.compile(r"(cat|dog)\.\d+\.\w+", re.IGNORECASE)


def label_of(name: str, folder: str) -> str | None:
    """`cat` for Kaggle's `cat.123.jpg`; else what `folder_label` says."""
    kaggle = _KAGGLE.fullmatch(name)
    return kaggle[1].lower() if kaggle else folder_label(folder)


@lru_cache(maxsize=1000)  # a folder's photos come one after the other
def folder_label(folder: str) -> str | None:
    """The name of a photo's folder, relative to the source, unless that is a split or the source itself."""
    parent = os.path.basename(folder)
    return parent if parent and parent.lower() not in SPLITS else None


@lru_cache(maxsize=1000)  # a folder's photos come one after the other
def split_of(root: str, folder: str) -> str | None:
    """The split that the nearest folder named for one says (`train`, `val`, `test`), the source included."""
    folders = [os.path.basename(root), *Path(folder).parts]
    return next((SPLITS[name.lower()] for name in reversed(folders) if name.lower() in SPLITS), None)
