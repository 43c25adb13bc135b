"""DenseNet-121 up to its last feature maps, under torchvision's names, so that its state dicts load as they are.

G. Huang, Z. Liu, L. van der Maaten, K. Q. Weinberger: "Densely Connected Convolutional Networks", CVPR 2017, table 1.
Torchvision's own is held against this one by the tests, number by number. Importing torchvision takes as long as
importing torch, half of what it takes to look up one photo; so what is needed of it stands here.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

LAYERS = (6, 12, 24, 16)  # of each dense block: this is what makes it 121
GROWTH = 32  # channels that each layer adds
BOTTLENECK = 4 * GROWTH


class DenseLayer(nn.Module):
    """The new channels (N, 32, H, W) for all earlier ones (N, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, BOTTLENECK, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK)
        self.conv2 = nn.Conv2d(BOTTLENECK, GROWTH, 3, padding=1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """New channels, from every channel so far."""
        narrow: Tensor = self.conv1(relu(self.norm1(maps), inplace=True))
        new: Tensor = self.conv2(relu(self.norm2(narrow), inplace=True))
        return new


class DenseBlock(nn.Module):
    """All earlier channels with those of its layers behind them: (N, C + 32 · layers, H, W)."""

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        for number in range(layers):
            self.add_module(f"denselayer{number + 1}", DenseLayer(channels + number * GROWTH))

    def forward(self, maps: Tensor) -> Tensor:
        """Each layer sees what all layers before it have made."""
        for layer in self.children():
            maps = torch.cat((maps, layer(maps)), dim=1)
        return maps


def transition(channels: int) -> nn.Sequential:
    """Half the channels at half the size: (N, C, H, W) → (N, C / 2, H / 2, W / 2)."""
    made = nn.Sequential()
    made.add_module("norm", nn.BatchNorm2d(channels))
    made.add_module("relu", nn.ReLU(inplace=True))
    made.add_module("conv", nn.Conv2d(channels, channels // 2, 1, bias=False))
    made.add_module("pool", nn.AvgPool2d(2))
    return made


def densenet121_features() -> nn.Sequential:
    """The network (N, 3, 224, 224) → (N, 1024, 7, 7), before the last ReLU."""
    made = nn.Sequential()
    channels = 2 * GROWTH
    made.add_module("conv0", nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False))
    made.add_module("norm0", nn.BatchNorm2d(channels))
    made.add_module("relu0", nn.ReLU(inplace=True))
    made.add_module("pool0", nn.MaxPool2d(3, stride=2, padding=1))
    for number, layers in enumerate(LAYERS, start=1):
        made.add_module(f"denseblock{number}", DenseBlock(channels, layers))
        channels += layers * GROWTH
        if number < len(LAYERS):
            made.add_module(f"transition{number}", transition(channels))
            channels //= 2
    made.add_module("norm5", nn.BatchNorm2d(channels))
    return made
