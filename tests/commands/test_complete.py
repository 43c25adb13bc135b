"""What a shell offers when Tab is pressed."""

import os
import subprocess
import sys
from pathlib import Path

START = "import sys; sys.argv[0] = 'petrieve'; from petrieve.cli import main; main()"


def offered(*words: str, store: Path) -> list[str]:
    """What bash is offered for the last of these words, by a process of its own, as a shell asks it."""
    asked = {"_PETRIEVE_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(("petrieve", *words))}
    environment = {**os.environ, **asked, "COMP_CWORD": str(len(words)), "PETRIEVE_STORE": str(store)}
    done = subprocess.run([sys.executable, "-c", START], env=environment, capture_output=True, text=True)
    assert not done.stderr
    return done.stdout.strip().splitlines()


def test_commands_and_what_the_store_holds_are_offered(store: Path, drawn: Path) -> None:
    assert offered("comp", store=store) == ["compare-trunks"]
    assert offered("similar", "--group-by", "sp", store=store) == ["split"]
    assert "label = 'cat'" in offered("similar", "--where", '"label', store=store)
    assert "\"label = 'cat'\"" in offered("similar", "--where", "", store=store)
    for begun in ("label", "'label"):  # what bash could insert there would not be one word
        assert offered("similar", "--where", begun, store=store) == []
    assert [one[:11] for one in offered("similar", "--trunk", "dense", store=store)] == ["densenet121"]
    assert set(offered("similar", f"{drawn}/cat/", store=store)) == {str(path) for path in (drawn / "cat").iterdir()}


def test_without_a_store_a_shell_is_told_nothing(tmp_path: Path) -> None:
    for words in (("--where", ""), ("--trunk", ""), ("",)):
        assert offered("similar", *words, store=tmp_path / "none") == []
