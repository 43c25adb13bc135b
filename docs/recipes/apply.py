"""Make the change that a recipe shows.

    python docs/recipes/apply.py docs/recipes/source.md [REPOSITORY]

Git applies the diffs of the page to a checkout, by default to this one. Where one of them does not fit, it says which,
and nothing is changed.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def apply(page: Path, repository: Path = ROOT) -> int:
    """Git's exit status: 0 where all that the page shows was applied."""
    diffs = "".join(re.findall(r"```diff\n(.*?)```", page.read_text(), re.DOTALL))
    command = ["git", "apply", "--whitespace=error", "-"]
    return subprocess.run(command, cwd=repository, input=diffs, text=True, check=False).returncode


if __name__ == "__main__":
    sys.exit(apply(*map(Path, sys.argv[1:])))
