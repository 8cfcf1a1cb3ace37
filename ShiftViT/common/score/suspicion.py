"""Figures that no network gives: what is probably wrong, said as what it is."""
import numpy as np

from common import cli

BROKEN = "the offline model or its input is broken"
FEW = 10  # results; fewer may be of one image, copied
# With so many images and classes, any network that works has more than 2 % of Top-1. Folders
# sorted as text leave 12 of ImageNet's 1000 classes in their place.
MANY_IMAGES, MANY_CLASSES, HOPELESS = 500, 100, 0.02
# Line 1 of the devkit's ILSVRC2012_validation_ground_truth.txt is 490 (n01751748).
ORDERS = (
    "the labels are probably in another order. Class 0 is the first of the sorted synsets "
    "(n01440764). The ILSVRC devkit's ids are in another order and count from 1: "
    "ILSVRC2012_val_00000001 is 65 in sorted order, 490 in the devkit's. Or the label file counts "
    "from 1, or its numbers are of folders sorted as text (0, 1, 10, 100, …)")


def of_constant(folder, logits, total):
    """Failure that says so where all `total` results in `folder` are these `logits` (classes,)."""
    if total >= FEW:
        what = "the same" if logits.any() else "zero"
        raise cli.Failure(f"{folder}: all {total} results are {what}: {BROKEN}",
                          "compare it with its ONNX (python3 -m common.score.against_onnx), then "
                          "compile and infer again (make om infer)")


def of_order(answers, labels, classes):
    """[What is probably wrong where hardly any answer is right], else []; both int (N,)."""
    seen = len(np.unique(labels))
    right = int((answers == labels).sum())
    if len(labels) < MANY_IMAGES or seen < MANY_CLASSES or right >= HOPELESS * len(labels):
        return []
    different = len(np.unique(answers))
    if different * 10 < seen:
        return [f"Top-1 below 2 %, and only {different} different answers: {BROKEN}"]
    as_text = np.array(sorted(range(classes), key=str))
    orders = {
        "they count from 1": labels - 1,
        "they are of folders sorted as text (0, 1, 10, 100, …)": as_text[labels],
    }
    for what, other in orders.items():
        share = float((answers == other).mean())
        if share > 0.1:
            return [f"Top-1 below 2 %: the labels are in another order: {what}; read so, "
                    f"Top-1 is {100 * share:.1f} %"]
    return [f"Top-1 below 2 %: {ORDERS}"]
