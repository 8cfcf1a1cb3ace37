"""SPACH-Conv-MS-S: four stages of depthwise convolutions and channel MLPs.

Zhao et al., "A Battle of Network Structures", 2021. Parameter names and shapes are those of the
authors' code (microsoft/SPACH), so `spach_ms_conv_s.pth` (key `model`) loads as it is.
"""
from pathlib import Path

import torch.nn.functional as F
from torch import nn

from common.data import transforms
from common.model import authors as upstream

NAME = "SPACH-Conv-MS-S"
STEM = "spach_ms_conv_s"
INPUT, OUTPUT = "input", "output"
OPSET = 11
HEAD = "head"
RECIPE = transforms.published(Path(__file__).parent)

WIDTH = 128
DEPTHS = (3, 4, 12, 3)
MLP_RATIO = 3
EPS = 1e-6  # of the LayerNorms; the GroupNorms keep torch's 1e-5


class ToMap(nn.Module):
    """(N, H, W, C) → (N, C, H, W), what convolutions want."""

    def forward(self, x):
        return x.permute(0, 3, 1, 2)


class ToTokens(nn.Module):
    """(N, C, H, W) → (N, H, W, C), what LayerNorm and Linear want.

    The authors flatten H and W into one axis; keeping both gives the same numbers without a Reshape
    in the export.
    """

    def forward(self, x):
        return x.permute(0, 2, 3, 1)


class Depthwise(nn.Module):
    """3x3 depthwise convolution, the position encoding: (N, H, W, C) → (N, H, W, C)."""

    def __init__(self, width):
        super().__init__()
        convolution = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.net = nn.Sequential(ToMap(), convolution, ToTokens())

    def forward(self, x):
        return self.net(x)


class ChannelMLP(nn.Module):
    """Two linear layers over the channels with a GELU between."""

    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Linear(width, width * MLP_RATIO)
        self.fc2 = nn.Linear(width * MLP_RATIO, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """A `pass` block, residual depthwise convolution and channel MLP: (N, H, W, C) → the same."""

    def __init__(self, width):
        super().__init__()
        self.channel_func = ChannelMLP(width)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.cpe_net = Depthwise(width)

    def forward(self, x):
        x = x + self.cpe_net(x)
        return x + self.channel_func(self.norm2(x))


class Downsample(nn.Module):
    """Halve the resolution and double the width: (N, H, W, C) → (N, H/2, W/2, 2C)."""

    def __init__(self, width):
        super().__init__()
        convolution = nn.Conv2d(width, 2 * width, 2, stride=2, bias=False)
        halve = nn.Sequential(convolution, nn.GroupNorm(1, 2 * width))
        self.net = nn.Sequential(ToMap(), halve, ToTokens())

    def forward(self, x):
        return self.net(x)


class Stem(nn.Module):
    """Patches of 4x4 pixels: (N, 3, 224, 224) → (N, 128, 56, 56)."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, 4, stride=4)

    def forward(self, x):
        return self.proj(x)


def stage(i):
    """Stage `i` of the four: a Downsample (but for the first), then its blocks."""
    width = WIDTH << i
    before = [Downsample(width // 2)] if i else []
    return nn.Sequential(*before, *(Block(width) for _ in range(DEPTHS[i])))


class Spach(nn.Module):
    """float32 (N, 3, 224, 224), normalised RGB → logits float32 (N, 1000)."""

    def __init__(self):
        super().__init__()
        self.stem = Stem()
        self.norm1 = nn.LayerNorm(WIDTH, eps=EPS)
        self.layer1, self.layer2, self.layer3, self.layer4 = (stage(i) for i in range(4))
        self.norm2 = nn.LayerNorm(WIDTH * 8, eps=EPS)
        self.head = nn.Linear(WIDTH * 8, 1000)

    def forward(self, x):
        x = self.norm1(self.stem(x).permute(0, 2, 3, 1))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.head(self.norm2(x).mean(dim=(1, 2)))


def build(net="bundled"):
    """Return the network in eval mode, weights random; net="upstream" takes the authors' class from
    the clone of `make source`."""
    if net == "upstream":
        source = upstream.load(Path(__file__).parent / "SPACH/models/spach/__init__.py")
        arch = [[("pass", depth)] for depth in DEPTHS]
        return source.SpachMS(hidden_dim=WIDTH, patch_size=4, net_arch=arch,
                              channel_ratio=MLP_RATIO).eval()
    return Spach().eval()


def official(state_dict):
    """The content of the authors' checkpoint file that holds these tensors."""
    return {"model": state_dict}
