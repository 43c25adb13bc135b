"""A filter that the user has typed: which rows of a table it chooses, and what is wrong with it, in one line."""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from petrieve.store.errors import PetrieveError

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

EXAMPLE = "label = 'dog' and found_on >= date '2026-10-01'"

# Texts, names and comments, which are passed over; what stands for a value that is given elsewhere, or begins a text
# of PostgreSQL's, both of which end Lance's plan by a panic that it prints; and brackets.
TOKENS = re.compile(
    r"""'(?:[^']|'')*'|`[^`]*`|"[^"]*"|--[^\n]*|/\*.*?\*/|(?P<value>\?|\$\w*|(?<!:):[A-Za-z_]\w*)|(?P<bracket>[()])""",
    re.DOTALL,
)
# Not `repeat` or `lpad`, with which thirty letters ask for 20 GB, and Lance ends the process that has not got them.
FUNCTIONS = frozenset(
    """abs ascii btrim cast ceil character_length coalesce concat contains current_date date date_part date_trunc
    ends_with extract floor greatest initcap isnan least left length ln log10 log2 lower ltrim now nullif octet_length
    position power regexp_like regexp_match reverse right round rtrim split_part sqrt starts_with strpos substr
    substring to_date to_timestamp trim try_cast upper""".split()
)
WORDS = frozenset("all and any between case else filter from in is like ilike not or then to when".split())
TYPES = frozenset("char decimal double float numeric time timestamp varchar".split())
CALL = re.compile(r"([\w`.]+)\s*\(")
# What gives another answer each time that it is asked.
PASSING = re.compile(r"\b(?:now|current_date)\b", re.IGNORECASE)
# What of Lance's words says why, the plainest first.
REASONS = (
    r"Expected: .+?, found: .+?(?=\), /|$)",
    r"Unterminated \w+ \w+",
    r"[Rr]eceived literal .+? of type '.+?'",
    r"Invalid function '.+?'",
    r"The filter .+? does not return a boolean",
    r"Expression '.+?' is not supported",
    r"Divide by zero|Cannot cast .+? type|recursion limit",
    r"Unsupported type '.+?'|Cannot access field .+?(?=, /|$)",
)


def filtered(
    table: "lance.LanceDataset", condition: str, columns: list[str], *, known: Sequence[str], batch: int
) -> "Iterator[pa.RecordBatch]":
    """Batches of these columns and `_rowid` of the rows for which a condition in SQL holds; `known` are its words.

    Lance parses it as what stands behind a WHERE, knows functions and no statements, and takes no notice of what
    follows; in brackets, which it cannot close, what follows is an error.

    Raises:
        PetrieveError: it is not a condition, names a column that is not there, or calls what may take much room.
    """
    quoted = next((name for name in known if f'"{name}"' in condition), None)
    if quoted:  # in Lance's SQL that is a text, and the condition would silently never hold
        raise PetrieveError(
            f"the filter has the column {quoted} in double quotes", f"write {_word(quoted)}, and texts in single quotes"
        )
    if why := _amiss(condition):
        raise _unusable(why, known)
    condition = condition.encode(errors="replace").decode()  # what is not text, no column holds
    scanner = table.scanner(columns=columns, filter=f"(\n{condition}\n)", with_row_id=True, batch_size=batch)
    try:
        scanner.explain_plan()  # of a table that is open: what fails here is the condition
    except (ValueError, RuntimeError) as error:
        raise _explained(str(error).replace("\n", " "), known) from None
    try:
        yield from scanner.to_batches()
    except (ValueError, RuntimeError) as error:
        if "filter expression" not in str(error):
            raise
        raise _explained(str(error).replace("\n", " "), known) from None


def is_lasting(condition: str) -> bool:
    """Whether a condition holds for the same photos as long as these do not change; where in doubt, not."""
    return not PASSING.search(condition)


def _amiss(condition: str) -> str | None:
    """Why a condition cannot be used that Lance would misread, or that may take much room."""
    depth = 0
    for token in TOKENS.finditer(condition):
        if token["value"]:
            return f"{token['value']} stands for nothing"
        depth += {"(": 1, ")": -1}.get(token["bracket"], 0)
        if depth < 0:
            return "it closes a bracket that it has not opened"
    called = {name.lower() for name in CALL.findall(TOKENS.sub(_left, condition))} - FUNCTIONS - WORDS - TYPES
    return f"it may not call {min(called)}, only {', '.join(sorted(FUNCTIONS))}" if called else None


def _left(token: re.Match[str]) -> str:
    """What is left of a token where only calls are looked for."""
    return {"'": "''", "`": "`", "-": " ", "/": " "}.get(token[0][0], token[0])


def _explained(said: str, known: Sequence[str]) -> PetrieveError:
    """Lance's words on a condition, as ours."""
    if missing := re.search(r"No field named (\"[^\"]+\"|\S+?)\.(?= |$)", said):
        return PetrieveError(
            f"the filter names {missing[1]}, which is not a column",
            f"the columns are {_words(known)}; write texts in single quotes",
        )
    if "literal of type 'Utf8'" in said:
        return PetrieveError(
            "the filter compares a column of text with something that is not text",
            "write that in single quotes, or make numbers of the column: `cast(weight as double) > 3`",
        )
    why = next((found[0] for found in (re.search(words, said) for words in REASONS) if found), "it is not a condition")
    return _unusable(why.replace("found: )", "found: ) or its end"), known)


def _unusable(why: str, known: Sequence[str]) -> PetrieveError:
    remedy = f"write it like {EXAMPLE}; the columns are {_words(known)}"
    return PetrieveError(f"the filter cannot be used: {why}", remedy)


def _words(known: Sequence[str]) -> str:
    return ", ".join(map(_word, known))


def _word(name: str) -> str:
    """A column's name as a filter has it."""
    return name if name.isidentifier() else f"`{name}`"
