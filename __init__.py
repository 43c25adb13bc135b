"""Petrieve embeds pet photos once; then it knows what is in them, and finds the pets that look alike.

    import petrieve

    store = petrieve.open("pets.petrieve")
    store.embed("data/")
    store.fit_head()
    store.predict("photo.jpg")
    store.similar("photo.jpg")

What stands in `__all__` is public: within a major version it does not change but by what is added.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from petrieve.api.checked import Diagnosis, Verification
    from petrieve.api.copies import Duplicates
    from petrieve.api.dataset import EmbeddingDataset
    from petrieve.api.embedded import Summary
    from petrieve.api.fitted import Report
    from petrieve.api.learning import HeadClassifier, PhotoEmbedder
    from petrieve.api.measured import Evaluation
    from petrieve.api.results import (
        Audit,
        Comparison,
        Exported,
        Imported,
        IndexCard,
        Info,
        MapCard,
        Neighbours,
        Page,
        Prediction,
        Predictions,
        Sample,
    )
    from petrieve.api.store import Store, open, sample  # noqa: A004
    from petrieve.classifier.auditing.audit import Finding
    from petrieve.index.question import Match
    from petrieve.store.errors import PetrieveError
    from petrieve.store.rows import Unreadable

__version__ = "0.1.0"
__all__ = [
    "Audit",
    "Comparison",
    "Diagnosis",
    "Duplicates",
    "EmbeddingDataset",
    "Evaluation",
    "Exported",
    "Finding",
    "HeadClassifier",
    "Imported",
    "IndexCard",
    "Info",
    "MapCard",
    "Match",
    "Neighbours",
    "Page",
    "PetrieveError",
    "PhotoEmbedder",
    "Prediction",
    "Predictions",
    "Report",
    "Sample",
    "Store",
    "Summary",
    "Unreadable",
    "Verification",
    "open",
    "sample",
]
_ELSEWHERE = {  # but for what stands in api.results
    "Diagnosis": "api.checked",
    "Duplicates": "api.copies",
    "EmbeddingDataset": "api.dataset",
    "Evaluation": "api.measured",
    "Finding": "classifier.auditing.audit",
    "HeadClassifier": "api.learning",
    "Match": "index.question",
    "PetrieveError": "store.errors",
    "PhotoEmbedder": "api.learning",
    "Report": "api.fitted",
    "Store": "api.store",
    "Summary": "api.embedded",
    "Unreadable": "store.rows",
    "Verification": "api.checked",
    "open": "api.store",
    "sample": "api.store",
}


def __getattr__(name: str) -> Any:
    """What is public, imported when it is asked for first: `import petrieve` itself costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'petrieve' has no attribute {name!r}")
    return getattr(import_module(f"petrieve.{_ELSEWHERE.get(name, 'api.results')}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
