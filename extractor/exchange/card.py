"""What an export says of itself: what its embeddings depend on, and that it is ours."""

import json
from pathlib import Path
from typing import Any

from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError
from petrieve.store.rows import own

MAKER = "petrieve"  # the key of our metadata in a Parquet file; in JSON, of the name of the file that it describes
CARD = "petrieve.json"  # a folder's
FORMAT = 2  # format 1 has no number; it had `embeddings.parquet`, and times that torch does not take


def card(cache: Cache, *, unit_length: bool = False) -> dict[str, Any]:
    """What exported embeddings depend on, and which of the columns beside them are the user's own."""
    made = {"trunk": cache.made.kind, "fingerprint": cache.fingerprint, "weights": cache.weights}
    columns = [name for name in own(cache.photo_schema) if name != "photo"]  # so is called what photos are known by
    return {"format": FORMAT, **made, "unit_length": unit_length, "columns": columns}


def check_own(file: Path) -> None:
    """Refuse to overwrite a Parquet or JSON file that is not an export.

    Raises:
        PetrieveError: the file is there, and does not say that we have written it.
    """
    if file.is_file() and file.stat().st_size and not _is_own(file):
        raise PetrieveError(f"{file} is there already, and no export", "name another file")


def _is_own(file: Path) -> bool:
    from pyarrow import parquet

    try:
        if file.suffix == ".json":
            return MAKER in json.loads(file.read_bytes())
        with file.open("rb") as opened:  # by its path, Arrow would take run:1 for an address
            return MAKER.encode() in (parquet.read_schema(opened).metadata or {})
    except (OSError, ValueError, TypeError, RecursionError):
        return False
