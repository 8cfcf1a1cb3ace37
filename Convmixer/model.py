"""ConvMixer-1536/20, kernel 9, patch 7: timm's network, with the padding of its "same"
convolutions written out.

Trockman and Kolter, "Patches Are All You Need?", 2022. Both key layouts load: timm's own, and the
numbered Sequential of the authors' code (locuslab/convmixer), which
`convmixer_1536_20_ks9_p7.pth.tar` has.
"""
from collections import OrderedDict
from pathlib import Path

import timm
from torch import nn

from common.data import transforms
from common.model import authors as upstream

NAME = "ConvMixer-1536/20"
STEM = "convmixer_1536_20_ks9_p7"
INPUT, OUTPUT = "image", "class"
OPSET = 11
HEAD = "head"
RECIPE = transforms.published(Path(__file__).parent)

DEPTH = 20
DEMO_IMAGES = 3  # training images in each class of the demo; one takes about a second

# Places in the authors' Sequential → timm's names. The pool and the flatten before the head have no
# parameters.
NAMES = {**{str(i): f"stem.{i}" for i in range(3)},
         **{str(i + 3): f"blocks.{i}" for i in range(DEPTH)}, str(DEPTH + 5): "head"}


def build(net="bundled"):
    """Return the network in eval mode, weights random; net="upstream" takes the authors' code from
    the clone of `make source`.

    float32 (N, 3, 224, 224), normalised RGB → logits float32 (N, 1000). Either way the parameters
    have timm's names.
    """
    if net == "upstream":
        layers = upstream.load(Path(__file__).parent / "convmixer_net.py").convmixer_1536_20()
        # The same layers in the same order, grouped so that their names are timm's.
        blocks = nn.Sequential(*layers[3:3 + DEPTH])
        named = OrderedDict(stem=layers[:3], blocks=blocks, pool=layers[-3:-1], head=layers[-1])
        return nn.Sequential(named).eval()
    model = timm.create_model("convmixer_1536_20", pretrained=False)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.padding == "same":
            # Exported as it is, "same" becomes ONNX's auto_pad, which compilers read differently.
            module.padding = tuple(k // 2 for k in module.kernel_size)
    return model.eval()


def convert(state_dict):
    """Rename the authors' keys ("0.weight", "3.0.fn.0.weight") to timm's; other keys stay."""
    return rename(state_dict, NAMES)


def official(state_dict):
    """The reverse of `convert`: what the authors' checkpoint file of these tensors holds."""
    return {"state_dict": rename(state_dict, {ours: theirs for theirs, ours in NAMES.items()})}


def rename(state_dict, names):
    """Replace the beginnings of keys, up to a dot, as `names` says."""
    renamed = {}
    for key, value in state_dict.items():
        start = next((n for n in names if key.startswith(n + ".")), "")
        renamed[names.get(start, "") + key[len(start):]] = value
    return renamed
