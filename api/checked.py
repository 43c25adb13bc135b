"""The results of `verify` and `doctor`."""

from dataclasses import dataclass

from petrieve.api.results import Row, Shown
from petrieve.extractor.checks import doctor, verify
from petrieve.gallery import terminal, words


@dataclass(frozen=True, repr=False)
class Verification(Shown, verify.Verified):
    """What was held against what, and what is wrong."""

    say = staticmethod(terminal.verified)

    def document(self) -> Row:
        """What the command prints with `--json`."""
        return {**super().document(), "changed": [words.name(path) for path in self.changed]}


@dataclass(frozen=True, repr=False)
class Diagnosis(Shown, doctor.Diagnosis):
    """How fast each step of embedding is, and which holds up the rest."""

    say = staticmethod(terminal.diagnosed)
