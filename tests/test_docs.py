"""The documents are true today: commands, options, JSON keys, examples, versions, dependencies."""

import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from conftest import Done
from PIL import Image
from planting import of_trunk, planted

import petrieve
from petrieve import cli

Run = Callable[..., Done]
ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs" / "guide.md").read_text()
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMMANDS = {command.name: command for command in typer.main.get_command(cli.app).commands.values()}  # type: ignore[attr-defined]


# Keys that the guide names with a command and that do not stand at the top of its document.
INNER = {
    "embed": {"passed_over", "photos", "busy"},
    "similar": {"photos", "label", "similarity", "pairs_as_close", "group", "gone"},
    "predict": {"error"},
    "info": {"photo", "caveat"},
    "verify": {"what", "remedy"},
    "doctor": {"what", "why", "remedy", "wrong"},
    "evaluate": {"value", "low", "high"},
    "audit": set("label doubt conflict leak outlier photo suggested reason score kinds copies".split()),
    "export": {"photos"},
    "duplicates": set("kind best photo label width height size threshold found taken".split()),
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def typed() -> Iterator[tuple[str, str]]:
    """Every command that a document, a help text or the Makefile shows, with where: in a block, a line or a phrase."""
    named = "|".join(map(re.escape, COMMANDS))
    for document in DOCUMENTS:
        text = document.read_text().replace("\\\n", " ")
        fenced = [
            line
            for block in re.findall(r"```(?:sh|console|bash)\n(.*?)```", text, re.DOTALL)
            for line in block.splitlines()
        ]
        phrases = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text) + re.findall(r"^    (\S.*)$", text, re.MULTILINE)
        for line in fenced + phrases:
            if found := re.search(
                rf"(?:\bpetrieve|\bpython cli\.py|^cli\.py) +((?:{named})\b.*)|^((?:{named}) --?[a-z].*)", line
            ):
                yield document.name, found[1] or found[2]
    yield from (
        (name, command.epilog.removeprefix("Example: cli.py ").split("\n")[0]) for name, command in COMMANDS.items()
    )
    yield from (("Makefile", line) for line in re.findall(r"\$\(PETRIEVE\) (.*)", (ROOT / "Makefile").read_text()))


def test_every_command_that_is_shown_is_understood() -> None:
    """By the program's own parser: no command, option or number of values that it does not know."""
    shown = [(place, line, shlex.split(re.split(r"\s[|>;&#]|…\)|\s*=>", line)[0])) for place, line in typed()]
    for place, line, (name, *words) in shown:
        command = COMMANDS[name]
        context = command.context_class(command, info_name=name)
        try:
            command.make_parser(context).parse_args([*words])  # which it empties
        except Exception as error:
            named_alone = len(words) == 1 and re.search(
                "requires an argument", f"{error!r}"
            )  # as in "`embed --views` keeps …"
            assert named_alone, f"{place}: {line}: {error}"
    assert len(shown) > 150


def test_every_command_is_in_the_guide_with_its_keys(run: Run, store: Path, drawn: Path, tmp_path: Path) -> None:
    photo = sorted((drawn / "cat").iterdir())[0]
    words = {
        "embed": (drawn,),
        "fit-head": (),
        "predict": (photo,),
        "similar": (photo,),
        "audit": (),
        "evaluate": (),
        "duplicates": (),
        "build-index": ("--kind", "PCA8,IVF4,SQ8"),
        "build-map": (),
        "info": (),
        "verify": (),
        "doctor": (photo,),
        "report": ("--out", tmp_path / "report.html"),
        "export": (tmp_path / "pets.onnx",),
    }
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", GUIDE, re.MULTILINE))
    assert set(rows) == set(COMMANDS)
    for name, given in words.items():
        document = run(name, *given, "--store", store, "--json").json
        keys = set(document[0] if isinstance(document, list) else document)
        named = set(re.findall(r"`(\w+)`", rows[name]))
        inner = INNER.get(name, set())
        assert keys == named - inner, name
    assert set(run("sample", tmp_path / "s", "--photos", 1, "--json").json) <= set(
        re.findall(r"`(\w+)`", rows["sample"])
    )


def test_the_python_example_runs(drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(drawn, tmp_path / "data")
    Image.open(sorted((drawn / "cat").iterdir())[0]).convert("RGB").resize((300, 300)).save(tmp_path / "photo.jpg")
    (example,) = blocks("python")
    exec(compile(example.replace('"data"', '"data", weights="bundled"'), "README.md", "exec"), {})
    assert "similarity" in capsys.readouterr().out


def test_the_page_about_python_runs_from_its_first_snippet_to_its_last() -> None:
    page = (ROOT / "docs" / "python.md").read_text()
    known: dict[str, object] = {}
    for snippet in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(snippet, "python.md", "exec"), known)
    table = page.split("\n## ")[0]
    assert [name for name in petrieve.__all__ if f"`{name}`" not in page and f"petrieve.{name}" not in page] == []
    assert [name for name in COMMANDS if f"`{name}`" not in table] == ["demo"]


def test_every_option_has_a_help_text() -> None:
    for name, command in COMMANDS.items():
        assert command.epilog.startswith("Example: cli.py ")
        for parameter in command.params:
            assert parameter.help, f"{name} {parameter.name}"


def test_the_changelog_has_the_form_of_keep_a_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert versions[0].startswith("[Unreleased]\n")
    assert all(re.match(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d\n", one) for one in versions[1:])
    released = re.findall(r"^\[(.+)\] - ", "\n".join(versions[1:]), re.MULTILINE)
    assert petrieve.__version__ in (*released[:1], *re.findall(r"^To be (\S+),", versions[0], re.MULTILINE))
    kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    for one in versions:
        found = re.findall(r"^### (.+)$", one, re.MULTILINE)
        assert found == [kind for kind in kinds if kind in found]
    for line in re.split(r"\n(?=- |#|\n)", text):
        assert not line.startswith("- **Breaking**") or "What to do: " in line, line


def test_every_dependency_has_its_reason_and_its_pin() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    extras = [one for extra in PROJECT["optional-dependencies"].values() for one in extra]
    for requirement in [*PROJECT["dependencies"], *extras]:
        name = re.split(r"[\[>=<]", requirement)[0]
        assert re.search(rf"^{re.escape(name)}==", lock, re.MULTILINE), f"{name} is not in the lock"
    for requirement in PROJECT["dependencies"]:
        assert f"| {re.split('[>=<]', requirement)[0]} |" in README


def test_links_in_the_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_usage_errors_are_status_2_and_help_is_0(run: Run) -> None:
    assert run("embed").status == 2
    assert run("similar", "x.jpg", "-k", "0").status == 2
    assert run("--help").status == 0


def test_the_store_can_be_named_by_the_environment(
    run: Run, store: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETRIEVE_STORE", str(store))
    assert run("info", "--json").json["photos"] == 40
    monkeypatch.setenv("HOME", str(store.parent))
    monkeypatch.setenv("PETRIEVE_STORE", f"~/{store.name}")  # as an env file or a unit of systemd has it
    assert run("info", "--json").json["photos"] == 40
    monkeypatch.setenv("PETRIEVE_WEIGHTS", "~/none.pth")
    assert f"cannot read weights from {store.parent}/none.pth" in run("predict", next(drawn.rglob("*.jpg"))).err


def test_info_says_what_the_store_holds(run: Run, store: Path) -> None:
    document = run("info", "--store", store, "--json").json
    assert document["labels"] == {"cat": 20, "dog": 20}
    assert (document["photos"], document["views"], document["weights"], document["unreadable"]) == (
        40,
        40,
        "bundled",
        [],
    )
    assert document["head"]["fits"] is True
    assert "fits the embeddings" in run("info", "--store", store).out
    done = run("info", "--store", "nowhere")
    assert (done.status, done.out, "run `cli.py embed FOLDER` first" in done.err) == (1, "", True)


def test_info_of_very_many_labels_shows_the_most_frequent(run: Run, tmp_path: Path) -> None:
    """A store of 300 labels had all of them on one line."""
    planted(tmp_path / "s", {(f"pet{n:03}", None): 1 + n % 7 * (n < 70) for n in range(300)})
    (line,) = [one for one in run("info", "--store", tmp_path / "s").out.splitlines() if one.startswith("labels: ")]
    assert line.startswith("labels: 300, the most frequent pet006 7, pet013 7,")
    assert (line.count("pet"), line.endswith(" and 290 more; `--json` lists all")) == (10, True)
    assert len(run("info", "--store", tmp_path / "s", "--json").json["labels"]) == 300


def test_names_cannot_move_the_cursor(run: Run, store: Path, photos: Path) -> None:
    nasty = photos / "cat" / "\x1b[2J\nevil.jpg"
    nasty.write_bytes(b"no photo")
    run("embed", photos, "--store", store)
    out = run("info", "--store", store).out
    assert "\x1b" not in out
    assert "\\x1b[2J\\nevil.jpg" in out


def test_no_figure_is_left_out() -> None:
    for document in DOCUMENTS:
        assert not re.search(r"@[A-Z]+@", document.read_text()), document.name


def test_the_version_is_said(run: Run) -> None:
    done = run("--version")
    assert (done.status, done.out, done.err) == (0, f"petrieve {petrieve.__version__}\n", "")


def test_messages_name_the_command_that_was_called(
    store: Path, few: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An installed `petrieve` advised `cli.py`, which its users do not have."""
    (few / "none.jpg").write_bytes(b"none")
    of_trunk(store).head.unlink()

    def said(*words: object) -> str:
        monkeypatch.setattr("sys.argv", ["/usr/bin/petrieve", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return f"{stop.value.code} {''.join(capsys.readouterr())}"

    for words, advice in {
        ("info", "--store", store): "`petrieve fit-head` makes it",
        ("info", "--store", store, "--json"): "petrieve embed FOLDER --trunk densenet121",
        ("predict", few, "--store", store): "run `petrieve fit-head`",
        ("info", "--store", "none"): "run `petrieve embed FOLDER` first",
        ("embed", few, "--store", "new", "--weights", "bundled"): "`petrieve info --unreadable` lists",
        ("embed", "--help"): "Example: petrieve embed data/",
    }.items():
        out = said(*words)
        assert advice in out, out
        assert "cli.py" not in out
    with pytest.raises(petrieve.PetrieveError, match="run `petrieve fit-head`"):
        petrieve.open(store).predict(few)


def test_advice_is_written_for_who_has_installed_it() -> None:
    """Only the checkout's own command says `cli.py`: what Python raises and warns of is shown as it is written."""
    houses = ("api", "classifier", "extractor", "gallery", "index", "store")
    assert [file for house in houses for file in (ROOT / house).rglob("*.py") if "`cli.py " in file.read_text()] == []


CLUSTER = (ROOT / "docs" / "cluster.md").read_text()


def test_the_cluster_page_s_manifest_and_scripts_can_be_parsed_and_name_real_options() -> None:
    yaml = pytest.importorskip("yaml")
    found = {kind: re.findall(rf"```{kind}\n(.*?)```", CLUSTER, re.DOTALL) for kind in ("yaml", "bash", "sh")}
    (job,) = [yaml.safe_load(one) for one in found["yaml"]]
    assert (job["kind"], job["spec"]["rayClusterSpec"]["rayVersion"]) == ("RayJob", version("ray"))
    for script in found["bash"] + found["sh"]:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    options = {option for parameter in COMMANDS["embed"].params for option in parameter.opts}
    named = re.findall(r"petrieve embed [^\n`)]*", CLUSTER.replace("\\\n", " "))
    assert {word for line in named for word in line.split() if word.startswith("--")} <= options
    assert job["spec"]["entrypoint"] in named
