"""The result of a run of `embed`."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from petrieve.api.results import Shown
from petrieve.extractor import embed
from petrieve.gallery import terminal


@dataclass(frozen=True, repr=False)
class Summary(Shown, embed.Summary):
    """What a run of `embed` did: counts of photos, by source too, their labels, and how fast it was."""

    better: str | None = None  # the command that embeds with ImageNet's weights, where the bundled trunk was used
    pruned: bool = field(default=False, compare=False)

    def lines(self) -> Iterable[str]:
        """What the command prints."""
        return terminal.embedded(self.document(), pruned=self.pruned)
