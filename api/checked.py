"""The results of `verify` and `doctor`."""

from collections.abc import Iterator
from dataclasses import dataclass

from petrieve.api.results import Row, Shown
from petrieve.extractor.checks import doctor, verify
from petrieve.extractor.checks.installation import Trouble
from petrieve.gallery import terminal, words
from petrieve.gallery.troubles import installed


@dataclass(frozen=True, repr=False)
class Verification(Shown, verify.Verified):
    """What was held against what, and what is wrong."""

    say = staticmethod(terminal.verified)

    def document(self) -> Row:
        """What the command prints with `--json`."""
        return {**super().document(), "changed": [words.name(path) for path in self.changed]}


@dataclass(frozen=True, repr=False)
class Diagnosis(Shown):
    """What is wrong with an installation; and with photos, how fast each step of embedding them is."""

    versions: dict[str, str]
    troubles: list[Trouble]
    speed: doctor.Diagnosis | None  # None where there were no photos to measure with

    def document(self) -> Row:
        """What the command prints with `--json`."""
        told = super().document()
        speed = told.pop("speed")
        return {**told, **(speed or {})}

    def lines(self) -> Iterator[str]:
        """What the command prints."""
        yield from installed(self.document())
        if self.speed:
            yield from terminal.diagnosed(self.document())
