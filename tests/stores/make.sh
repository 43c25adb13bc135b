#!/bin/sh
# Makes the store of today's format anew: `tests/stores/make.sh` from the root of the checkout, in its environment.
# One is made when FORMAT is raised; those of earlier formats stay as their releases wrote them.
set -eu
format=$(sed -n 's/^FORMAT = \([0-9]*\).*/\1/p' store/folder.py)
new=tests/stores/$format
made=/tmp/petrieve-stores/$format # the photos' paths are in the store
rm -rf "$new" "$made"
mkdir -p "$made"
python cli.py sample "$made/photos" --photos 6
python - "$made"/photos/*/* <<'END'
import sys
from PIL import Image
for name in sys.argv[1:]:
    photo = Image.open(name)
    photo.thumbnail((120, 120))
    photo.save(name)
END
printf 'no photo' > "$made/photos/bad.jpg"
printf 'photo,name\n%s,Milo\n' "$(cd "$made/photos" && ls cat/* | head -1)" > "$made/pets.csv"
python cli.py embed "$made/photos" --labels "$made/pets.csv" --weights bundled --views 1 --store "$made/store"
python cli.py fit-head --store "$made/store"
python cli.py similar "$(ls "$made"/photos/dog/* | head -1)" --store "$made/store"
rm "$made/store/.lock" "$made/pets.csv"
mv "$made" "$new"
