"""DenseNets with their batch norms folded away: the same numbers as torchvision's, in half the passes over memory.

G. Huang, Z. Liu, L. van der Maaten, K. Q. Weinberger: "Densely Connected Convolutional Networks", CVPR 2017, table 1.

In the paper a layer is BN, ReLU, 1×1 convolution, BN, ReLU, 3×3 convolution, and sees all maps before it. A BN is
s·x + b for each channel, with s and b fixed once the network is frozen. The second one goes into the weights and the
bias of the convolution before it. The first one cannot, because every later layer has its own for the same maps. But
relu(s·x + b) = s·(max(x, e) − e) where e = −b / s and s > 0 (min where s < 0): so s and e go into the weights and the
bias of the convolution behind it, and one maximum is left. The maps of a block lie in one buffer, and each layer writes
its channels behind the others: nothing is concatenated.

Torch alone: importing torchvision takes as long as importing torch, half of what it takes to look up one photo.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, max_pool2d

from petrieve.extractor.trunks.kinds import Kind
from petrieve.extractor.trunks.weights import plain

BOTTLENECK = 4  # channels between a layer's two convolutions, for each that it adds
EPSILON = 1e-5  # torch's own of batch norms
# A channel 256 standard deviations from its edge never crosses it; activations reach 30 or so.
FAR = 256

Step = Callable[[Tensor], Tensor]  # maps → maps


def shapes(kind: Kind) -> dict[str, tuple[int, ...]]:
    """Every tensor of torchvision's network by name, without `num_batches_tracked` and the head."""
    return {f"features.{name}": shape for name, shape in _shapes(kind).items()}


def network(kind: Kind, tensors: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> "DenseNet":
    """The trunk of this kind, which has these tensors: as in `shapes`, on the CPU."""
    return DenseNet(kind, plain(tensors), device=device, dtype=dtype)


def _shapes(kind: Kind) -> dict[str, tuple[int, ...]]:
    """Every tensor of its `features`."""
    narrow = BOTTLENECK * kind.growth
    found = _convolution("conv0", kind.stem, 3, 7) | _norm("norm0", kind.stem)
    channels = kind.stem
    for block, layers in enumerate(kind.layers, start=1):
        for layer in range(1, layers + 1):
            name = f"denseblock{block}.denselayer{layer}"
            found |= _norm(f"{name}.norm1", channels) | _convolution(f"{name}.conv1", narrow, channels, 1)
            found |= _norm(f"{name}.norm2", narrow)
            found |= _convolution(f"{name}.conv2", kind.growth, narrow, 3)
            channels += kind.growth
        if block < len(kind.layers):
            name = f"transition{block}"
            found |= _norm(f"{name}.norm", channels) | _convolution(f"{name}.conv", channels // 2, channels, 1)
            channels //= 2
    return found | _norm("norm5", channels)


def levels(kind: Kind) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (3,) of pixels from 0 to 255."""
    return torch.tensor(kind.mean) * 255, torch.tensor(kind.std) * 255


def _norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}


def _convolution(name: str, out: int, channels: int, side: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, channels, side, side)}


def affine(tensors: Mapping[str, Tensor], norm: str) -> tuple[Tensor, Tensor]:
    """A batch norm as slope and offset, each (C,) in float64."""
    weight, bias, mean, variance = (tensors[name].double() for name in _norm(norm, 0))
    slope = weight / torch.sqrt(variance + EPSILON)
    return slope, bias - mean * slope


@dataclass(frozen=True, eq=False)
class Rectified:
    """relu(s·x + b) of C channels, as gain · (clamp(x, low, high) − zero) + rest; gain, zero, rest (C,) in float64."""

    low: Tensor  # (1, C, 1, 1)
    high: Tensor | None  # where no slope is negative: the common case, and the quicker one
    gain: Tensor
    zero: Tensor
    rest: Tensor

    def __call__(self, maps: Tensor) -> Tensor:
        """The clamp of maps (N, C, H, W); the convolution after it has the rest in its weights."""
        return torch.maximum(maps, self.low) if self.high is None else torch.clamp(maps, self.low, self.high)


class DenseNet:
    """Views (N, 3, 224, 224), uint8 RGB, on the device → embeddings (N, D), float32.

    `tensors` are as in `shapes`, by their names within `features`, on the CPU.
    """

    def __init__(self, kind: Kind, tensors: Mapping[str, Tensor], *, device: torch.device, dtype: torch.dtype) -> None:
        self.kind = kind
        self._tensors, self._device, self._dtype = tensors, device, dtype
        mean, std = levels(kind)
        self.mean = self._placed(mean, torch.float32)
        # Padding is zero after the mean is taken away, so only the division can go into the weights.
        slope, offset = affine(tensors, "norm0")
        stem = self._double("conv0.weight") * slope.view(-1, 1, 1, 1) / std.double().view(1, 3, 1, 1)
        self.stem = self._conv(stem, offset, stride=2, padding=3)
        self.blocks: list[list[tuple[Step, Step, Step]]] = [
            [self._layer(f"denseblock{block}.denselayer{layer}") for layer in range(1, layers + 1)]
            for block, layers in enumerate(kind.layers, start=1)
        ]
        self.transitions = [self._transition(f"transition{block}") for block in range(1, len(kind.layers))]
        self.last = tuple(self._placed(part, torch.float32) for part in affine(tensors, "norm5"))
        del self._tensors

    def __call__(self, views: Tensor) -> Tensor:
        """Global averages over the last maps."""
        return self.maps(views).mean((2, 3))  # (N, D)

    def maps(self, views: Tensor) -> Tensor:
        """The last maps after their ReLU, (N, D, 7, 7), float32."""
        growth = self.kind.growth
        pixels = (views - self.mean).to(self._dtype).contiguous(memory_format=torch.channels_last)
        maps = max_pool2d(self.stem(pixels).relu_(), 3, stride=2, padding=1)  # (N, C, 56, 56)
        for number, layers in enumerate(self.blocks):
            count, channels, height, width = maps.shape
            shape = (count, channels + growth * len(layers), height, width)
            every = torch.empty(shape, dtype=maps.dtype, device=maps.device, memory_format=torch.channels_last)
            every[:, :channels] = maps
            for rectified, narrow, grow in layers:
                new = grow(narrow(rectified(every[:, :channels])).relu_())  # (N, growth, H, W)
                every[:, channels : channels + growth] = new
                channels += growth
            maps = every
            if number < len(self.transitions):
                rectified, halve = self.transitions[number]
                # Averages and 1×1 convolutions commute; this way round there is a quarter to multiply.
                maps = halve(avg_pool2d(rectified(maps), 2))  # (N, C / 2, H / 2, W / 2)
        slope, offset = self.last
        return torch.addcmul(offset, maps.float(), slope).relu_()

    def _layer(self, name: str) -> tuple[Rectified, Step, Step]:
        rectified = self._rectified(f"{name}.norm1")
        narrow = self._behind(rectified, f"{name}.conv1", *affine(self._tensors, f"{name}.norm2"))
        return rectified, narrow, self._conv(self._double(f"{name}.conv2.weight"), None, padding=1)

    def _transition(self, name: str) -> tuple[Rectified, Step]:
        rectified = self._rectified(f"{name}.norm")
        return rectified, self._behind(rectified, f"{name}.conv", torch.ones(1).double(), torch.zeros(1).double())

    def _rectified(self, norm: str) -> Rectified:
        slope, offset = affine(self._tensors, norm)
        centre, spread = self._double(f"{norm}.bias"), self._double(f"{norm}.weight").abs()
        on = centre >= FAR * spread
        off = ~on & (centre <= -FAR * spread)
        bound = (-offset / torch.where(on | off, 1, slope)).to(self._dtype)
        low, high = ~(on | off) & (slope > 0), ~(on | off) & (slope < 0)
        limit = torch.finfo(self._dtype).max
        return Rectified(
            low=self._placed(torch.where(low, bound, -limit)),
            high=self._placed(torch.where(high, bound, limit)) if bool(high.any()) else None,
            gain=torch.where(off, 0, slope),
            # The bound as it was rounded: a channel that is off then adds exactly nothing.
            zero=torch.where(on | off, 0, bound.double()),
            rest=torch.where(on, offset, 0),
        )

    def _behind(self, rectified: Rectified, name: str, slope: Tensor, offset: Tensor) -> Step:
        """The 1×1 convolution after `rectified`, and the affine map after that."""
        plain = self._double(f"{name}.weight") * slope.view(-1, 1, 1, 1)  # (out, C, 1, 1)
        weight = (plain * rectified.gain.view(1, -1, 1, 1)).to(self._dtype)
        zero = weight.double().flatten(1) @ rectified.zero
        return self._conv(weight, offset + plain.flatten(1) @ rectified.rest - zero)

    def _conv(self, weight: Tensor, bias: Tensor | None, *, stride: int = 1, padding: int = 0) -> Step:
        weight = weight.to(self._device, self._dtype).contiguous(memory_format=torch.channels_last)
        bias = None if bias is None else bias.to(self._device, self._dtype)
        return lambda maps: conv2d(maps, weight, bias, stride=stride, padding=padding)

    def _double(self, name: str) -> Tensor:
        return self._tensors[name].double()

    def _placed(self, channels: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        return channels.to(self._device, dtype or self._dtype).view(1, -1, 1, 1)
