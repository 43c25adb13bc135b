"""Text in a terminal: escaped where it cannot be written, help without boxes where it is narrow, and options' names."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Done

import petrieve
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


def test_an_error_names_a_parameter_in_python_and_its_option_in_a_terminal(
    run: Run, drawn: Path, tmp_path: Path
) -> None:
    for given, options, python, terminal in (
        ({"forget": 3}, ("--forget", 3), "`forget=…` goes with `prune=True`", "`--forget` goes with `--prune`"),
        ({"device": "mars"}, ("--device", "mars"), 'use `device="cpu"`', "use `--device cpu`"),
        ({"label_level": 9}, ("--label-level", 9), "a smaller `label_level=…`", "a smaller `--label-level`"),
    ):
        with pytest.raises(petrieve.PetrieveError) as caught:
            petrieve.open(tmp_path / "s").embed(drawn, weights="bundled", quiet=True, **given)
        done = run("embed", drawn, "--weights", "bundled", "--store", tmp_path / "s", *options)
        assert python in str(caught.value)
        assert (done.status, terminal in done.err) == (1, True)
