"""The result of `fit_head`."""

from dataclasses import dataclass

from petrieve.api.results import Shown
from petrieve.classifier import head
from petrieve.gallery import answers


@dataclass(frozen=True, repr=False)
class Report(Shown, head.Report):
    """How well a head does on photos that it was not fitted on."""

    say = staticmethod(answers.fitted)
