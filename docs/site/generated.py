"""The reference of the command line and of Python, in Markdown, read off the code."""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any

import petrieve

INTERNAL = {"cache", "index", "say", "warm"}  # docs/python.md, "What is public"


def commands() -> str:
    """The page about all commands, in the groups of `petrieve --help`."""
    import typer

    from petrieve.cli import app

    lines = ["# Commands", "", "Read off the program, as `petrieve COMMAND --help` shows it."]
    lines += ["[What `--json` prints](../guide.md#commands), and [the exit statuses](../guide.md#exit-status)."]
    group = None
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        if command.rich_help_panel != group:
            group = command.rich_help_panel
            lines += ["", f"## {group}"]
        example, *more = command.epilog.removeprefix("Example: cli.py ").split("\n\n")
        lines += ["", f"### {name}", "", command.help, "", *more, "", "```sh", f"petrieve {example}", "```", ""]
        lines += _options(command.params)
    return "\n".join(lines) + "\n"


def _options(parameters: list[Any]) -> Iterator[str]:
    """A table of what a command takes."""
    yield "| | | default |"
    yield "|---|---|---|"
    for one in parameters:
        argument = one.param_type_name == "argument"
        name = one.metavar if argument else " ".join(filter(None, (", ".join(one.opts), one.metavar)))
        shown = one.default not in (None, False) and not (hasattr(one, "show_default") and one.show_default is False)
        yield f"| `{name}` | {_cell(one.help)} | {f'`{one.default}`' if shown else ''} |"


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def python() -> str:
    """The page about all that `import petrieve` offers: functions, the store's methods, what they answer."""
    public = {name: getattr(petrieve, name) for name in petrieve.__all__}
    functions = {name: one for name, one in public.items() if inspect.isfunction(one)}
    lines = ["# Python", "", "Read off the code. [From Python](../python.md) says how it is used.", "", "## Functions"]
    for name, function in functions.items():
        lines += _described(f"petrieve.{name}", function, 3)
    for name, kind in public.items():
        if name not in functions:
            lines += ["", f"## {name}", "", *_text(kind)]
            lines += _fields(kind)
            for method, function in inspect.getmembers(kind, inspect.isfunction):
                if method[0] != "_" and method not in INTERNAL and _is_ours(function):
                    lines += _described(f"{name}.{method}", function, 3)
    return "\n".join(lines) + "\n"


def _is_ours(function: Any) -> bool:
    return str(function.__module__).startswith("petrieve")


def _described(name: str, function: Any, level: int) -> Iterator[str]:
    """A heading, how it is called, and what it says of itself."""
    signature = inspect.signature(function)
    given = [one for one in signature.parameters.values() if one.name != "self"]
    call = f"{name}{signature.replace(parameters=given)}"
    if len(call) > 100:
        kinds = [str(one) for one in given]
        first = next((at for at, one in enumerate(given) if one.kind is one.KEYWORD_ONLY), None)
        kinds[first:first] = ["*"] if first is not None else []
        call = f"{name}(\n    " + ",\n    ".join(kinds) + f",\n){_answer(signature)}"
    yield from ("", f"{'#' * level} {name}", "", "```python", _short(call), "```", "", *_text(function))


def _answer(signature: inspect.Signature) -> str:
    answer = signature.return_annotation
    return "" if answer is inspect.Signature.empty else f" -> {inspect.formatannotation(answer)}"


def _short(code: str) -> str:
    """Types by their last names; what stands for a function that does nothing is no address in memory."""
    code = re.sub(r"<function \w+ at 0x\w+>", "...", code)
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])", "", code).replace("'", '"' if "= '" in code else "")


def _fields(kind: type) -> Iterator[str]:
    """A table of an answer's fields."""
    if not dataclasses.is_dataclass(kind) or kind is petrieve.Store:
        return
    yield from ("", "| field | type |", "|---|---|")
    for field in dataclasses.fields(kind):
        if field.name != "picture":
            typed = field.type if isinstance(field.type, str) else inspect.formatannotation(field.type)
            yield f"| `{field.name}` | `{_short(typed)}` |"


def _text(thing: Any) -> Iterator[str]:
    """A docstring: its examples as code, what it raises as a list."""
    for block in re.split(r"\n\n", inspect.getdoc(thing) or ""):
        if block.startswith(">>> "):
            yield from ("```python", *(line[4:] for line in block.splitlines()), "```", "")
        elif block.startswith("Raises:\n"):
            raised = re.sub(r"\n {8}", " ", block.removeprefix("Raises:")).strip()
            yield from ("Raises:", "", *(f"- {line.strip()}" for line in raised.splitlines()), "")
        else:
            yield from (block, "")
