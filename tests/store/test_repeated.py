"""Embeddings that several workers made at once are in the table once in the end."""

from collections import Counter

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from petrieve.store.cache import Cache
from petrieve.store.photo import Photo
from petrieve.store.repeated import repeated
from petrieve.store.rows import Embedded, vector_table

Row = tuple[int, int]  # content, view


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    commits=st.lists(
        st.lists(st.tuples(st.integers(1, 6), st.integers(0, 2)), min_size=1, max_size=8, unique=True),
        min_size=1,
        max_size=4,
    )
)
def test_of_each_content_and_view_one_row_stays(many: Cache, commits: list[list[Row]]) -> None:
    many._vectors.delete(
        " OR ".join(f"digest = X'{bytes([content] * 16).hex()}'" for content in range(1, 7))
    )  # of the example before
    before = many.rows_of_views
    for some in commits:
        many._vectors.insert(vector_table([made(row, many.dimension) for row in some]), mode="append")
    every = Counter(row for some in commits for row in some)
    in_shares = [len(ids) for ids, _ in repeated(many, at_once=50)]
    assert sum(in_shares) == every.total() - len(every)
    dropped = many.drop_repeated()
    wanted = Counter[bytes]()
    for (content, _), count in every.items():
        wanted[bytes([content] * 16)] += count - 1
    assert Counter(dropped) == +wanted
    there = Counter((row["digest"][0], row["view"]) for batch, _ in many.every_vector() for row in batch.to_pylist())
    assert all(there[row] == 1 for row in every)
    assert many.rows_of_views == before + len(every)
    assert not many.drop_repeated()


def made(row: Row, dimension: int) -> Embedded:
    content, view = row
    return Embedded(Photo("r", "p", 0, 0), bytes([content] * 16), 9, 9, np.full((1, dimension), content), view)
