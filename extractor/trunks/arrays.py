"""A DenseNet on NumPy alone: a photo that is looked up has its embedding before torch could be imported.

The same network as `densenet` has, from the same tensors, as it stands in the paper. A convolution is a matrix product;
a 3 × 3 one is the sum of nine products with its input, each shifted by a pixel: it writes a quarter as many channels as
it reads.

G. Huang, Z. Liu, L. van der Maaten, K. Q. Weinberger: "Densely Connected Convolutional Networks", CVPR 2017, table 1.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from petrieve.extractor.trunks.kinds import Kind
from petrieve.store.errors import PetrieveError

if TYPE_CHECKING:
    import numpy as np

EPSILON = 1e-5  # torch's own of batch norms
TOO_LARGE = 65_520  # what float16 rounds to infinity


class ArrayNet:
    """A view (3, 224, 224), uint8 RGB → its embedding (D,), float32.

    `tensors` are float32, by torchvision's names within `features`.
    """

    def __init__(self, kind: Kind, tensors: "Mapping[str, np.ndarray]") -> None:
        self.kind, self._tensors = kind, tensors

    def __call__(self, view: "np.ndarray") -> "np.ndarray":
        """Global averages over the last maps.

        Raises:
            PetrieveError: they overflow.
        """
        embedding: np.ndarray = self._maps(view).mean((1, 2))
        check_fits(embedding, "float32")
        return embedding

    def _maps(self, view: "np.ndarray") -> "np.ndarray":
        """The last maps (D, 7, 7) after their ReLU."""
        import numpy as np

        maps = _pooled(self._norm_relu(self._stem(view), "norm0"))  # (C, 56, 56)
        for block, layers in enumerate(self.kind.layers, start=1):
            channels, height, width = maps.shape
            every = np.empty((channels + layers * self.kind.growth, height, width), np.float32)
            every[:channels] = maps
            for layer in range(1, layers + 1):
                name = f"denseblock{block}.denselayer{layer}"
                narrow = self._convolve(self._norm_relu(every[:channels], f"{name}.norm1"), f"{name}.conv1")
                self._grow(self._norm_relu(narrow, f"{name}.norm2"), f"{name}.conv2", every[channels:])
                channels += self.kind.growth
            maps = every
            if block < len(self.kind.layers):
                # Averages and 1×1 convolutions commute; this way round there is a quarter to multiply.
                halved = _halved(self._norm_relu(maps, f"transition{block}.norm"))
                maps = self._convolve(halved, f"transition{block}.conv")
        return self._norm_relu(maps, "norm5")

    def _stem(self, view: "np.ndarray") -> "np.ndarray":
        """The 7 × 7 convolution with stride 2 of the normalised view: (C, 112, 112)."""
        import numpy as np

        mean, std = (255 * np.array(three, np.float32)[:, None, None] for three in (self.kind.mean, self.kind.std))
        padded = np.pad((view - mean) / std, ((0, 0), (3, 3), (3, 3)))
        seen = np.lib.stride_tricks.sliding_window_view(padded, (7, 7), (1, 2))[:, ::2, ::2]  # (3, 112, 112, 7, 7)
        weight = self._tensors["conv0.weight"]
        patches = seen.transpose(0, 3, 4, 1, 2).reshape(weight[0].size, -1)
        made: np.ndarray = weight.reshape(len(weight), -1) @ patches
        return made.reshape(-1, *seen.shape[1:3])

    def _norm_relu(self, maps: "np.ndarray", name: str) -> "np.ndarray":
        """Maps behind a batch norm and the ReLU that always follows it."""
        import numpy as np

        weight, bias, mean, variance = (
            self._tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        slope = weight / np.sqrt(variance + np.float32(EPSILON))
        made = maps * slope[:, None, None]
        made += (bias - mean * slope)[:, None, None]
        return np.maximum(made, 0, out=made)

    def _convolve(self, maps: "np.ndarray", name: str) -> "np.ndarray":
        """A 1 × 1 convolution of maps (C, H, W)."""
        weight = self._tensors[f"{name}.weight"][:, :, 0, 0]
        made: np.ndarray = weight @ maps.reshape(len(maps), -1)
        return made.reshape(-1, *maps.shape[1:])

    def _grow(self, maps: "np.ndarray", name: str, into: "np.ndarray") -> None:
        """Write a 3 × 3 convolution of maps (C, H, W), with a border of zeros, into the first of other maps."""
        import numpy as np

        weight = self._tensors[f"{name}.weight"]  # (out, C, 3, 3)
        out, channels, (height, width) = *weight.shape[:2], maps.shape[1:]
        products = weight.transpose(2, 3, 0, 1).reshape(-1, channels) @ maps.reshape(channels, -1)
        framed = np.zeros((out, height + 2, width + 2), np.float32)
        for place, product in enumerate(products.reshape(9, out, height, width)):
            down, across = 2 - place // 3, 2 - place % 3
            framed[:, down : down + height, across : across + width] += product
        into[:out] = framed[:, 1:-1, 1:-1]


def check_fits(embeddings: "np.ndarray", precision: str) -> None:
    """Refuse what float16, in which embeddings are cached, would make infinity.

    Raises:
        PetrieveError: a number is too large, or not a number.
    """
    import numpy as np

    if not bool((np.abs(embeddings) < TOO_LARGE).all()):
        raise PetrieveError(
            f"the trunk's numbers overflow in {precision}",
            'use `precision="float32"`, or other weights if it is that already',
        )


def _pooled(maps: "np.ndarray") -> "np.ndarray":
    """The largest of each 3 × 3 places, with stride 2, of maps (C, H, W) that are 0 or more."""
    import numpy as np

    for axis in (1, 2):
        maps = maps.swapaxes(1, axis)
        even, odd = maps[:, ::2], maps[:, 1::2]
        most = np.maximum(even, odd)
        np.maximum(most[:, 1:], odd[:, :-1], out=most[:, 1:])
        maps = most.swapaxes(1, axis)
    return maps


def _halved(maps: "np.ndarray") -> "np.ndarray":
    """The averages of each 2 × 2 places of maps (C, H, W)."""
    rows: np.ndarray = maps[:, ::2] + maps[:, 1::2]
    sums: np.ndarray = rows[:, :, ::2] + rows[:, :, 1::2]
    return sums / 4
