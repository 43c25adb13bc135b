"""The result of `evaluate`."""

from dataclasses import dataclass

from petrieve.api.results import Shown
from petrieve.gallery import answers
from petrieve.index import evaluate


@dataclass(frozen=True, repr=False)
class Evaluation(Shown, evaluate.Evaluated):
    """How many of a photo's neighbours are of its own kind, and what the index misses."""

    say = staticmethod(answers.evaluated)
