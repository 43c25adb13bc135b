"""Commands on a store of which no photo can be read any more."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Done

Run = Callable[..., Done]


def test_info_counts_the_photos_that_are_left(run: Run, none_left: Path) -> None:
    document = run("info", "--store", none_left, "--json").json
    assert (document["photos"], document["labels"], len(document["unreadable"])) == (0, {}, 6)
    assert run("info", "--store", none_left).out.startswith("0 photos, 6 views\n")


@pytest.mark.parametrize(
    "words",
    [
        "fit-head", "audit", "evaluate", "duplicates", "build-index", "build-map", "report", "verify", "doctor",
        "export pets.parquet", "similar a.jpg", "predict a.jpg",
    ],
)  # fmt: skip
def test_each_command_answers_in_a_line(run: Run, none_left: Path, few: Path, words: str) -> None:
    done = run(*words.split(), "--store", none_left)
    print(done)
    assert done.status in (0, 1)
    assert "Traceback" not in done.err
