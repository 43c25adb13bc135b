"""What a terminal cannot write is escaped, in all commands; a narrow one has help without boxes."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Done

from petrieve import cli

Run = Callable[..., Done]


def test_a_label_that_the_terminal_cannot_write_is_escaped(
    run: Run, store: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"cat": "猫", "dog": "Épagneul"}
    photos = sorted(drawn.rglob("*.*"))
    rows = [f"{photo.relative_to(drawn)},{names[photo.parent.name]}" for photo in photos]
    (tmp_path / "l.csv").write_text("\n".join(["photo,label", *rows]), "utf-8")
    assert run("embed", drawn, "--store", store, "--labels", tmp_path / "l.csv").status == 0

    def written(*words: object) -> str:
        out = io.TextIOWrapper(io.BytesIO(), "latin-1")
        with monkeypatch.context() as terminal:
            terminal.setattr(sys, "argv", ["cli.py", *map(str, words), "--store", str(store)])
            terminal.setattr(sys, "stdout", out)
            with pytest.raises(SystemExit) as stop:
                cli.main()
        assert not stop.value.code, words
        out.seek(0)
        return out.read()

    assert "labels: Épagneul 20, \\u732b 20\n" in written("info")
    assert "accuracy" in written("fit-head")
    assert "\\u732b" in written("predict", photos[0])
    assert "\\u732b" in written("similar", photos[0])
    assert "40 labelled photos" in written("audit")
    assert "2 values of label" in written("evaluate")


def test_help_names_each_option_in_a_narrow_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """In boxes of 40 columns, `--min-similarity` was `--min-s…`."""
    monkeypatch.setenv("COLUMNS", "40")
    narrow = run("similar", "--help").out
    assert ("--min-similarity" in narrow, "╭" in narrow) == (True, False)
    monkeypatch.setenv("COLUMNS", "80")
    wide = run("similar", "--help").out
    assert ("--min-similarity" in wide, "╭" in wide) == (True, True)
