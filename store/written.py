"""What a worker has made of some photos and written as embeddings that no version of the table names yet."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from petrieve.store.errors import PetrieveError
from petrieve.store.folder import Made, Store
from petrieve.store.photo import Photo
from petrieve.store.rows import Embedded, Unreadable, photo_table, row_of, vector_table
from petrieve.store.tables import address, writable

if TYPE_CHECKING:
    import pyarrow as pa

Result = Embedded | Unreadable
Outcome = tuple[int, str]  # a source of the run, by its number, and `embedded`, `copied` or `unreadable`


@dataclass(frozen=True, eq=False)
class Written:
    """What came of some photos, to be committed: every one of them is in `rows` or in `known`."""

    pieces: tuple[str, ...]  # of the table of embeddings: Lance's fragments, as JSON
    rows: "pa.Table"  # of photos that the store did not know, with their checksums
    known: tuple[Result, ...]  # of photos that it knew, without their embeddings
    outcomes: Counter["Outcome"]
    embeddings: int  # rows in the pieces
    size: int  # bytes of the photos


def write_results(
    store: Store,
    made: Made,
    results: Sequence[Result],
    schema: "pa.Schema",
    known: Collection[str],
    source: Callable[[Photo], int],
) -> Written:
    """What is to be committed of these results; `known` are the paths that the store has rows of, which have `schema`.

    `source` tells the number of a photo's source.

    Raises:
        PetrieveError: the store cannot be written to.
    """
    new = [one for one in results if isinstance(one, Embedded) and len(one.views)]
    rows = [row_of_result(one) for one in results if one.photo.path not in known]
    return Written(
        pieces=tuple(write_pieces(store, made, new)) if new else (),
        rows=photo_table(rows, schema),
        known=tuple(_without_views(one) for one in results if one.photo.path in known),
        outcomes=Counter((source(one.photo), outcome(one)) for one in results),
        embeddings=sum(len(one.views) for one in new),
        size=sum(max(one.photo.size, 0) for one in results),
    )


def together(some: Sequence[Written]) -> Written:
    """All that is to be committed of several, of one at least."""
    import pyarrow as pa

    return Written(
        pieces=tuple(piece for one in some for piece in one.pieces),
        rows=pa.concat_tables([one.rows for one in some]),
        known=tuple(result for one in some for result in one.known),
        outcomes=sum((one.outcomes for one in some), Counter[Outcome]()),
        embeddings=sum(one.embeddings for one in some),
        size=sum(one.size for one in some),
    )


def write_pieces(store: Store, made: Made, new: Sequence[Embedded]) -> list[str]:
    """Lance's fragments, as JSON, of the embeddings of these photos: written, and named by no version of the table.

    Raises:
        PetrieveError: the store cannot be written to.
    """
    import lance

    where = address(store.folder(made).vectors)
    table = vector_table(new)
    with writable(store):
        pieces = lance.fragment.write_fragments(table, where.pop("uri"), mode="append", **where)
    if sum(piece.physical_rows for piece in pieces) != len(table):
        raise PetrieveError(f"{len(table)} embeddings were not all written to {store.path}", "run the command again")
    return [json.dumps(piece.to_json()) for piece in pieces]


def row_of_result(result: Result) -> dict[str, Any]:
    """The row of a photo that the store did not know."""
    if isinstance(result, Unreadable):
        return row_of(result.photo, reason=result.reason)
    return row_of(result.photo, digest=result.digest, width=result.width, height=result.height, caveat=result.caveat)


def outcome(result: Result) -> str:
    """What came of a photo, in a word: `copied` where all its embeddings were there."""
    if isinstance(result, Unreadable):
        return "unreadable"
    return "embedded" if len(result.views) else "copied"


def _without_views(result: Result) -> Result:
    return result if isinstance(result, Unreadable) else replace(result, views=result.views[:0])
