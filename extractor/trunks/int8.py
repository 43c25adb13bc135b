"""DenseNets in integers: maps as uint8, weights as int8, twice bfloat16's speed on CPUs with VNNI or AMX.

A channel of a map is kept as whole numbers n from 0 to 255; n stands for x = low + step · n. Low and step are the
channel's own, and span what it reached on photos and some more (`_scale`). Between two maps stand a batch norm, a ReLU
and a convolution, y = Σ w · relu(s·x + b) + c. In whole numbers that is:

1. The ReLU bends at e = −b / s. For s > 0 it is s · (max(x, e) − e), for s < 0 it is s · (min(x, e) − e). Where e lies
   outside of what the channel reaches, the nearer end takes its place, and the ReLU's value there, `rest`, is added.
2. With z, the whole number nearest to (e − low) / step, x − e is step · (n − z). So the ReLU is a maximum or a minimum
   of uint8 with z (`_rectified`), and the convolution is one of n − z with the weights w · s · step (`_behind`).
3. The next map keeps y as m = (y − low′) / step′. So the weights are divided by step′, and the offset becomes
   (c − low′) / step′ (`_onto`).
4. The weights of an output channel are rounded to whole numbers from −127 to 127 times one factor. Sums of their
   products with n are whole, so exact, so that an embedding is the same bit by bit in every batch; one factor and one
   offset in float32 follow, and the result is rounded and cut off to 0 … 255. Where low′ is 0, that is the ReLU within
   a layer. What z adds is taken off with the rounded weights: a channel that is off, n = z, adds exactly nothing.

oneDNN's convolutions see plain numbers: scales and offsets are made in float64, once, when the network is.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from petrieve.extractor.trunks.densenet import BOTTLENECK, DenseNet, Step, affine, levels
from petrieve.extractor.trunks.kinds import Kind

TOP, WEIGHT_TOP = 255, 127  # of uint8 and int8
# Other photos reach further than those that were measured. Chosen for the nearness to float32: benchmarks/RESULTS.md.
WIDER = 0.2  # of the measured range, on either side
DEVIATIONS = 8  # of the batch norm behind the channel, on either side: no range is narrower
SMALLEST = 1e-12  # a step, of a channel that never changes

Ranges = dict[str, Tensor]


def shapes(kind: Kind) -> dict[str, tuple[int, ...]]:
    """Every tensor of ranges by name: least and most in the maps of a block; most between a layer's convolutions."""
    found: dict[str, tuple[int, ...]] = {}
    channels = kind.stem
    for block, layers in enumerate(kind.layers, start=1):
        channels += kind.growth * layers
        found[f"denseblock{block}"] = (2, channels)
        found |= {f"denseblock{block}.denselayer{layer}": (BOTTLENECK * kind.growth,) for layer in range(1, layers + 1)}
        channels //= 2
    return found


def measure(network: DenseNet, batches: Iterable[Tensor]) -> Ranges:
    """What the maps of a float32 network reach on batches of views (N, 3, 224, 224): float32, as in `shapes`."""
    least: Ranges = {}
    most: Ranges = {}

    def see(name: str, maps: Tensor) -> None:
        low, high = maps.amin((0, 2, 3)), maps.amax((0, 2, 3))
        least[name] = torch.minimum(low, least.get(name, low))
        most[name] = torch.maximum(high, most.get(name, high))

    watched = copy.copy(network)
    watched.blocks = [
        [_watched(steps, f"{block}.{layer}", see) for layer, steps in enumerate(layers, start=1)]
        for block, layers in enumerate(network.blocks, start=1)
    ]
    with torch.inference_mode():
        for views in batches:
            watched(views)
    found: Ranges = {}
    for block, layers in enumerate(network.kind.layers, start=1):
        parts = [f"{block}.1 sees", *(f"{block}.{layer} adds" for layer in range(1, layers + 1))]
        found[f"denseblock{block}"] = torch.stack([torch.cat([of[part] for part in parts]) for of in (least, most)])
        for layer in range(1, layers + 1):
            found[f"denseblock{block}.denselayer{layer}"] = most[f"{block}.{layer} narrows"]
    return found


def _watched(steps: tuple[Step, Step, Step], name: str, see: Callable[[str, Tensor], None]) -> tuple[Step, Step, Step]:
    """The steps of a layer, which show what they read or make."""
    rectified, narrow, grow = steps

    def rectify(maps: Tensor) -> Tensor:
        if name.endswith(".1"):  # later layers see the same maps, and what was added
            see(f"{name} sees", maps)
        return rectified(maps)

    def made(step: Step, what: str) -> Step:
        def call(maps: Tensor) -> Tensor:
            new = step(maps)
            see(f"{name} {what}", new)
            return new

        return call

    return rectify, made(narrow, "narrows"), made(grow, "adds")


class Int8DenseNet:
    """Views (N, 3, 224, 224), uint8 RGB, on the CPU → embeddings (N, D), float32.

    `tensors` are as for `DenseNet`; `ranges` as `measure` makes them.
    """

    def __init__(self, kind: Kind, tensors: Mapping[str, Tensor], ranges: Ranges) -> None:
        self.kind = kind
        self._tensors, self._ranges = tensors, ranges
        mean, std = levels(kind)
        scales = [self._scale(block) for block in range(1, len(kind.layers) + 1)]  # (2, C): low and step
        self.frame = mean.round().to(torch.uint8).view(1, 3, 1, 1)
        self.stem = self._stem(mean.double(), std.double(), scales[0][:, : kind.stem])
        self.blocks = [
            [self._layer(block, layer, scales[block - 1]) for layer in range(1, layers + 1)]
            for block, layers in enumerate(kind.layers, start=1)
        ]
        self.transitions = [
            self._transition(block, scales[block - 1], scales[block]) for block in range(1, len(kind.layers))
        ]
        slope, offset = affine(tensors, "norm5")
        low, step = scales[-1]
        self.last = tuple(part.float().view(1, -1, 1, 1) for part in (slope * step, slope * low + offset))
        del self._tensors, self._ranges

    def __call__(self, views: Tensor) -> Tensor:
        """Global averages over the last maps."""
        return self.maps(views).mean((2, 3))  # (N, D)

    def maps(self, views: Tensor) -> Tensor:
        """The last maps after their ReLU, (N, D, 7, 7), float32."""
        growth = self.kind.growth
        count, _, height, width = views.shape
        # Padding is zero after the mean is taken away: a frame of the mean's colour.
        pixels = self.frame.repeat(count, 1, height + 6, width + 6).contiguous(memory_format=torch.channels_last)
        pixels[:, :, 3:-3, 3:-3] = views
        maps = _max_pool(self.stem(pixels))  # (N, C, 56, 56)
        for number, layers in enumerate(self.blocks):
            count, channels, height, width = maps.shape
            shape = (count, channels + growth * len(layers), height, width)
            every = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
            every[:, :channels] = maps
            for rectified, narrow, grow in layers:
                every[:, channels : channels + growth] = grow(narrow(rectified(every[:, :channels])))
                channels += growth
            maps = every
            if number < len(self.transitions):
                rectified, halve = self.transitions[number]
                maps = halve(rectified(maps))  # (N, C / 2, H / 2, W / 2)
        slope, offset = self.last
        return torch.addcmul(offset, maps.float(), slope).relu_()

    def _scale(self, block: int) -> Tensor:
        """Low and step (2, C) of the maps of a block, in float64."""
        norms = [f"denseblock{block}.denselayer{layer}.norm1" for layer in range(1, self.kind.layers[block - 1] + 1)]
        norms.append(
            f"transition{block}.norm" if block < len(self.kind.layers) else "norm5"
        )  # the one that sees all maps
        least, most = self._ranges[f"denseblock{block}"].double()
        margin = WIDER * (most - least)
        mean, spread = self._double(f"{norms[-1]}.running_mean"), self._double(f"{norms[-1]}.running_var").sqrt()
        low = torch.minimum(least - margin, mean - DEVIATIONS * spread)
        high = torch.maximum(most + margin, mean + DEVIATIONS * spread)
        # What lies below the edges of all that read a channel is the same to them.
        edges = torch.full_like(low, torch.inf)
        for norm in norms:
            slope, offset = affine(self._tensors, norm)
            edge = torch.where(slope > 0, -offset / slope, torch.where(slope < 0, -torch.inf, torch.inf))
            edges[: len(edge)] = torch.minimum(edges[: len(edge)], edge)
        low = torch.minimum(torch.maximum(low, edges), high)
        if block == 1:
            low[: self.kind.stem].clamp_(min=0)  # they come from a ReLU
        return torch.stack([low, ((high - low) / TOP).clamp(min=SMALLEST)])

    def _stem(self, mean: Tensor, std: Tensor, scale: Tensor) -> Step:
        slope, offset = affine(self._tensors, "norm0")
        weight = self._double("conv0.weight") * slope.view(-1, 1, 1, 1) / std.view(1, 3, 1, 1)
        offset = offset - (weight * mean.view(1, 3, 1, 1)).sum((1, 2, 3))
        return _onto(scale, weight, offset, stride=2)

    def _layer(self, block: int, layer: int, scale: Tensor) -> tuple[Step, Step, Step]:
        name = f"denseblock{block}.denselayer{layer}"
        slope, offset = affine(self._tensors, f"{name}.norm2")
        reach = self._double(f"{name}.norm2.bias") + DEVIATIONS * self._double(f"{name}.norm2.weight").abs()
        high = torch.maximum((1 + WIDER) * self._ranges[name].double(), reach)
        step = (high / TOP).clamp(min=SMALLEST)  # (bottleneck,); their low is 0
        rectified, narrow = self._behind(
            f"{name}.norm1",
            self._double(f"{name}.conv1.weight") * slope.view(-1, 1, 1, 1),
            offset,
            scale,
            torch.stack([torch.zeros_like(step), step]),
        )
        channels = scale.shape[1] - self.kind.growth * (self.kind.layers[block - 1] - layer + 1)
        weight = self._double(f"{name}.conv2.weight") * step.view(1, -1, 1, 1)
        own = scale[:, channels : channels + self.kind.growth]
        return rectified, narrow, _onto(own, weight, torch.zeros(self.kind.growth).double(), padding=1)

    def _transition(self, block: int, scale: Tensor, after: Tensor) -> tuple[Step, Step]:
        """Average and 1×1 convolution as one 2×2 convolution, which leaves no average to round."""
        weight = self._double(f"transition{block}.conv.weight").expand(-1, -1, 2, 2) / 4
        return self._behind(
            f"transition{block}.norm", weight, torch.zeros(1).double(), scale, after[:, : len(weight)], stride=2
        )

    def _behind(
        self, norm: str, weight: Tensor, offset: Tensor, scale: Tensor, after: Tensor, *, stride: int = 1
    ) -> tuple[Step, Step]:
        """What rectifies a map behind its batch norm, and the convolution of it: steps 1 and 2 above."""
        slope, bias = affine(self._tensors, norm)
        low, step = scale[:, : len(slope)]
        high = low + TOP * step
        flat = slope == 0
        edge = torch.minimum(torch.maximum(-bias / torch.where(flat, 1, slope), low), high)
        rest = (slope * edge + bias).clamp(min=0)
        live = torch.maximum(slope * low, slope * high) + bias > 0
        zero = ((edge - low) / step).round()
        inner = weight * (torch.where(live, slope, 0) * step).view(1, -1, 1, 1)
        convolution = _onto(after, inner, offset + weight.sum((2, 3)) @ rest, zero=zero, stride=stride)
        return _rectified(zero, slope), convolution

    def _double(self, name: str) -> Tensor:
        return self._tensors[name].double()


def _rectified(zero: Tensor, slope: Tensor) -> Step:
    floor = torch.where(slope > 0, zero, 0).to(torch.uint8).view(1, -1, 1, 1)
    if not bool((slope < 0).any()):  # the common case, and the quicker one
        return lambda maps: torch.maximum(maps, floor)
    ceiling = torch.where(slope < 0, zero, TOP).to(torch.uint8).view(1, -1, 1, 1)
    return lambda maps: torch.minimum(torch.maximum(maps, floor), ceiling)


def _onto(
    scale: Tensor, weight: Tensor, offset: Tensor, *, zero: Tensor | None = None, stride: int = 1, padding: int = 0
) -> Step:
    """The convolution weight · (n − zero) + offset of numbers n, all in float64, from uint8 to uint8 of this scale."""
    low, step = scale
    weight = weight / step.view(-1, 1, 1, 1)
    steps = (weight.abs().amax((1, 2, 3)) / WEIGHT_TOP).clamp(min=SMALLEST)
    whole = (weight / steps.view(-1, 1, 1, 1)).round()
    bias = (offset - low) / step
    if zero is not None:  # with the weights as they were rounded, a channel that is off adds exactly nothing
        bias = bias - steps * (whole.sum((2, 3)) @ zero)
    strides, paddings, dilations = [stride] * 2, [padding] * 2, [1, 1]
    factors, zeros, bias = steps.float(), torch.zeros(len(steps), dtype=torch.int64), bias.float()
    onednn: Any = torch.ops.onednn
    packed = onednn.qconv_prepack(whole.to(torch.int8), factors, 1.0, 0, strides, paddings, dilations, 1, None)
    convolve = onednn.qconv2d_pointwise.default

    def convolution(maps: Tensor) -> Tensor:
        made: Tensor = convolve(
            *(maps, 1.0, 0, packed, factors, zeros, bias, strides, paddings, dilations, 1),
            *(1.0, 0, torch.uint8, "none", [], ""),
        )
        return made

    return convolution


def _max_pool(maps: Tensor) -> Tensor:
    """Maxima of 3×3, stride 2, padding 1, of maps (N, C, H, W), H and W even. Torch's own fails on uint8."""
    for dim in (2, 3):
        even, odd = maps.unfold(dim, 2, 2).unbind(-1)
        maps = torch.maximum(even, odd)
        rest = maps.size(dim) - 1
        inner = maps.narrow(dim, 1, rest)
        torch.maximum(inner, odd.narrow(dim, 0, rest), out=inner)
    return maps
