"""A demo checkpoint: the model's network with seeded random weights, its last layer fitted to the
demo's training images in closed form."""
import os
import sys

import numpy as np
import torch
from torch import nn

from common import cli, provenance, published
from common.data import dataset, demo, transforms

RIDGES = (1e-3, 1e-3, 0.1)  # to try in turn, of the mean squared length of a feature vector
LARGEST = 100  # logit; far above it float32 engines differ, and a right export would be refused
CODE = ("model.py", "published.json", "common/data/demo_weights.py")
OTHER = "demo weights cannot be made for it: give trained ones (WEIGHTS=)"


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
    for m in convolutions:
        height, width = m.kernel_size
        if m.groups > 1:
            m.weight.normal_(0, 0.5 / (height * width) ** 0.5)
            m.weight[:, :, height // 2, width // 2] += 1
        elif m.kernel_size == (1, 1):
            nn.init.orthogonal_(m.weight)
        else:
            m.weight.normal_(0, m.weight[0].numel() ** -0.5)
        if m.bias is not None:
            m.bias.fill_(1)
    biased = bool(convolutions) and convolutions[0].bias is not None
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.momentum = None  # the mean over all batches seen since the reset
            m.reset_running_stats()
            m.bias.fill_(0 if biased else 1)
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


def fit(x, labels, classes, ridge=RIDGES[0]):
    """Ridge regression onto one-hot targets, in its dual form (few images, many features).

    x: float64 (N, width); labels: int64 (N,), class indices, each below `classes`. Returns weight
    (classes, width) and bias (classes,).
    """
    shown = torch.tensor(list(demo.shown(classes)))
    mean = x.mean(0)
    centred = x - mean
    gram = centred @ centred.T
    penalty = ridge * gram.diagonal().mean() * torch.eye(len(x), dtype=x.dtype)
    # Logits far enough apart for float16, and far above those of classes that have no image.
    targets = torch.where(labels[:, None] == shown, 18.0, -2.0).double()
    rows = (centred.T @ torch.linalg.solve(gram + penalty, targets - targets.mean(0))).T
    weight = torch.zeros(classes, x.shape[1], dtype=x.dtype)
    bias = torch.full((classes,), -30.0, dtype=x.dtype)
    weight[shown] = rows
    bias[shown] = targets.mean(0) - rows @ mean
    return weight, bias


def last_layer(model, net, side, classes):
    """The layer that is fitted; Failure in one line when the network has none that can be, or takes
    other inputs than (N, 3, side, side)."""
    head = net.get_submodule(model.HEAD)
    if not isinstance(head, nn.Linear) or head.bias is None:
        raise cli.Failure(f"{model.NAME}: its last layer {model.HEAD} is {head}, and not a Linear "
                          "with a bias", OTHER)
    if head.out_features != classes:
        raise cli.Failure(f"{model.NAME}: its last layer {model.HEAD} gives {head.out_features} "
                          f"classes, published.json says {classes}", "correct published.json")
    seen = []
    hook = head.register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        logits = net(noise(1, side, 0))
    except Exception as e:  # whatever a network trips over
        why = cli.short(" ".join(str(e).split()), 150)
        raise cli.Failure(f"{model.NAME} does not take float32 (N, 3, {side}, {side}), RGB ({why})",
                          'correct model.py, or "preprocessing" in published.json') from None
    hook.remove()
    alone = isinstance(logits, torch.Tensor) and logits.shape == (1, classes) and len(seen) == 1
    if not alone or not torch.equal(logits, seen[0]):
        raise cli.Failure(f"{model.NAME}: its logits are not what its layer {model.HEAD} gives, "
                          "once for each image (has it several heads?)", OTHER)
    return head


def noise(count, side, seed):
    """Random images as the export is checked with, float32 (count, 3, side, side)."""
    generator = torch.Generator().manual_seed(seed)
    colours = torch.randn(count, 3, 1, 1, generator=generator)
    return colours + torch.randn(count, 3, side, side, generator=generator)


def fitted(model, train, labels, classes, calibration, ridge):
    """The network with seeded weights, its last layer, and that layer's inputs for `train`."""
    torch.manual_seed(demo.SEED)
    net = model.build()
    head = last_layer(model, net, train.shape[-1], classes)
    for m in net.modules():
        # As trained networks have them; those of a fresh one, 1 and 0, would be folded away.
        if isinstance(m, (nn.GroupNorm, nn.LayerNorm)):
            m.weight.uniform_(0.8, 1.2)
            m.bias.normal_(0, 0.1)
    if any(isinstance(m, nn.BatchNorm2d) for m in net.modules()):
        keep_signal(net, calibration)
    x = features(net, head, train, "features of the training images")
    weight, bias = fit(x, labels, classes, ridge)
    head.weight.copy_(weight)
    head.bias.copy_(bias)
    return net, head, x


def make(data, out):
    """Write a demo checkpoint for the model of the folder that this runs in."""
    sys.path.insert(0, "")  # its model.py
    import model

    classes, side = published.load().classes, model.RECIPE.crop
    count = getattr(model, "DEMO_IMAGES", 6)
    train, labels = load(data / "train", count, model.RECIPE, classes)
    val, val_labels = load(data / "val", max(1, count // 3), model.RECIPE, classes)
    few = train[:len(demo.shown(classes))]  # one of each class
    with torch.no_grad():
        # Products of branches (StarNet) blow up what is unlike the images that BatchNorm has seen.
        more = torch.cat([few, noise(10, side, 1)])
        for calibration, ridge in zip((few, more, more), RIDGES):
            net, head, x = fitted(model, train, labels, classes, calibration, ridge)
            largest = float(net(noise(4, side, 2)).abs().max())
            if largest < LARGEST:
                break
        else:
            raise cli.Failure(f"{model.NAME}: with random weights its logits reach {largest:.0e}",
                              OTHER)
        seen = head(x.float()).argmax(1)
        unseen = head(features(net, head, val, "checking").float()).argmax(1)
    official = getattr(model, "official", lambda state_dict: {"state_dict": state_dict})
    with cli.whole_file(out) as part, open(part, "wb") as f:
        # To an open file: torch writes the name of a file that it is given into the archive.
        torch.save({**official(net.state_dict()), "demo": True}, f)
    provenance.record(out, [data / "DEMO.txt", *filter(os.path.exists, CODE)])
    print(f"wrote {out}: demo weights for {model.NAME}, Top-1 {share(seen, labels)} training "
          f"images and {share(unseen, val_labels)} validation images")


def load(folder, count, recipe, classes):
    """`count` images of each class → float32 (N, 3, H, W), int64 (N,)."""
    found = dataset.find(folder, classes=classes)
    if not found.demo:
        raise cli.Failure(f"{folder} holds no demo images",
                          "make them with: python3 -m common.data.demo images --out …")
    by_class = [[i for i in found.images if i.label == label][:count]
                for label in demo.shown(classes)]
    chosen = [images[k] for k in range(count) for images in by_class]
    inputs = np.stack([recipe(transforms.load(image.path)) for image in chosen])
    return torch.from_numpy(inputs), torch.tensor([image.label for image in chosen])


def share(answers, labels):
    """How many of the answers are right, as text."""
    return f"{100 * float((answers == labels).double().mean()):.1f}% of {len(labels)}"
