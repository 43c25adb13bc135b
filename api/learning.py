"""A head and embeddings as parts of scikit-learn, which this module imports."""

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from petrieve.api.opened import compute_of
from petrieve.api.photos import Photo
from petrieve.classifier.fitting.arrays import fit_arrays
from petrieve.classifier.head import softmax
from petrieve.extractor.named import embeddings_of
from petrieve.extractor.trunks.choice import Compute, new_trunk
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from petrieve.api.store import Store
    from petrieve.extractor.trunks.trunk import Trunk


class HeadClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The head that `fit_head` fits by logistic regression, of embeddings (N, D) and their labels.

    `l2` is the penalty's strength, 1/C, by default the best of a grid on folds that keep near-copies together;
    `balanced` gives every class the same weight in the loss. Once fitted it has `classes_` (C,), `coef_` (C, D) and
    `intercept_` (C,), divided by `temperature_`, and `l2_`.
    """

    def __init__(self, l2: float | None = None, *, balanced: bool = False) -> None:
        self.l2 = l2
        self.balanced = balanced

    def fit(self, X: "ArrayLike", y: "ArrayLike") -> Self:
        """Itself, fitted on embeddings (N, D) and their labels (N,).

        Raises:
            ValueError: they are not numbers, of different lengths, or of one class.
            PetrieveError: no class has two photos, or `l2` makes no head.
        """
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, targets = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"all {len(targets)} labels are of one class, and a head needs two")
        found = fit_arrays(np.asarray(X), targets, l2=self.l2, balanced=self.balanced)
        self.coef_, self.intercept_ = found.weight, found.bias
        self.l2_, self.temperature_ = found.l2, found.temperature
        return self

    def predict_proba(self, X: "ArrayLike") -> np.ndarray:
        """The calibrated probabilities (N, C), rows summing to 1, of embeddings (N, D); C in the order of `classes_`.

        Raises:
            NotFittedError: it is not fitted.
            ValueError: they are not numbers, or of another dimension.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        return softmax(np.asarray(X) @ self.coef_.T + self.intercept_)

    def predict(self, X: "ArrayLike") -> np.ndarray:
        """The most probable labels (N,) of embeddings (N, D).

        Raises:
            NotFittedError: it is not fitted.
            ValueError: they are not numbers, or of another dimension.
        """
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])


class PhotoEmbedder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Photos to embeddings, by a store's trunk, or without a store by the one that a new store would begin with.

    What the `store` holds is taken from there; other photos are embedded, and nothing is written. The trunk is loaded
    when it is needed first, and once, however often the embedder is cloned. Without a store, or with other photos than
    it holds, each fold embeds them anew: `embed` them before.
    """

    def __init__(
        self,
        store: "Store | None" = None,
        *,
        weights: str | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        self.store = store
        self.weights = weights
        self.device = device
        self.precision = precision

    def fit(self, X: Iterable[Photo] | None = None, y: Any = None) -> Self:  # noqa: ARG002
        """Itself: a trunk is frozen, and there is nothing to fit."""
        return self

    def transform(self, X: Iterable[Photo]) -> np.ndarray:
        """The embeddings (N, D) float32 of view 0 of photos: their paths, bytes, or pictures that Pillow holds.

        Raises:
            PetrieveError: a photo cannot be read, of which the first is named; or the weights, the device or the store
                cannot be used.
            ValueError: there is no photo.
        """
        if isinstance(X, str | bytes):
            raise PetrieveError("one photo is not a list of photos", "write `transform([photo])`")
        cache, trunk = self._trunk()
        return embeddings_of([*X], cache, self._compute(), trunk=trunk)

    def _compute(self) -> Compute:
        return compute_of(self.weights, self.device, self.precision)

    def _trunk(self) -> "tuple[Cache | None, Callable[[], Trunk]]":
        """What the store holds, if there is one, and what loads the trunk."""
        compute = self._compute()
        if self.store is None:
            return None, partial(_trunk, compute)
        cache = self.store.cache()
        return cache, partial(self.store._warm, cache, compute)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        return tags


@lru_cache(maxsize=2)
def _trunk(compute: Compute) -> "Trunk":
    """The trunk that a new store would begin with, loaded once for all folds."""
    if compute.precision == "int8":
        raise PetrieveError(
            "int8 has the ranges of a store, and there is none", "give a `store` that was embedded with it"
        )
    return new_trunk(None, compute)
