"""@name@: timm's @timm@.

Attention and padding are written out for the export; the parameter names are timm's.
"""
from pathlib import Path

import timm
from torch import nn

from common import cli
from common.data import transforms

NAME = "@name@"
STEM = "@stem@"
INPUT, OUTPUT = "input", "output"
OPSET = 11
HEAD = "@head@"
RECIPE = transforms.published(Path(__file__).parent)


def build(net="bundled"):
    """The network in eval mode, weights random: float32 (N, 3, @side@, @side@),
    normalised RGB → logits float32 (N, @classes@)."""
    if net == "upstream":
        raise cli.Usage("NET=upstream: @name@ has no source besides timm", "leave out NET")
    model = timm.create_model("@timm@", pretrained=False)
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            # torch exports the fused operator from opset 14 on only.
            module.fused_attn = False
        if isinstance(module, nn.Conv2d) and module.padding == "same":
            # As it is it becomes ONNX's auto_pad, which compilers read each in their own way.
            module.padding = tuple(k // 2 for k in module.kernel_size)
    return model.eval()
