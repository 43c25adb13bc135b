"""Sorts photos that appear in a folder by their labels, unsure ones apart: python sort_folder.py STORE INBOX SORTED."""

import shutil
import sys
from pathlib import Path

import petrieve

store, inbox, target = petrieve.open(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
appearing = store.watch(inbox)
print(f"watching {inbox}", flush=True)
for seen in appearing:
    if isinstance(seen, petrieve.Neighbours):  # what cannot be read stays where it is
        photo = Path(seen.photos[0])
        (told,) = store.predict(photo, max_error="10%")
        folder = target / ("unsure" if told.unsure or told.unfamiliar or not told.label else told.label)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / photo.name).exists():
            shutil.move(photo, folder)
            print(f"{photo.name}: {folder.name}", flush=True)
