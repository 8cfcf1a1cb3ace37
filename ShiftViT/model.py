"""ShiftViT-T/light: 1x1 convolutions, and a shift of channels by one pixel in place of attention.

Wang et al., "When Shift Operation Meets Vision Transformer", AAAI 2022. Parameter names and shapes
are those of the authors' code (microsoft/SPACH), so `shiftvit_tiny_light.pth` loads as it is.
"""
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from common.data import transforms
from common.model import authors as upstream

NAME = "ShiftViT-T/light"
STEM = "shiftvit_tiny_light"
INPUT, OUTPUT = "input", "output"
OPSET = 12
HEAD = "head"
RECIPE = transforms.published(Path(__file__).parent)

WIDTH = 96
DEPTHS = (2, 2, 6, 2)
MLP_RATIO = 4
DIVISIONS = 12  # a twelfth of the channels moves in each of the four directions


class Mlp(nn.Module):
    """Two 1x1 convolutions with a GELU between: (N, C, H, W) → (N, C, H, W)."""

    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Conv2d(width, width * MLP_RATIO, 1)
        self.fc2 = nn.Conv2d(width * MLP_RATIO, width, 1)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Shift, then a residual MLP: (N, C, H, W) → (N, C, H, W)."""

    def __init__(self, width):
        super().__init__()
        self.group = width // DIVISIONS
        self.norm2 = nn.GroupNorm(1, width)
        self.mlp = Mlp(width)

    def shift(self, x):
        """Move four groups of channels by one pixel: left, right, up, down; zeros come in.

        Slices, pads and one concatenation, all with constant bounds: assigning to slices would
        export as ScatterND with indices of the traced batch baked in.
        """
        g = self.group
        left = F.pad(x[:, :g, :, 1:], (0, 1, 0, 0))
        right = F.pad(x[:, g:2 * g, :, :-1], (1, 0, 0, 0))
        up = F.pad(x[:, 2 * g:3 * g, 1:], (0, 0, 0, 1))
        down = F.pad(x[:, 3 * g:4 * g, :-1], (0, 0, 1, 0))
        return torch.cat((left, right, up, down, x[:, 4 * g:]), dim=1)

    def forward(self, x):
        x = self.shift(x)
        return x + self.mlp(self.norm2(x))


class Merge(nn.Module):
    """Halve the resolution and double the width: (N, C, H, W) → (N, 2C, H/2, W/2)."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.reduction = nn.Conv2d(width, 2 * width, 2, stride=2, bias=False)

    def forward(self, x):
        return self.reduction(self.norm(x))


class Stage(nn.Module):
    """`depth` blocks, then (but for the last stage) a Merge."""

    def __init__(self, width, depth, last):
        super().__init__()
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.downsample = nn.Identity() if last else Merge(width)

    def forward(self, x):
        return self.downsample(self.blocks(x))


class Embed(nn.Module):
    """Patches of 4x4 pixels: (N, 3, 224, 224) → (N, 96, 56, 56)."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.norm = nn.GroupNorm(1, WIDTH)

    def forward(self, x):
        return self.norm(self.proj(x))


class ShiftViT(nn.Module):
    """float32 (N, 3, 224, 224), normalised RGB → logits float32 (N, 1000)."""

    def __init__(self):
        super().__init__()
        self.patch_embed = Embed()
        last = len(DEPTHS) - 1
        stages = [Stage(WIDTH << i, depth, i == last) for i, depth in enumerate(DEPTHS)]
        self.layers = nn.Sequential(*stages)
        self.norm = nn.GroupNorm(1, WIDTH << last)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(WIDTH << last, 1000)

    def forward(self, x):
        x = self.norm(self.layers(self.patch_embed(x)))
        # Pool, flatten, linear, in this order: modify_onnx.py looks for what they export as.
        return self.head(torch.flatten(self.avgpool(x), 1))


def build(net="bundled"):
    """Return the network in eval mode, weights random; net="upstream" takes the authors' class from
    the clone of `make source`."""
    if net == "upstream":
        source = upstream.load(Path(__file__).parent / "SPACH/models/shiftvit.py")
        return source.ShiftViT(embed_dim=WIDTH, depths=DEPTHS, mlp_ratio=MLP_RATIO,
                               n_div=DIVISIONS).eval()
    return ShiftViT().eval()


def official(state_dict):
    """The content of the authors' checkpoint file that holds these tensors."""
    return {"model": state_dict}
