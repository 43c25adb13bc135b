"""The documentation as a site: what stands in this repository, and the reference that is read off the code.

    python docs/site/make_site.py build/site     the site comes to build/site/html

The pages keep their places beside each other, so that a link that leads somewhere here leads there on the site too.
A link or an anchor that leads nowhere ends the build. Nothing is fetched, neither now nor by who reads the site.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import generated

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("*.md", "docs/*.md", "docs/recipes/*.md", "benchmarks/*.md", "examples/*.md", "extractor/trunks/bundled/*.md")
LINK = re.compile(r"\]\(([^)#:\s]+)")


def gather(folder: Path) -> None:
    """Put into a folder, which may be there, all that the site is made of: pages, files that they link to, settings."""
    shutil.rmtree(folder, ignore_errors=True)
    for page in (file for pattern in PAGES for file in sorted(ROOT.glob(pattern))):
        linked = (page.parent / name for name in LINK.findall(page.read_text()))
        for file in (page, *(one.resolve() for one in linked if one.is_file())):
            place = folder / "pages" / file.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
    reference = folder / "pages" / "docs" / "reference"
    reference.mkdir()
    (reference / "commands.md").write_text(generated.commands())
    (reference / "python.md").write_text(generated.python())
    shutil.copyfile(ROOT / "docs" / "site" / "zensical.toml", folder / "zensical.toml")


def build(folder: Path) -> "subprocess.CompletedProcess[str]":
    """Make the site of what was gathered; status 1 where a link or an anchor is broken, and the output says which."""
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    return subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    gather(place)
    done = build(place)
    print(done.stdout)
    sys.exit(done.returncode)
