"""The documentation as a site: it builds, its links hold, it fetches nothing, and it names all that there is."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from conftest import ROOT, Done

import petrieve
from petrieve import cli

sys.path.append(str(ROOT / "docs" / "site"))
import make_site

Run = Callable[..., Done]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    make_site.gather(folder)
    done = make_site.build(folder)
    assert done.returncode == 0, done.stdout
    return folder


def pages(nav: list[dict[str, object]]) -> Iterator[str]:
    for entry in nav:
        for place in entry.values():
            yield from pages(place) if isinstance(place, list) else [str(place)]


def test_the_menu_has_every_page_and_no_other(site: Path) -> None:
    menu = list(pages(tomllib.loads((site / "zensical.toml").read_text())["project"]["nav"]))
    assert sorted(menu) == sorted(str(file.relative_to(site / "pages")) for file in site.rglob("pages/**/*.md"))
    assert all((site / "html" / page.replace("README", "index")).with_suffix(".html").is_file() for page in menu)


def test_the_reference_has_every_command_option_and_public_name(site: Path) -> None:
    commands = (site / "pages" / "docs" / "reference" / "commands.md").read_text()
    for name, command in typer.main.get_command(cli.app).commands.items():  # type: ignore[attr-defined]
        (section,) = re.findall(rf"^### {name}\n(.*?)(?=^##|\Z)", commands, re.MULTILINE | re.DOTALL)
        assert all(f"`{opts}" in section for one in command.params for opts in one.opts if opts[0] == "-"), name
    python = (site / "pages" / "docs" / "reference" / "python.md").read_text()
    headings = re.findall(r"^#+ (?:petrieve\.)?([\w.]+)$", python, re.MULTILINE)
    assert set(petrieve.__all__) <= set(headings)
    assert {f"Store.{name}" for name in ("embed", "fit_head", "similar", "to_arrow")} <= set(headings)
    assert " at 0x" not in python


def test_a_reader_s_browser_fetches_nothing_from_elsewhere(site: Path) -> None:
    for page in (site / "html").rglob("*.html"):
        fetched = re.findall(
            r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=\"?(?:https?:)?//[^\"> ]*", page.read_text()
        )
        assert fetched == [], page


def test_a_broken_link_or_anchor_ends_the_build(site: Path) -> None:
    page = site / "pages" / "docs" / "glossary.md"
    before = page.read_text()
    try:
        for link, reason in {"nowhere.md": "page does not exist", "guide.md#nowhere": "anchor does not exist"}.items():
            page.write_text(f"{before}\n[broken]({link})\n")
            done = make_site.build(site)
            assert done.returncode == 1
            assert reason in done.stdout
    finally:
        page.write_text(before)


def test_start_in_five_minutes_runs_as_it_is_shown(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "start.md").read_text()
    typed = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    assert len(typed) > 8
    for line in typed:
        program, *words = line.split()
        if program == "petrieve" and words != ["gallery"]:  # which stays until it is stopped
            done = run(*words)
            assert done.status == 0, done.err
        elif program == "python":
            subprocess.run([sys.executable, *words], check=True)
    assert (tmp_path / "alike.jpg").is_file()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(example, "start.md", "exec"), {})
    assert str(tmp_path / "pets.zip") in capsys.readouterr().out
