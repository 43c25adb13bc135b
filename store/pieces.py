"""A table's pieces: what many commits leave is merged, so that a table of any size has few.

Every manifest names all pieces, and is written anew by every commit, read by every opening. Three functions merge:
`merges` says what is to do, `merged` does one task of it, on any machine, and `commit_merges` puts the results in the
place of what they were made of. Rows keep their ids.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import lance

# How many rows pieces are merged to, and how many smaller ones there may be before. So each row is written four times
# at most, and 10⁹ rows have some 2,000 pieces. A piece of 65,536 rows takes 134 MB, and merging it some 180 of memory,
# one of a million 740; hence the many that may be there before.
PIECE = 4096
SIZES = ((PIECE, 64), (65_536, 64), (1 << 20, 1000))
# What one process merges at a time: the rest, in a store that an earlier release has made, waits for the next time.
MOST_ROWS = 2 << 20
PART = 256  # rows that are read at once


def merges(table: "lance.LanceDataset", under_way: Iterable[str] = (), *, most_rows: int | None = None) -> list[str]:
    """Tasks for `merged`, which may be done in any order and at once; none where a table has few small pieces.

    What tasks that are `under_way` merge is let be: of two merges of the same pieces only one can be committed. All of
    them together read `most` rows at most.
    """
    from lance.optimize import Compaction, CompactionTask

    busy = sorted(one.id for task in under_way for one in CompactionTask.from_json(task).fragments)  # type: ignore[attr-defined]
    pieces = [piece.metadata for piece in table.get_fragments()]
    sizes = [piece.physical_rows for piece in pieces if piece.id not in busy]
    floors = [0, *(rows for rows, _ in SIZES)]
    for (rows, few), floor in reversed(list(zip(SIZES, floors, strict=False))):
        if sum(floor <= size < rows for size in sizes) > few:  # with them, all that are smaller yet are merged
            how = {"target_rows_per_fragment": rows, "batch_size": PART, "excluded_fragment_ids": busy}
            plan = Compaction.plan(table, {**how, "max_source_rows": most_rows})  # type: ignore[typeddict-item]
            return [task.json() for task in plan.tasks]  # type: ignore[attr-defined]
    return []


def merged(place: Mapping[str, Any], task: str) -> str:
    """What came of a task of `merges`, for `commit_merges`; the table lies where `store.tables.address` says.

    It writes pieces that no version names yet.

    Raises:
        OSError: of Lance; they cannot be read or written.
    """
    import lance

    return _merged(lance.dataset(**place), task)


def _merged(table: "lance.LanceDataset", task: str) -> str:
    from lance.optimize import CompactionTask

    return str(CompactionTask.from_json(task).execute(table).json())  # type: ignore[attr-defined]


def commit_merges(table: "lance.LanceDataset", results: Sequence[str]) -> bool:
    """Whether what came of tasks has taken the place of what it was made of.

    It has not where rows in that have been changed, or merged otherwise, since the tasks were made: the table stays as
    it is. Rows that have been added meanwhile do not matter.

    Raises:
        OSError: of Lance; the table cannot be written to.
    """
    from lance.optimize import Compaction, RewriteResult

    try:
        Compaction.commit(table, [RewriteResult.from_json(one) for one in results])  # type: ignore[attr-defined]
    except OSError as error:
        if "commit conflict" not in str(error):
            raise
        return False
    return True


def merge_pieces(table: "lance.LanceDataset") -> None:
    """Merge small pieces here and now, where a table has many: one after the other, which takes the least memory."""
    if tasks := merges(table, most_rows=MOST_ROWS):
        commit_merges(table, [_merged(table, task) for task in tasks])
