"""Twins-SVT-L (alt_gvt_large): timm's twins_svt_large, with attention as matrix products.

Chu et al., "Twins: Revisiting the Design of Spatial Attention in Vision Transformers", 2021. timm
kept the parameter names of the authors' code (Meituan-AutoML/Twins), so `alt_gvt_large.pth` loads
as it is.
"""
from pathlib import Path

import timm

from common.data import transforms
from common.model import authors as upstream

NAME = "Twins-SVT-L"
STEM = "alt_gvt_large"
INPUT, OUTPUT = "input", "output"
OPSET = 11
HEAD = "head"
RECIPE = transforms.published(Path(__file__).parent)


def build(net="bundled"):
    """Return the network in eval mode, weights random; net="upstream" takes the authors' code from
    the clone of `make source`.

    float32 (N, 3, 224, 224), normalised RGB → logits float32 (N, 1000).
    """
    if net == "upstream":
        return upstream.load(Path(__file__).parent / "Twins/gvt.py").alt_gvt_large().eval()
    model = timm.create_model("twins_svt_large", pretrained=False)
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            # torch exports the fused operator from opset 14 on only.
            module.fused_attn = False
    return model.eval()
