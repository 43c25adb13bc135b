"""A store of which no photo can be read any more: every command says so in one line, or answers with nothing."""

from collections.abc import Callable
from pathlib import Path

from conftest import Done

Run = Callable[..., Done]
REFUSED = {
    "fit-head": "has a label",
    "audit": "has a label",
    "evaluate": "no two photos",
    "duplicates": "could be read to make copies of",
    "build-map": "there are no embeddings",
    "report": "there is no head",
}


def test_info_counts_what_is_left(run: Run, none_left: Path) -> None:
    document = run("info", "--store", none_left, "--json").json
    assert (document["photos"], document["views"], document["labels"], len(document["unreadable"])) == (0, 6, {}, 6)
    assert run("info", "--store", none_left).out.startswith("0 photos, 6 views\n")


def test_commands_answer_with_nothing_or_a_line(run: Run, none_left: Path) -> None:
    for command, reason in REFUSED.items():
        done = run(command, "--store", none_left)
        assert (done.status, done.out, done.err.count("\n"), reason in done.err) == (1, "", 1, True), done
    for words in (["build-index"], ["verify"], ["export", "pets.parquet"]):
        assert run(*words, "--store", none_left).status == 0
