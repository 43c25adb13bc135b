"""What a photo's name and its folders say of it: label and split."""

import os
import re
from pathlib import Path

SPLITS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "test1": "test",  # Kaggle's name for it
}
_KAGGLE = re.compile(r"(cat|dog)\.\d+\.\w+", re.IGNORECASE)


def label_of(uri: str) -> str | None:
    """`cat` for Kaggle's `cat.123.jpg`; else the parent folder, unless that is a split or the source itself."""
    kaggle = _KAGGLE.fullmatch(os.path.basename(uri))
    if kaggle:
        return kaggle[1].lower()
    parent = os.path.basename(os.path.dirname(uri))
    return parent if parent and parent.lower() not in SPLITS else None


def split_of(root: str, uri: str) -> str | None:
    """The split that the nearest folder named for one says (`train`, `val`, `test`), the source included."""
    folders = [os.path.basename(root), *Path(uri).parts[:-1]]
    return next((SPLITS[name.lower()] for name in reversed(folders) if name.lower() in SPLITS), None)
