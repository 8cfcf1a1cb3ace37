"""spnasnet_100: timm's single-path NAS network.

Stamoulis et al., "Single-Path NAS", 2019. timm is where the network comes from, so its names are
the official ones.
"""
from pathlib import Path

import timm

from common import cli
from common.data import transforms

NAME = "spnasnet_100"
STEM = "model_best"
INPUT, OUTPUT = "actual_input_1", "class"
OPSET = 11
HEAD = "classifier"
DEMO_IMAGES = 12  # training images in each class of the demo
# ModelZoo's published accuracy was measured with images squashed to 256x256; RECIPE_TIMM is timm's
# own evaluation.
RECIPE = transforms.published(Path(__file__).parent)
RECIPE_TIMM = transforms.published(Path(__file__).parent, "preprocessing_timm")


def build(net="bundled"):
    """Return the network in eval mode, weights random.

    float32 (N, 3, 224, 224), normalised RGB → logits float32 (N, 1000).
    """
    if net == "upstream":
        raise cli.Usage("NET=upstream: spnasnet has no source besides timm", "omit NET")
    return timm.create_model("spnasnet_100", pretrained=False).eval()


def official(state_dict):
    """What ModelZoo's checkpoint file of these tensors holds, from a DataParallel training."""
    return {"state_dict": {f"module.{key}": value for key, value in state_dict.items()}}
