"""A demo checkpoint: the model's network with seeded random weights, its last layer fitted to the
demo's training images in closed form."""
import os
import sys

import numpy as np
import torch
from torch import nn

from common import cli, provenance
from common.data import dataset, transforms
from common.data.demo import CLASSES, SEED
from common.published import IMAGENET

RIDGE = 1e-3  # of the mean squared length of a feature vector


def keep_signal(net, images):
    """Initialise a network with BatchNorm anew: its usual random weights let nothing but noise
    through to the head.

    Depthwise kernels: identity plus noise; pointwise ones: orthogonal; others: noise of unit gain.
    What comes before an activation has bias 1, which keeps most of the signal out of the rectified
    side: the convolution where it has a bias (ConvMixer: convolution, GELU, BatchNorm), else the
    BatchNorm (spnasnet: convolution, BatchNorm, ReLU). BatchNorm's statistics are those of
    `images`, float32 (N, 3, H, W).
    """
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    for m in convolutions:
        if m.groups > 1:
            side = m.kernel_size[0]
            m.weight.normal_(0, 0.5 / side)
            m.weight[:, :, side // 2, side // 2] += 1
        elif m.kernel_size == (1, 1):
            nn.init.orthogonal_(m.weight)
        else:
            m.weight.normal_(0, m.weight[0].numel() ** -0.5)
        if m.bias is not None:
            m.bias.fill_(1)
    for m in norms:
        m.momentum = None  # the mean over all batches seen since the reset
        m.reset_running_stats()
        m.bias.fill_(0 if convolutions[0].bias is not None else 1)
    net.train()
    net(images)
    net.eval()


def features(net, head, images, what):
    """What reaches the layer `head` for float32 images (N, 3, H, W) → float64 (N, width)."""
    got = []
    hook = head.register_forward_hook(lambda module, inputs, output: got.append(inputs[0].double()))
    for batch in cli.progress(images.split(10), what, unit="batch"):
        net(batch)
    hook.remove()
    return torch.cat(got)


def fit(x, labels):
    """Ridge regression onto one-hot targets, in its dual form (few images, many features).

    x: float64 (N, width); labels: int64 (N,), class indices. Returns weight (1000, width) and bias
    (1000,).
    """
    mean = x.mean(0)
    centred = x - mean
    gram = centred @ centred.T
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(x), dtype=x.dtype)
    # Logits far enough apart for float16, and far above the 990 classes that have no image.
    targets = torch.where(labels[:, None] == torch.tensor(list(CLASSES)), 18.0, -2.0).double()
    rows = (centred.T @ torch.linalg.solve(gram + ridge, targets - targets.mean(0))).T
    weight = torch.zeros(IMAGENET, x.shape[1], dtype=x.dtype)
    bias = torch.full((IMAGENET,), -30.0, dtype=x.dtype)
    weight[list(CLASSES)] = rows
    bias[list(CLASSES)] = targets.mean(0) - rows @ mean
    return weight, bias


def make(data, out):
    """Write a demo checkpoint for the model of the folder that this runs in."""
    sys.path.insert(0, "")  # its model.py
    import model

    count = getattr(model, "DEMO_IMAGES", 6)
    train, labels = load(data / "train", count, model.RECIPE)
    val, val_labels = load(data / "val", max(1, count // 3), model.RECIPE)
    torch.manual_seed(SEED)
    with torch.no_grad():
        net = model.build()
        head = net.get_submodule(model.HEAD)
        for m in net.modules():
            # As trained networks have them; those of a fresh one, 1 and 0, would be folded away.
            if isinstance(m, (nn.GroupNorm, nn.LayerNorm)):
                m.weight.uniform_(0.8, 1.2)
                m.bias.normal_(0, 0.1)
        if any(isinstance(m, nn.BatchNorm2d) for m in net.modules()):
            keep_signal(net, train[:len(CLASSES)])
        x = features(net, head, train, "features of the training images")
        weight, bias = fit(x, labels)
        head.weight.copy_(weight)
        head.bias.copy_(bias)
        seen = (x @ weight.T + bias).argmax(1)
        unseen = (features(net, head, val, "checking") @ weight.T + bias).argmax(1)
    official = getattr(model, "official", lambda state_dict: {"state_dict": state_dict})
    with cli.whole_file(out) as part, open(part, "wb") as f:
        # To an open file: torch writes the name of a file that it is given into the archive.
        torch.save({**official(net.state_dict()), "demo": True}, f)
    code = ("model.py", "published.json", "common/data/demo_weights.py")
    provenance.record(out, [data / "DEMO.txt", *filter(os.path.exists, code)])
    print(f"wrote {out}: demo weights for {model.NAME}, Top-1 {share(seen, labels)} training "
          f"images and {share(unseen, val_labels)} validation images")


def load(folder, count, recipe):
    """`count` images of each class → float32 (N, 3, H, W), int64 (N,)."""
    found = dataset.find(folder)
    if not found.demo:
        raise cli.Failure(f"{folder} holds no demo images",
                          "make them with: python3 -m common.data.demo images --out …")
    by_class = [[i for i in found.images if i.label == label][:count] for label in CLASSES]
    chosen = [images[k] for k in range(count) for images in by_class]
    inputs = np.stack([recipe(transforms.load(image.path)) for image in chosen])
    return torch.from_numpy(inputs), torch.tensor([image.label for image in chosen])


def share(answers, labels):
    """How many of the answers are right, as text."""
    return f"{100 * float((answers == labels).double().mean()):.1f}% of {len(labels)}"
